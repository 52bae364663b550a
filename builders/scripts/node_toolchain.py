"""Install Node through nodeenv from a local mirror, and keep what works anywhere.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `version`, `npm`
(version), `node` and `npm_tarball` (paths), `archive` (whether `node` is the official archive, or
the registry's package), `site` (folder that holds nodeenv), `work` and `out`.

nodeenv checks no hash: both files were checked when they were fetched, and nodeenv reads nothing
else. What it leaves that names a build path (its `activate` scripts), or that only compiling
against Node needs, does not go in. npm is laid from its own pinned tarball, whatever the archive
brought.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parent / "lib"))

from builders.scripts.extract import BadArchiveError
from builders.scripts.node_modules import files

if TYPE_CHECKING:
    from collections.abc import Container

NPM = "lib/node_modules/npm"
LINKS = {"npm": "npm-cli.js", "npx": "npx-cli.js"}
KEPT = frozenset({"LICENSE", "bin/node"})
"""Of the registry's package of Node; its headers and manual are for others."""
NODEENV = "import sys; sys.path.insert(0, sys.argv.pop(1)); import nodeenv; nodeenv.main()"
CHUNK = 1 << 20


def main(arguments: dict[str, Any]) -> None:
    """Make the new folder `out`."""
    version, work, out = arguments["version"], Path(arguments["work"]), Path(arguments["out"])
    mirror, environment = work / "mirror", work / "nodeenv"
    terms = lay_mirror(mirror, arguments)
    install(mirror, environment, version, arguments["site"])
    (out / "bin").mkdir(parents=True)
    (out / NPM).parent.mkdir(parents=True)
    (out / "LICENSE").write_bytes(terms)
    (environment / "bin" / "node").rename(out / "bin" / "node")
    if arguments["archive"]:
        unpack(Path(arguments["npm_tarball"]), out / NPM)
    else:
        (environment / NPM).rename(out / NPM)
    for name, script in LINKS.items():
        if not (out / NPM / "bin" / script).is_file():
            sys.exit(f"error: npm has no bin/{script}")
        (out / NPM / "bin" / script).chmod(0o755)
        (out / "bin" / name).symlink_to(f"../{NPM}/bin/{script}")
    refuse_paths(out, os.fsencode(environment))
    check(out, version, arguments["npm"])


def lay_mirror(mirror: Path, arguments: dict[str, Any]) -> bytes:
    """Make a folder of the shape of nodejs.org's downloads, with one version in it.

    Gives Node's licence, which nodeenv leaves behind and which has to go with it.
    """
    version, node = arguments["version"], Path(arguments["node"])
    folder = mirror / f"v{version}"
    folder.mkdir(parents=True)
    entry = {"version": f"v{version}", "npm": arguments["npm"], "files": ["linux-x64"], "lts": True}
    (mirror / "index.json").write_text(json.dumps([entry]))
    stem = f"node-v{version}-linux-x64"
    if arguments["archive"]:
        shutil.copyfile(node, folder / f"{stem}.tar.gz")
        return licence(node, f"{stem}/LICENSE")
    parts = package(node, KEPT) | {
        f"{NPM}/{place}": part for place, part in package(Path(arguments["npm_tarball"])).items()
    }
    if missing := KEPT - parts.keys():
        sys.exit(f"error: {node.name} is refused: it has no {min(missing)}")
    pack(parts, folder / f"{stem}.tar.gz", stem)
    return parts["LICENSE"][1]


def licence(archive: Path, name: str) -> bytes:
    """Read one file of the official archive."""
    try:
        with tarfile.open(archive) as tar:
            file = tar.extractfile(name)
            return b"" if file is None else file.read()
    except (KeyError, OSError, tarfile.TarError) as fault:
        sys.exit(f"error: {archive.name} is refused: {fault}")


def package(tarball: Path, kept: Container[str] | None = None) -> dict[str, tuple[bool, bytes]]:
    """Read a package of the npm registry: place → executable bit and contents."""
    try:
        return {
            place: (executable, data)
            for place, executable, data in files(tarball.read_bytes())
            if kept is None or place in kept
        }
    except (BadArchiveError, OSError) as fault:
        sys.exit(f"error: {tarball.name} is refused: {fault}")


def pack(parts: dict[str, tuple[bool, bytes]], archive: Path, stem: str) -> None:
    """Write files as the official archive has them: all below one folder, with links to npm.

    Stored, not compressed: it is read once, here, and 100 MB take 4 s to compress.
    """
    with gzip.open(archive, "wb", 0) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for place, (executable, data) in sorted(parts.items()):
            info = tarfile.TarInfo(f"{stem}/{place}")
            info.mode = 0o755 if executable or place == "bin/node" else 0o644
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, script in LINKS.items():
            link = tarfile.TarInfo(f"{stem}/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, f"../{NPM}/bin/{script}"
            tar.addfile(link)


def install(mirror: Path, environment: Path, version: str, site: str) -> None:
    """Let nodeenv make an environment of what the mirror holds."""
    command = [sys.executable, "-I", "-S", "-c", NODEENV, site]
    options = ["--prebuilt", f"--node={version}", f"--mirror={mirror.as_uri()}", "-C", ""]
    run([*command, *options, "--verbose", str(environment)])


def unpack(tarball: Path, target: Path) -> None:
    """Unpack a package of the npm registry, without its outermost folder, as a new folder."""
    for place, (executable, data) in package(tarball).items():
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if executable else 0o644)


def refuse_paths(root: Path, needle: bytes) -> None:
    """End with an error if a file names the place where it was built."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and holds(path, needle):
            sys.exit(f"error: '{path.relative_to(root)}' names its build folder")


def holds(path: Path, needle: bytes) -> bool:
    """Say whether a file contains some bytes."""
    before = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if needle in before + chunk:
                return True
            before = chunk[-len(needle) :]
    return False


def check(out: Path, node: str, npm: str) -> None:
    """End with an error unless what was installed runs and is what was asked for."""
    path = f"{out / 'bin'}:{os.environ['PATH']}"
    for program, expected in (("node", f"v{node}"), ("npm", npm)):
        said = run([str(out / "bin" / program), "--version"], PATH=path).strip()
        if said != expected:
            sys.exit(f"error: {program} says that it is {said!r}, and {expected!r} was asked for")


def run(argv: list[str], **environment: str) -> str:
    """Run a command to its end and give what it wrote; its errors go to the log."""
    done = subprocess.run(
        argv,
        env={**os.environ, "npm_config_update_notifier": "false", **environment},
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"error: {Path(argv[0]).name} ended with {done.returncode}: {done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
