"""Unpack one wheel as an installer would, and compile it.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `wheel` (path of
the file), `filename` (its name in the index) and `out`. The wheel's hash was checked when it was
fetched; what is refused here is a shape that could write elsewhere or mean two things.

Purelib and platlib land at the root, all else of `*.data` under `.prefix`, as PEX lays it.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import stat
import sys
import unicodedata
import zipfile
import zlib
from compileall import compile_file
from itertools import pairwise
from pathlib import Path, PurePosixPath
from py_compile import PycInvalidationMode

MAX_FILES = 100_000
MAX_BYTES = 8 << 30
"""What a wheel may unpack to; the largest on PyPI are below 4 GiB."""
DAMAGE = (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, lzma.LZMAError)
"""What zipfile makes of a member that it cannot unpack."""
UNCOMPILED = (".prefix", "tests")
"""Folders whose modules stay source alone, which Python imports as well."""


def main(wheel: str, filename: str, out: str) -> None:
    """Unpack `wheel` to the new folder `out`."""
    unpack(wheel, filename, Path(out))


def unpack(wheel: str, filename: str, target: Path) -> None:
    """Unpack a wheel to the new folder `target`, and compile it."""
    distribution, version = filename.removesuffix(".whl").split("-")[:2]
    target.mkdir()
    with open_archive(wheel) as archive:
        members = check_members(archive)
        data = f"{find_metadata(members, distribution, version)}.data/"
        check_version(archive, data.removesuffix(".data/"))
        taken: set[str] = set()
        for info in members:
            if not info.is_dir():
                place = locate(info.filename, data, distribution)
                extract(archive, info, target, place, taken)
    compile_tree(target)


def open_archive(wheel: str) -> zipfile.ZipFile:
    """Open the wheel's file."""
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as fault:
        sys.exit(f"bad wheel: {fault}")


def check_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members, sorted by name, if each has one safe meaning."""
    members = sorted(archive.infolist(), key=lambda info: info.filename)
    if len(members) > MAX_FILES or sum(info.file_size for info in members) > MAX_BYTES:
        sys.exit("bad wheel: it is larger than any wheel may be")
    names = [info.filename for info in members]
    for name, after in pairwise(names):
        if name == after:
            sys.exit(f"bad wheel: two members are called {name!r}")
    for info in members:
        fault = fault_of(info)
        if fault:
            sys.exit(f"bad wheel: {info.filename!r} {fault}")
    return members


def fault_of(info: zipfile.ZipInfo) -> str:
    """Say what is wrong with a member, or nothing."""
    name = info.filename.removesuffix("/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not name or name.startswith("/") or "\\" in name:
        return "is not a relative path"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "leaves the wheel"
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return "holds a control character"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if info.flag_bits & 1:
        return "is encrypted"
    return ""


def find_metadata(members: list[zipfile.ZipInfo], distribution: str, version: str) -> str:
    """Return `name-version` as the wheel's own folders spell it."""
    tops = {info.filename.split("/")[0] for info in members}
    found = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(found) != 1:
        sys.exit(f"bad wheel: it has {len(found)} .dist-info folders")
    stem = found[0].removesuffix(".dist-info")
    if normalise(stem.split("-")[0]) != normalise(distribution):
        sys.exit(f"bad wheel: {found[0]} does not belong to {distribution} {version}")
    return stem


def normalise(name: str) -> str:
    """Spell a distribution's name as PEP 503 does."""
    return name.lower().replace("_", "-").replace(".", "-")


def check_version(archive: zipfile.ZipFile, stem: str) -> None:
    """Refuse a wheel whose format is newer than what is known here."""
    try:
        text = archive.read(f"{stem}.dist-info/WHEEL").decode()
    except KeyError:
        sys.exit(f"bad wheel: {stem}.dist-info/WHEEL is missing")
    except DAMAGE as fault:
        sys.exit(f"bad wheel: {stem}.dist-info/WHEEL: {fault}")
    for line in text.splitlines():
        if line.lower().startswith("wheel-version:") and not line.partition(":")[
            2
        ].strip().startswith("1."):
            sys.exit(f"bad wheel: {line.strip()} is not known")


def locate(name: str, data: str, distribution: str) -> PurePosixPath:
    """Say where a member lands."""
    if not name.startswith(data):
        return PurePosixPath(name)
    scheme, _, rest = name.removeprefix(data).partition("/")
    if scheme in ("purelib", "platlib"):
        return PurePosixPath(rest)
    places = {
        "scripts": PurePosixPath(".prefix/bin"),
        "data": PurePosixPath(".prefix"),
        "headers": PurePosixPath(".prefix/include") / distribution,
    }
    if scheme not in places:
        sys.exit(f"bad wheel: {name!r} is of the unknown scheme {scheme!r}")
    return places[scheme] / rest


def extract(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    target: Path,
    place: PurePosixPath,
    taken: set[str],
) -> None:
    """Write one file, which must not be there yet."""
    if str(place) in taken:
        sys.exit(f"bad wheel: two members land at {str(place)!r}")
    taken.add(str(place))
    path = target / place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, path.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        sys.exit(f"bad wheel: {info.filename!r} is a file and a folder")
    except DAMAGE as fault:
        sys.exit(f"bad wheel: {info.filename!r}: {fault}")
    script = ".prefix/bin/" in str(path)
    path.chmod(0o755 if script or info.external_attr >> 16 & 0o111 else 0o644)


def compile_tree(root: Path) -> None:
    """Compile every module; one that this Python cannot read is left as it is.

    Unchecked hashes, so that no time stamp matters; names relative to the root, so that no place
    does. Test suites that travel in a wheel are not compiled: no service imports them, and with
    their bytecode pandas and numpy are larger by a third.
    """
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in UNCOMPILED)
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(folder) / name
                compile_file(
                    path,
                    ddir=str(path.parent.relative_to(root)),
                    quiet=2,
                    force=True,
                    invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
                )


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
