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
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent / "lib"))

from builders.scripts.extract import BadArchiveError
from builders.scripts.node_modules import unpack as unpack_package

NPM = "lib/node_modules/npm"
LINKS = {"npm": "npm-cli.js", "npx": "npx-cli.js"}
NODEENV = "import sys; sys.path.insert(0, sys.argv.pop(1)); import nodeenv; nodeenv.main()"
CHUNK = 1 << 20


def main(arguments: dict[str, Any]) -> None:
    """Make the new folder `out`."""
    version, work, out = arguments["version"], Path(arguments["work"]), Path(arguments["out"])
    mirror = work / "mirror"
    lay_mirror(mirror, arguments)
    environment = work / "nodeenv"
    install(mirror, environment, version, arguments["site"])
    out.mkdir()
    (out / "bin").mkdir()
    (environment / "bin" / "node").rename(out / "bin" / "node")
    unpack(Path(arguments["npm_tarball"]), out / NPM)
    for name, script in LINKS.items():
        (out / NPM / "bin" / script).chmod(0o755)
        (out / "bin" / name).symlink_to(f"../{NPM}/bin/{script}")
    refuse_paths(out, os.fsencode(environment))
    check(out, version, arguments["npm"])


def lay_mirror(mirror: Path, arguments: dict[str, Any]) -> None:
    """Make a folder of the shape of nodejs.org's downloads, with one version in it."""
    version = arguments["version"]
    folder = mirror / f"v{version}"
    folder.mkdir(parents=True)
    entry = {"version": f"v{version}", "npm": arguments["npm"], "files": ["linux-x64"], "lts": True}
    (mirror / "index.json").write_text(json.dumps([entry]))
    stem = f"node-v{version}-linux-x64"
    archive = folder / f"{stem}.tar.gz"
    if arguments["archive"]:
        shutil.copyfile(arguments["node"], archive)
        return
    tree = mirror.parent / "package"
    unpack(Path(arguments["node"]), tree)
    (tree / "bin" / "node").chmod(0o755)
    unpack(Path(arguments["npm_tarball"]), tree / NPM)
    pack(tree, archive, stem)


def pack(tree: Path, archive: Path, stem: str) -> None:
    """Write a folder as the official archive is: all below one folder, with links to npm.

    Stored, not compressed: it is read once, here, and 100 MB take 4 s to compress.
    """
    with (
        gzip.open(archive, "wb", compresslevel=0) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            tar.add(path, arcname=f"{stem}/{path.relative_to(tree).as_posix()}", filter=anonymous)
        for name, script in LINKS.items():
            link = tarfile.TarInfo(f"{stem}/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, f"../{NPM}/bin/{script}"
            tar.addfile(link)


def anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take from a member whose it is and when it was made."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def install(mirror: Path, environment: Path, version: str, site: str) -> None:
    """Let nodeenv make an environment of what the mirror holds."""
    command = [sys.executable, "-I", "-S", "-c", NODEENV, site]
    options = ["--prebuilt", f"--node={version}", f"--mirror={mirror.as_uri()}", "-C", ""]
    run([*command, *options, "--verbose", str(environment)])


def unpack(tarball: Path, target: Path) -> None:
    """Unpack a package of the npm registry, without its outermost folder, as a new folder."""
    target.mkdir(parents=True)
    try:
        unpack_package(tarball.read_bytes(), str(target))
    except (BadArchiveError, OSError) as fault:
        sys.exit(f"error: {tarball.name} is refused: {fault}")


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
