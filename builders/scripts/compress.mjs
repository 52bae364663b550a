// Put a .gz and a .br beside every compressible file of a web root, so that the web server sends
// them as they are. Runs in the sandbox under the toolchain's Node: node compress.mjs FOLDER
//
// The same bytes at every build: zlib and brotli come with Node, a pinned input, and their results
// do not depend on threads; the gzip header holds no name and no time.

import { readFile, readdir, stat, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { extname, join } from "node:path";
import { promisify } from "node:util";
import zlib from "node:zlib";

const gzip = promisify(zlib.gzip);
const brotli = promisify(zlib.brotliCompress);

const LEAST = 1024; // bytes; below, the headers eat what is won
const LARGE = 4 << 20; // bytes; above, brotli's highest quality takes seconds per megabyte
const TEXT = new Set(
  (
    ".atom .css .csv .geojson .gltf .htm .html .ics .js .json .jsonld .map .md .mjs .rss .svg " +
    ".topojson .txt .vtt .webmanifest .xhtml .xml .yaml .yml"
  ).split(" "),
);
const BINARY = new Set(".bmp .cur .eot .glb .ico .otf .pdf .ttf .wasm".split(" "));

function brotliOptions(size, text) {
  const { constants } = zlib;
  return {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: size > LARGE ? 9 : constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_MODE]: text ? constants.BROTLI_MODE_TEXT : constants.BROTLI_MODE_GENERIC,
      [constants.BROTLI_PARAM_SIZE_HINT]: size,
    },
  };
}

async function beside(path, ending, data, limit, taken) {
  // A compressed twin that the build itself made is the author's choice.
  if (data.length < limit && !taken.has(path + ending)) {
    await writeFile(path + ending, data, { flag: "wx" });
  }
}

async function compress({ path, text }, taken) {
  const data = await readFile(path);
  const [gz, br] = await Promise.all([
    gzip(data, { level: 9, memLevel: 9 }),
    brotli(data, brotliOptions(data.length, text)),
  ]);
  await beside(path, ".gz", gz, data.length, taken);
  await beside(path, ".br", br, data.length, taken);
}

async function main(root) {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  const taken = new Set(paths);
  const work = [];
  for (const path of paths) {
    const ending = extname(path).toLowerCase();
    const { size } = await stat(path);
    if (size > LEAST && (TEXT.has(ending) || BINARY.has(ending))) {
      work.push({ path, size, text: TEXT.has(ending) });
    }
  }
  work.sort((one, other) => other.size - one.size);
  const worker = async () => {
    for (let item = work.shift(); item; item = work.shift()) {
      await compress(item, taken);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

await main(process.argv[2]);
