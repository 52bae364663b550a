"""Join a Node service's own files, the tree of its packages, and what starts it.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `source`, `modules`
(the tree of packages in the store), `node` (what starts the service), `entry` (file), `preload`
(place of what loads the secrets), `variables` (secrets that become variables), `filled` (variables
in which secrets stand), `about` (what `sealift.json` says), `state` (path → place), `compiled`
(packages that are known to work without their own native part) and `out`.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))  # noqa: PTH100, PTH118, PTH120

from builders.scripts.service import lay_state, refuse_reserved, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "node_modules"
RESERVED = (FOLDER, ".sealift", ".seed", "sealift.json")
ENDINGS = ("", ".js", ".mjs", ".cjs", "/index.js", "/index.mjs", "/index.cjs")
SCRIPTS = (".js", ".mjs", ".cjs")
IMPORT = re.compile(
    r"""(?:\brequire\s*\(\s*|\bimport\s*\(\s*|\bfrom\s*|\bimport\s*)["']([^"'\n]+)["']"""
)

# A preload and not a launcher: the service stays the main module, which many ask for
# (`require.main === module`), and child processes that it forks get their secrets likewise.
SECRETS = """\
"use strict";
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const folder = process.env.CREDENTIALS_DIRECTORY ?? "";
for (const name of %s) {
  try {
    process.env[name] = readFileSync(join(folder, name), "utf8").replace(/\\n$/, "");
  } catch (fault) {
    if (fault.code !== "ENOENT") throw fault;
    if (process.env[name] === undefined) {
      console.error(`secret ${name}: no such file in CREDENTIALS_DIRECTORY='${folder}'`);
      process.exit(1);
    }
  }
}
for (const name of %s) {
  const value = process.env[name] ?? "";
  const url = value.split("{", 1)[0].includes("://");
  process.env[name] = value.replace(/\\{secret:(\\w+)\\}/g, (_, secret) =>
    url ? encodeURIComponent(process.env[secret]) : process.env[secret],
  );
}
"""


def main(
    *,
    source: str,
    modules: str,
    node: str,
    entry: str,
    preload: str,
    variables: list[str],
    filled: list[str],
    about: dict[str, Any],
    state: dict[str, str],
    compiled: list[str],
    out: str,
) -> None:
    """Make the service's tree at `out`, of the source, which is used up."""
    root = Path(out)
    Path(source).rename(root)
    refuse_reserved(root, RESERVED, state)
    refuse_uncompiled(Path(modules), compiled)
    (root / FOLDER).symlink_to(modules)
    if not (root / entry).is_file():
        refuse(f"{entry} is not there; its package has {listed(root / entry)}")
    refuse_development(root, entry)
    lay_state(root, state)
    if variables:
        (root / preload).parent.mkdir()
        text = SECRETS % (json.dumps(variables), json.dumps(filled))
        (root / preload).write_text(text, encoding="utf-8")
    about["service"]["command"] = [node, *about["service"]["command"]]
    write_json(root / "sealift.json", about)


def refuse_uncompiled(modules: Path, known: list[str]) -> None:
    """Refuse packages that want to be compiled when they are installed, and bring no binary."""
    wanting = {
        str(file.parent.relative_to(modules))
        for file in modules.rglob("binding.gyp")
        if file.with_name("package.json").is_file() and not any(file.parent.rglob("*.node"))
    }
    named = sorted(place for place in wanting if place.rpartition(f"{FOLDER}/")[2] not in known)
    if named:
        refuse(
            f"{', '.join(named)}: native code without a binary for it, and nothing is compiled"
            " here; take a version that brings prebuilt binaries"
        )


def refuse_development(root: Path, entry: str) -> None:
    """Refuse code that imports a package which only development has."""
    manifest = json.loads((root / "package.json").read_text(encoding="utf-8"))
    left_out = {
        name
        for name in manifest.get("devDependencies") or {}
        if not (root / FOLDER / name).exists()
    }
    for file, name in imports(root, entry):
        if name in left_out:
            refuse(
                f"{file} imports '{name}', which package.json has for development alone:"
                " move it from devDependencies to dependencies"
            )


def imports(root: Path, entry: str) -> Iterator[tuple[str, str]]:
    """Yield each of the service's own files that the entry leads to, with the packages it names."""
    queue, seen = [entry], {entry}
    for file in queue:
        if file.startswith(f"{FOLDER}/") or not file.endswith(SCRIPTS):
            continue
        for said in IMPORT.findall((root / file).read_text(encoding="utf-8", errors="replace")):
            if said.startswith("."):
                found = beside(root, file, said)
                if found is not None and found not in seen:
                    seen.add(found)
                    queue.append(found)
            else:
                yield file, package_of(said)


def beside(root: Path, file: str, said: str) -> str | None:
    """Find the file that a relative import means."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(file), said))
    return next((place + end for end in ENDINGS if (root / (place + end)).is_file()), None)


def package_of(said: str) -> str:
    """Cut what is asked for inside of a package."""
    return "/".join(said.split("/")[: 2 if said.startswith("@") else 1])


def listed(file: Path) -> str:
    """List the scripts that lie where one was looked for."""
    found = sorted(path.name for path in file.parent.glob("*") if path.suffix in SCRIPTS)
    return ", ".join(found[:8]) or "no script there"


def refuse(reason: str) -> NoReturn:
    """End, with the line by which the builder knows why."""
    sys.exit(f"error: {reason}")


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
