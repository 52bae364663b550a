"""What a phase wants of one host, as values; and the grammar of the names in it.

Reading them from `phase.json` is for `deploy.phases.configuration_file`. The text of files lies
beside that, below `root`; it is rendered while a release is planned (`builders`), and laid on a
head by `deploy.install`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOT = "root"
"""The folder of a configuration's files: `root/etc/x` is the text of `/etc/x`."""
PLAIN_MODES = (0o444, 0o555, 0o644, 0o755)
"""Modes that a file in the store does for as it is."""

PHASE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,62}[0-9A-Za-z])?")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~:-]*")
ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
UNIT = re.compile(r"[0-9A-Za-z:_.@\\-]{1,200}\.(service|socket|target|timer|mount|path)")
SECRET = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+-]{0,63}")
SORT = re.compile(r"[a-z][a-z0-9-]{0,31}")
MARKER = re.compile(r"([0-9A-Za-z][0-9A-Za-z_.+-]{0,63})(?::(mysql|word))?")


class To(Enum):
    """Who may speak to a port.

    The hosts of the cluster (of them all users, or root and daemons alone), those and the
    machines of its networks, anyone, or only the head itself.
    """

    PEERS = "peers"
    DAEMONS = "daemons"
    NODES = "nodes"
    ANYONE = "anyone"
    OWN = "own"


class Form(Enum):
    """As what the value of a secret stands in a text: as it is, hashed, or as one plain word."""

    PLAIN = ""
    MYSQL = "mysql"
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Peer:
    """A host of the phase: its `address` within the cluster is an IP; a low `priority` is first."""

    name: str
    address: str
    priority: int


@dataclass(frozen=True, slots=True)
class Packages:
    """Packages by name → version, out of the apt repository at the store path `set`."""

    set: Path
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Account:
    """A user with a group of its own, and further `groups`, which there are."""

    name: str
    uid: int
    gid: int
    group: str
    home: str
    shell: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """A folder that is there, with its owner, group and mode."""

    path: Path
    owner: str
    group: str
    mode: int


@dataclass(frozen=True, slots=True)
class Marker:
    """A secret that the head writes into a text, where `@secret:NAME@` stands."""

    name: str
    form: Form = Form.PLAIN

    @classmethod
    def parse(cls, text: str) -> Marker | None:
        """Return what `text`, which is between `@secret:` and `@`, means; None if nothing."""
        match = MARKER.fullmatch(text)
        return None if match is None else cls(match[1], Form(match[2] or ""))

    def __str__(self) -> str:
        return f"{self.name}:{self.form.value}" if self.form.value else self.name


@dataclass(frozen=True, slots=True)
class File:
    """A file below /etc: a text of the store (`source`), or the bytes of a `secret` as they are.

    A change of it makes `units` stale; with `reload` they only have to read it again.
    """

    path: Path
    source: str | None
    secret: str | None
    markers: tuple[Marker, ...]
    owner: str
    group: str
    mode: int
    units: tuple[str, ...]
    reload: bool

    @property
    def plain(self) -> bool:
        """Whether the file in the store does as it is; all else is laid in memory."""
        return (
            self.source is not None
            and not self.markers
            and (self.owner, self.group) == ("root", "root")
            and self.mode in PLAIN_MODES
        )

    @property
    def secrets(self) -> frozenset[str]:
        """The names of all secrets that are in it."""
        own = () if self.secret is None else (self.secret,)
        return frozenset((*own, *(each.name for each in self.markers)))


@dataclass(frozen=True, slots=True)
class UnitWish:
    """A unit that the phase cares about; one that is not `enabled` must not start at boot."""

    name: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Port:
    """Ports `first` to `last` that `unit` listens on; both are 0 where `protocol` has none."""

    first: int
    last: int
    protocol: str
    to: To
    unit: str | None

    @property
    def numbers(self) -> range:
        """All of them; none for a protocol without ports."""
        return range(self.first, self.last + 1) if self.first else range(0)


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that one phase wants of one host; `path` is its store path.

    `hosts` are all of the phase, in order; `parameters` are JSON values; `secrets` are sorts by
    name.
    """

    path: Path
    phase: str
    number: int
    host: str
    description: str
    hosts: tuple[Peer, ...]
    after: tuple[str, ...]
    irreversible: tuple[str, ...]
    parameters: Mapping[str, Any]
    packages: Packages | None
    users: tuple[Account, ...]
    directories: tuple[Directory, ...]
    files: tuple[File, ...]
    units: tuple[UnitWish, ...]
    ports: tuple[Port, ...]
    secrets: Mapping[str, str]

    @property
    def peer(self) -> Peer:
        """The host that this is for, among those of the phase."""
        return next(each for each in self.hosts if each.name == self.host)

    def text(self, file: File) -> bytes:
        """Return the text of a file as the store has it, before markers are filled in."""
        return b"" if file.source is None else (self.path / file.source).read_bytes()
