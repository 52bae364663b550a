"""A Galera node as it was found: what it holds, what it says, and how that is read. Pure.

What follows from it is decided in `deploy.phases.galera`; `deploy.phases.mariadb` asks a head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

UNKNOWN = -1
"""A position that was not written down: the node did not stop by itself."""
NO_HISTORY = "00000000-0000-0000-0000-000000000000"
SYSTEM = frozenset({"mysql", "performance_schema", "sys", "lost+found", "test"})
"""Folders of a data directory that every MariaDB makes, or that are no database."""
VIEW = "gvwstate.dat"
DATA = "/var/lib/mysql"
BEGAN = "/var/lib/sealift-galera/was-in-a-cluster"
"""What a head's MariaDB leaves whenever it came up, beside the data: so it stays when they go."""
_STATE = re.compile(r"^(uuid|seqno|safe_to_bootstrap):\s*(\S+)\s*$", re.MULTILINE)
_RECOVERED = re.compile(r"Recovered position: ([0-9a-f-]{36}):(-?\d+)")
_SYNCED = "4"


class Holds(Enum):
    """What lies in a data directory."""

    NOTHING = "nothing"
    """No data but what every MariaDB has: whatever joins with it loses nothing."""
    HISTORY = "history"
    """What a cluster committed, up to some position."""
    BROKEN = "broken"
    """Data of a cluster, and Galera has marked them as not to be trusted."""
    TORN = "torn"
    """Data of a cluster, and nothing that says of which, or how far they go."""
    FOREIGN = "foreign"
    """Data that never were in a cluster."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What a node has on its disk: `history` is empty unless it holds one.

    `position` counts what was committed. `last` is Galera's own word that the node was the last of
    its cluster to stop (`safe_to_bootstrap`). `view` tells whether it remembers with whom it was in
    a cluster, which it does unless it was stopped in order: such nodes find each other again.
    """

    holds: Holds = Holds.NOTHING
    history: str = ""
    position: int = UNKNOWN
    last: bool = False
    view: bool = False


@dataclass(frozen=True, slots=True)
class Live:
    """What a node that runs says: `peers` are the addresses in its component, with its own."""

    primary: bool
    synced: bool
    history: str
    position: int = UNKNOWN
    peers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Node:
    """A head as it was found; `ours` tells whether it may be changed.

    `running` is also one that only tries to start, `ready` one that said that it takes clients;
    then it serves, whether it answers or not. `live` is None where it does not answer, and `said`
    what came instead. `began` tells whether the head remembers that it was in a cluster.
    """

    head: str
    address: str
    ours: bool = True
    running: bool = False
    ready: bool = False
    live: Live | None = None
    said: str = ""
    began: bool = False
    disk: Disk = field(default_factory=Disk)

    @property
    def primary(self) -> bool:
        """Whether it serves, as part of a cluster that has a majority."""
        return self.live is not None and self.live.primary

    @property
    def silent(self) -> bool:
        """Whether it takes clients, and does not say in what."""
        return self.ready and self.live is None

    @property
    def within(self) -> bool:
        """Whether it serves and lags behind nobody."""
        return self.primary and self.live is not None and self.live.synced


def disk(state: str, names: Collection[str], *, began: bool = False) -> Disk:
    """Read what `grastate.dat` says, which is empty where there is no such file.

    `names` are the folders of the data directory, and `VIEW` if there is such a file. `began` tells
    whether the node was ever in a cluster.
    """
    said = dict(_STATE.findall(state))
    history = said.get("uuid", NO_HISTORY)
    if history == NO_HISTORY and not own(names):
        return Disk()
    if history == NO_HISTORY:
        unmarked = Holds.TORN if began else Holds.FOREIGN
        return Disk(Holds.BROKEN if "uuid" in said else unmarked)
    return Disk(
        Holds.HISTORY,
        history,
        _whole(said.get("seqno")),
        last=said.get("safe_to_bootstrap") == "1",
        view=VIEW in names,
    )


def own(names: Iterable[str]) -> list[str]:
    """Return those names of a data directory that are databases which somebody made."""
    return [
        each
        for each in names
        if each != VIEW and not each.startswith((".", "#")) and each not in SYSTEM
    ]


def live(status: Mapping[str, str]) -> Live:
    """Read a node's `wsrep_…` status variables."""
    incoming = status.get("wsrep_incoming_addresses", "")
    return Live(
        primary=status.get("wsrep_cluster_status") == "Primary"
        and status.get("wsrep_connected") == "ON",
        synced=status.get("wsrep_local_state") == _SYNCED and status.get("wsrep_ready") == "ON",
        history=status.get("wsrep_cluster_state_uuid", ""),
        position=_whole(status.get("wsrep_last_committed")),
        peers=frozenset(each.rpartition(":")[0] for each in incoming.split(",") if each),
    )


def recovered(log: str) -> tuple[str, int] | None:
    """Read the history and position out of what `mariadbd --wsrep-recover` says."""
    found = _RECOVERED.findall(log)
    return (found[-1][0], int(found[-1][1])) if found else None


def _whole(text: str | None) -> int:
    try:
        return int(text or UNKNOWN)
    except ValueError:
        return UNKNOWN
