"""Compile the launcher of a one-file program: a static executable.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `command` (name of
the program), `variable` (environment variable that says where it unpacks itself), `glibc` (oldest
version that the interpreter runs on), `python` (store path of the interpreter), `code` (file name →
text), `work` and `out`.

`SITE` is where that interpreter looks for packages without being told.
"""

from __future__ import annotations

import json
import re
import site
import struct
import subprocess
import sys
from pathlib import Path

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
HARDENING = (
    *("-static-pie", "-fPIE", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"),
    "-Wl,-z,relro,-z,now,-z,noexecstack",
)
LOADER = b"/lib64/ld-linux-x86-64.so.2"
PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
PT_INTERP = 3


def main(
    *,
    command: str,
    variable: str,
    glibc: str,
    python: str,
    code: dict[str, str],
    work: str,
    out: str,
) -> None:
    """Compile the code to the one file `out`."""
    check_loader(Path(python, "bin", "python3"))
    place = Path(work)
    place.mkdir()
    for name, text in sorted(code.items()):
        (place / name).write_text(text, encoding="utf-8")
    defines = {
        "NAME": command,
        "CACHE_VARIABLE": variable,
        "GLIBC": glibc,
        "SITE": packages_of(python),
    }
    argv = ["gcc", "-std=gnu11", "-O2", "-s", "-Wl,--build-id=none", *WARNINGS, *HARDENING]
    argv += [f"-D{name}={quoted(value)}" for name, value in sorted(defines.items())]
    argv += [name for name in sorted(code) if name.endswith(".c")]
    done = subprocess.run([*argv, "-lz", "-o", out], cwd=place, check=False)
    if done.returncode != 0:
        sys.exit("the launcher does not compile")


def packages_of(python: str) -> str:
    """Return where the interpreter's own packages lie in the unpacked tree."""
    folder = Path(site.getsitepackages([python])[-1])
    return str("python" / folder.relative_to(python))


def quoted(text: str) -> str:
    """Spell a C string."""
    if PLAIN.fullmatch(text) is None:
        sys.exit(f"{text!r} cannot stand in the launcher")
    return f'"{text}"'


def check_loader(file: Path) -> None:
    """Refuse an interpreter that is started by a C library of the store's: it cannot be moved."""
    found = loader_of(file.read_bytes())
    if found != LOADER:
        sys.exit(
            f"the interpreter is started by {found.decode()}: take one that runs on the machine's "
            "own C library"
        )


def loader_of(data: bytes) -> bytes:
    """Return the program interpreter of an ELF file, 64 bits, little-endian (elf(5))."""
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for at in range(offset, offset + size * count, size):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == PT_INTERP:
            return data[start : start + length].rstrip(b"\0")
    return b""


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
