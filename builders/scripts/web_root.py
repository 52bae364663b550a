"""Turn a build's output folder into `web/` and `dist.tar`.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `source` (the
output folder, which is moved) and `out`. Compressing is for `compress.mjs`.

The tarball depends on names, contents and executable bits alone: sorted, owner 0, one fixed time.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path


def main(source: str, out: str) -> None:
    """Make the new folder `out`."""
    target = Path(out)
    target.mkdir()
    web = target / "web"
    Path(source).rename(web)
    refuse_escapes(web)
    with (target / "dist.tar").open("wb") as file:
        pack(web, file, time=int(os.environ["SOURCE_DATE_EPOCH"]))


def refuse_escapes(root: Path) -> None:
    """End with an error if something in a tree is neither file, folder nor link inside of it."""
    for path in members(root):
        inside = path.resolve().is_relative_to(root.resolve())
        if not inside or not (path.is_dir() or path.is_file()):
            sys.exit(f"error: '{path.relative_to(root)}' in the output leads to no file inside it")


def pack(root: Path, file: object, *, time: int) -> None:
    """Write a tar archive of all below `root`, in pax format, uncompressed."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for path in members(root):
            info = archive.gettarinfo(path, arcname=path.relative_to(root).as_posix())
            anonymize(info, path, time)
            if info.isreg():
                with path.open("rb") as contents:
                    archive.addfile(info, contents)
            else:
                archive.addfile(info)


def anonymize(info: tarfile.TarInfo, path: Path, time: int) -> None:
    """Take from a member what depends on where and by whom it was made."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = time
    if info.islnk():
        # Two names of one file: whether they are linked is chance, so both are files.
        info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
    if info.issym():
        info.mode = 0o777
    else:
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644


def members(root: Path) -> list[Path]:
    """List all below a folder, folders before what they hold, by the bytes of their names."""
    return sorted(root.rglob("*"), key=lambda path: [os.fsencode(part) for part in path.parts])


if __name__ == "__main__":
    arguments = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    main(arguments["source"], arguments["out"])
