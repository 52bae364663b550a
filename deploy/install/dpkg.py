"""What dpkg knows, read from its own files, and how it is put right after a power cut.

Nothing here decides what is installed; that is for `deploy.install.packages`.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from deploy.install.machine import Machine

FOLDER = "/var/lib/dpkg"
EXTENDED = "/var/lib/apt/extended_states"
OK = "ok"
INSTALLED = "installed"
ABSENT = ("not-installed", "config-files")
POLL = 0.2
_CONFFILE = re.compile(r"^ (/\S+) ([0-9a-f]{32})\b", re.MULTILINE)
_KEY = re.compile(r"^(Package|Architecture): *(.*)$", re.MULTILINE)
_FIELD = re.compile(r"^(Package|Status|Version|Auto-Installed): *(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Package:
    """One package as dpkg has it; `want`, `flag` and `status` are the words of its state."""

    name: str
    version: str
    want: str
    flag: str
    status: str

    @property
    def there(self) -> bool:
        """Whether any of it is installed."""
        return self.status not in ABSENT

    @property
    def whole(self) -> bool:
        """Whether it is installed, and well."""
        return self.status == INSTALLED and self.flag == OK

    def __str__(self) -> str:
        return self.version if self.whole else f"{self.version} ({self.status})"


def packages(machine: Machine) -> dict[str, Package]:
    """Return what dpkg knows, by name; of several architectures the first that is there."""
    found: dict[str, Package] = {}
    for stanza in _status(machine):
        facts = dict(_FIELD.findall(stanza))
        words = facts.get("Status", "").split()
        if len(words) == len(("want", "flag", "status")) and "Package" in facts:
            one = Package(facts["Package"], facts.get("Version", ""), *words)
            if not (one.name in found and found[one.name].there):
                found[one.name] = one
    return found


def older(machine: Machine, one: str, other: str) -> bool:
    """Tell whether a version is older than another, as dpkg counts."""
    return machine.run(("dpkg", "--compare-versions", one, "lt", other)).status == 0


def conffiles(machine: Machine, names: Collection[str]) -> dict[str, str]:
    """Return the configuration files of packages that are there, with dpkg's MD5 of each."""
    found: dict[str, str] = {}
    for stanza in _status(machine):
        name = dict(_FIELD.findall(stanza)).get("Package")
        if name in names:
            found |= dict(_CONFFILE.findall(stanza))
    return found


def automatic(machine: Machine) -> frozenset[str]:
    """Return which packages apt may remove when nothing needs them any more."""
    stanzas = (dict(_FIELD.findall(each)) for each in _stanzas(machine.at(EXTENDED)))
    return frozenset(
        each["Package"]
        for each in stanzas
        if each.get("Auto-Installed") == "1" and "Package" in each
    )


def diversions(machine: Machine) -> dict[str, tuple[str, str]]:
    """Return the diverted files: path → where it is kept instead, and by whom (`:` is local)."""
    try:
        lines = machine.at(f"{FOLDER}/diversions").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {
        path: (place, who)
        for path, place, who in zip(lines[::3], lines[1::3], lines[2::3], strict=False)
    }


def interrupted(machine: Machine, known: Mapping[str, Package]) -> tuple[str, ...]:
    """Return the packages that dpkg was cut off at, sorted; its journal counts as one."""
    return (*broken(known), *(["dpkg's journal"] if _journal(machine) else ()))


def broken(known: Mapping[str, Package]) -> tuple[str, ...]:
    """Return the packages that are neither well installed nor gone, sorted. Pure."""
    return tuple(sorted(each.name for each in known.values() if each.there and not each.whole))


def settle(machine: Machine, seconds: float) -> None:
    """Wait until no apt and no dpkg is at work, be it one of ours that outlived its session.

    Raises:
        HeadError: one still is after `seconds`.
    """
    until = time.monotonic() + seconds
    locks = [machine.at(f"{FOLDER}/{name}") for name in ("lock-frontend", "lock")]
    for lock in locks:
        while not _free(lock):
            if time.monotonic() > until:
                raise HeadError(
                    "another program installs packages on this head",
                    where=str(lock),
                    hint="wait until it has ended; `fuser` tells which it is",
                )
            time.sleep(POLL)


def _status(machine: Machine) -> Iterator[str]:
    """Yield what dpkg says of each package; what it was cut off at is in its journal alone."""
    found: dict[tuple[str, str], str] = {}
    for file in (machine.at(f"{FOLDER}/status"), *_journal(machine)):
        for stanza in _stanzas(file):
            facts = dict(_KEY.findall(stanza))
            found[facts.get("Package", ""), facts.get("Architecture", "")] = stanza
    yield from found.values()


def _journal(machine: Machine) -> list[Path]:
    """Return the files of dpkg's journal, oldest first."""
    updates = machine.at(f"{FOLDER}/updates")
    found = updates.iterdir() if updates.is_dir() else ()
    return sorted((each for each in found if each.name.isdigit()), key=lambda each: each.name)


def _free(lock: Path) -> bool:
    """Tell whether nobody holds a lock of dpkg's; POSIX locks, unlike ours."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def _stanzas(file: Path) -> Iterator[str]:
    with suppress(FileNotFoundError):
        yield from file.read_text("utf-8", errors="replace").split("\n\n")
