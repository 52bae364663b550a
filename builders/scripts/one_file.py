"""Join a launcher, an interpreter's tree and a PEX to one file that is a program and a PEX.

Used by scripts that run in the sandbox.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import sys
import zipfile
import zlib
from typing import TYPE_CHECKING

from builders.scripts.zips import LEVEL, member, shifted, unpacked_size

if TYPE_CHECKING:
    from pathlib import Path

MARK = b"launcher-stamp-1"
STAMP = struct.Struct("<16s40sQQQQII")
"""`struct stamp` of `builders/launcher/launcher.h`."""
MAIN = "__main__.py"
PRELUDE = b"""\
import os
import sys

# PEX takes a zip archive for one of its own only if the file begins with `#!`; this one is a
# program of the kernel's first.
if os.path.isfile(sys.path[0]):
    sys.path.insert(0, os.path.join(sys.path[0], ".bootstrap"))
    import pex.layout

    pex.layout.is_script = lambda *_, **__: True
    del sys.path[0]

"""


def join(target: Path, launcher: Path, runtime: Path, pex: Path) -> None:
    """Write the one file, and the stamp in its launcher."""
    elf, first, second = launcher.read_bytes(), runtime.read_bytes(), pex.read_bytes()
    places = (len(elf), len(elf) + len(first), len(elf) + len(first) + len(second))
    size = unpacked_size(first) + unpacked_size(second)
    carried = shifted(first, places[0]) + shifted(second, places[1])
    digest = hashlib.sha256(elf + carried).hexdigest()[:32].encode()
    stamp = STAMP.pack(MARK, digest, *places, size, zlib.crc32(carried), 0)
    empty = MARK + bytes(STAMP.size - len(MARK))
    if elf.count(empty) != 1:
        sys.exit("the launcher does not hold its stamp once")
    target.write_bytes(elf.replace(empty, stamp) + carried)
    target.chmod(0o755)


def fit_pex(pex: Path, target: Path) -> None:
    """Copy a PEX, with a start that minds no bytes before it."""
    shutil.copyfile(pex, target)
    with zipfile.ZipFile(target, "a") as archive:
        main = archive.getinfo(MAIN)
        text = archive.read(main)
        # Its bytes stay where they are; it only leaves the directory, for the new one.
        archive.filelist.remove(main)
        del archive.NameToInfo[MAIN]
        archive.writestr(member(MAIN), PRELUDE + text, compresslevel=LEVEL)
