"""Programs that sealift brings along in its one file, for machines that have none of their own.

The one file lays each such package below its interpreter, in `carried/PACKAGE`; see
`builders.executable`. The machine's own program always goes first.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = "carried"
"""Below the interpreter's prefix."""
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where administrators' programs lie, which users often have not in their PATH."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program by its name, and where it lies in the package that may be carried."""

    name: str
    package: str
    file: str


SSH = Program("ssh", "openssh", "usr/bin/ssh")
SSH_KEYGEN = Program("ssh-keygen", "openssh", "usr/bin/ssh-keygen")
NFT = Program("nft", "nftables", "usr/sbin/nft")


def folder(package: str, prefix: Path | None = None) -> Path | None:
    """Return where a carried package lies; None if this is not the one file, or it has none."""
    found = Path(sys.prefix if prefix is None else prefix) / FOLDER / package
    return found if found.is_dir() else None


def find(program: Program, prefix: Path | None = None) -> str | None:
    """Return the machine's own program, else the carried one, else None.

    `prefix` is the interpreter's, by default that of this process.
    """
    own = shutil.which(program.name) or shutil.which(program.name, path=SYSTEM)
    if own is not None:
        return own
    package = folder(program.package, prefix)
    return None if package is None else shutil.which(program.name, path=_beside(package, program))


def _beside(package: Path, program: Program) -> str:
    return str((package / program.file).parent)
