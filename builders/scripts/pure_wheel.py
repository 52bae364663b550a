"""Make a wheel for any Python 3 of one that brings extension modules which it can do without.

Used by scripts that run in the sandbox.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

from builders.scripts.zips import write

if TYPE_CHECKING:
    from pathlib import Path

ANY = "py3-none-any"


def purify(wheel: Path, folder: Path) -> Path:
    """Write the wheel without its extension modules to `folder`; return the new file."""
    parts = wheel.name.removesuffix(".whl").split("-")
    target = folder / f"{'-'.join(parts[:2])}-{ANY}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        kept: dict[str, Path | bytes] = {
            name: archive.read(name) for name in names if not is_native(name)
        }
    (about,) = (name for name in kept if name.endswith(".dist-info/WHEEL"))
    if len(kept) == len(names):
        sys.exit(f"{wheel.name} has no extension modules to be left out")
    kept[about] = retagged(as_bytes(kept[about]))
    record = about.removesuffix("WHEEL") + "RECORD"
    kept[record] = recorded(kept, record)
    write(target, kept)
    return target


def is_native(name: str) -> bool:
    """Tell whether a member is an extension module."""
    return name.endswith(".so")


def retagged(text: bytes) -> bytes:
    """Say in a WHEEL file that any Python 3 takes it."""
    lines = [
        line for line in text.decode().splitlines() if not line.startswith(("Tag:", "Root-Is-Pure"))
    ]
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join([*lines, "Root-Is-Purelib: true", f"Tag: {ANY}", ""]).encode()


def recorded(members: dict[str, Path | bytes], record: str) -> bytes:
    """Spell the RECORD of a wheel anew."""
    rows = []
    for name in sorted(members):
        if name != record:
            data = as_bytes(members[name])
            digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*rows, f"{record},,", ""]).encode()


def as_bytes(member: Path | bytes) -> bytes:
    """Return a member's contents."""
    return member if isinstance(member, bytes) else member.read_bytes()
