"""Base systems: what a head has installed, read off it, or made of what a suite requires.

Each is a text of comments and a dpkg status file reduced to what apt decides by. Who uses it is
for `builders.apt_lock`.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builders.apt_solver import read, solve
from builders.command import capture
from builders.deb_sources import ARCHITECTURE, sources
from builders.debian import parse_fields
from builders.dpkg_status import FIELDS, INSTALLED, installed, native_architecture, reduce, spell
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builders.settings import Settings

STATUS = "var/lib/dpkg/status"
SYSTEM = "etc/os-release"
CONNECT = 15
"""Seconds in which a head must answer."""
TIMEOUT = 120.0
"""Seconds in which it must have said everything."""
LARGEST = 64 << 20
"""Bytes of a status file; one of three thousand packages has 3 MB."""
_DESTINATION = re.compile(r"(?:[a-z_][a-z0-9_.-]{0,31}@)?[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")
_NO_DPKG = 90
SCRIPT = (
    f"test -f /{STATUS} || exit {_NO_DPKG}; "
    f"cat /{SYSTEM} 2>/dev/null; printf '\\000'; exec cat /{STATUS}"
)
"""Says the one file and the other, with a zero byte between, in any shell of POSIX."""
_UNREACHABLE = 255
"""How ssh(1) ends when it could not connect; all else is the command's own."""
_APT = ("apt", "usr-is-merged")
"""What an installer adds; the second, or apt would take `usrmerge`, and Perl with it."""
_REQUIRED = re.compile(r"^(?:Essential: yes|Priority: required)$", re.MULTILINE)


class CaptureError(Error):
    """A head whose base system cannot be read."""

    slug = "capture-failed"


@dataclass(frozen=True, slots=True)
class BaseSystem:
    """What is installed on a system: how it calls itself, and its reduced status."""

    title: str
    status: str

    @property
    def packages(self) -> int:
        """How many packages there are."""
        return len(installed(self.status, where=self.title))

    def text(self, origin: str) -> str:
        """Spell the file; `origin` says where it comes from."""
        return f"# {origin}: {self.title}, {self.packages} packages\n{self.status}"


def capture_local(root: Path = Path("/")) -> BaseSystem:
    """Read this machine's base system.

    Raises:
        CaptureError: if it has no dpkg.
        StatusError: if its status file makes no sense.
    """
    try:
        status = (root / STATUS).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _no_dpkg(str(root)) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise CaptureError(f"its status file cannot be read: {fault}", where=str(root)) from fault
    try:
        system = (root / SYSTEM).read_text(encoding="utf-8", errors="replace")
    except OSError:
        system = ""
    return _base(system, status, str(root / STATUS))


def capture_remote(destination: str, *, config: Path | None = None) -> BaseSystem:
    """Read the base system of a head over SSH; its host key must be known already.

    `destination` is a host or an alias of the SSH configuration, perhaps with a user.

    Raises:
        InputError: if it is no destination.
        CaptureError: if the head cannot be reached, or has no dpkg.
        StatusError: if its status file makes no sense.
    """
    if not _DESTINATION.match(destination):
        expected = "a host, or user@host; for a port or a key, an alias of the SSH configuration"
        raise InputError(f"{destination!r} is no host", expected=expected)
    argv = ["ssh", *(["-F", str(config)] if config else []), "-T", *_options()]
    try:
        done = capture([*argv, "--", destination, f'sh -c "{SCRIPT}"'], timeout=TIMEOUT)
    except FileNotFoundError:
        hint = "apt-get install openssh-client"
        raise CaptureError("ssh is not installed", where=destination, hint=hint) from None
    except subprocess.TimeoutExpired:
        reason = f"the head said nothing more for {TIMEOUT:.0f} s"
        raise CaptureError(reason, where=destination) from None
    return heard(destination, done.code, done.stdout, done.stderr)


def heard(destination: str, code: int, stdout: bytes, stderr: bytes) -> BaseSystem:
    """Read what a head said to `SCRIPT`.

    Raises:
        CaptureError: if it could not be run, or the head has no dpkg.
        StatusError: if its status file makes no sense.
    """
    if code:
        raise _failure(destination, code, stderr)
    return _parse(stdout, destination)


def minimal(codename: str, settings: Settings) -> BaseSystem:
    """Make the smallest system of a Debian release: what is required, apt, and what these need.

    Raises:
        LockError: if the suites do not have it all.
        BadIndexError: if a mirror's index is not what it should be, or not signed.
    """
    found = sources((codename, f"{codename}-updates", f"{codename}-security"), settings)
    texts = [text for each in found for text in read(each, ARCHITECTURE).texts.values()]
    asked = sorted({*_APT, *_required(texts)})
    lock = solve(asked, found, architecture=ARCHITECTURE, fields=FIELDS, where=codename)
    stanzas = [
        {
            **pinned.control,
            "Package": name,
            "Version": pinned.version,
            "Status": INSTALLED,
            "Architecture": pinned.architecture,
        }
        for name, pinned in lock.packages.items()
    ]
    return BaseSystem(f"the required packages of {codename}, and apt", _reduced(stanzas, codename))


def _reduced(stanzas: Iterable[dict[str, str]], where: str) -> str:
    return reduce(spell(stanzas), where=where)


def _required(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for block in text.split("\n\n"):
            if _REQUIRED.search(block):
                yield parse_fields(block)["Package"]


def _options() -> Iterator[str]:
    settings = {
        # Never ask: nobody may be there to answer, and a key must not be taken on trust.
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": str(CONNECT),
        "ServerAliveInterval": str(CONNECT),
        "ServerAliveCountMax": "2",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "RemoteCommand": "none",
        "RequestTTY": "no",
        "PermitLocalCommand": "no",
    }
    for name, value in settings.items():
        yield from ("-o", f"{name}={value}")


def _failure(destination: str, code: int, said: bytes) -> CaptureError:
    if code == _NO_DPKG:
        return _no_dpkg(destination)
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    got = lines[-1] if lines else f"exit code {code}"
    if code == _UNREACHABLE:
        return CaptureError(
            "the head cannot be reached",
            where=destination,
            got=got,
            hint=f"does `ssh {destination} true` work, without a question?",
        )
    return CaptureError("the head does not say what it has", where=destination, got=got)


def _parse(said: bytes, destination: str) -> BaseSystem:
    if len(said) > LARGEST:
        raise CaptureError(f"the head said {len(said)} bytes", where=destination)
    system, zero, status = said.partition(b"\0")
    if not zero:
        raise CaptureError("the head said something else than was asked for", where=destination)
    try:
        return _base(system.decode(errors="replace"), status.decode(), destination)
    except UnicodeDecodeError as fault:
        raise CaptureError(f"its status file is no text: {fault}", where=destination) from fault


def _base(system: str, status: str, where: str) -> BaseSystem:
    reduced = reduce(status, where=where)
    native = native_architecture(reduced, where=where)
    if native != ARCHITECTURE:
        raise CaptureError(
            "packages are locked for another architecture than that of the head",
            where=where,
            expected=ARCHITECTURE,
            got=native or "no package dpkg",
        )
    return BaseSystem(_title(system), reduced)


def _title(system: str) -> str:
    found = re.search(r"^PRETTY_NAME=[\"']?([^\"'\n]*)", system, re.MULTILINE)
    name = found[1] if found else ""
    return name if name and name.isprintable() else "a system without a name"


def _no_dpkg(where: str) -> CaptureError:
    return CaptureError(
        "the head has no dpkg",
        where=where,
        expected=f"/{STATUS}",
        hint="packages of kind apt are for Debian and Ubuntu",
    )
