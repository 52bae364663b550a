"""A Galera cluster that is no machine: what its nodes hold, who runs, and what they answer.

It keeps count of what must never be: a second cluster beside one that serves, and a first node that
lacks what was committed. Nodes that are started join, come back to the view that they remember, or
wait; as Galera does, at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from deploy.phases.crew import Crew
from deploy.phases.errors import CommandError
from deploy.phases.galera_node import BEGAN, DATA, NO_HISTORY
from deploy.phases.galera_up import FIRST
from deploy.phases.mariadb import STATUS
from deploy.phases.member import Ended
from deploy.phases.state import VERIFIED, Record, State, UnitState
from tests.deploy.phases.fakes import FakeMember, Time

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from deploy.phases.configuration import Configuration

HEADS = ("head1", "head2", "head3")
USERS = {"slurm": "SLURM_DB_PASSWORD"}
DATABASES = {"slurm_acct_db": "slurm"}
REFUSED = "ERROR 2002 (HY000): Can't connect to local server through socket"
BUSY = "ERROR 1040 (HY000): Too many connections"
LOG = "2026-11-23 15:18:49 0 [Note] WSREP: Recovered position: {}:{}\n"


class KilledError(Exception):
    """The operator is dead."""


@dataclass
class Node:
    """One head: what it holds (`history`, `position`), and what it wrote down of that."""

    name: str
    address: str
    history: str = ""
    position: int = -1
    written: int = -1
    last: bool = False
    view: frozenset[str] | None = None
    running: bool = False
    foreign: bool = False
    denied: bool = False
    busy: bool = False
    """It serves, and lets nobody else in."""
    began: bool = False
    """It was in a cluster, and remembers that beside its data."""
    mounted: bool = True
    hangs: str = ""
    """What of its disk does not answer: `cat` or `find`."""
    torn: bool = False
    """What Galera wrote down of its history is gone."""
    system: bool = True
    """It has what each MariaDB needs to start."""
    stale: str = ""
    invocation: int = 0


@dataclass
class World:
    """All nodes; `serving` are those in the cluster that has a majority."""

    nodes: dict[str, Node] = field(default_factory=dict)
    serving: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    """What must never be, and was."""
    begun: list[str] = field(default_factory=list)
    """Who was a first node."""
    made: set[str] = field(default_factory=set)
    """Databases, users and grants that there are, as rows of the question about them."""
    words: dict[str, str] = field(default_factory=dict)
    maker: str = ""
    """The head that made the table of those words."""
    meetings: int = 0
    """Writes that meet those of another head, and are not done."""
    options: dict[str, str] = field(default_factory=dict)
    join: int = 60
    commands: int = 0
    kill_at: int | None = None

    @classmethod
    def of(cls, names: Sequence[str] = HEADS) -> World:
        return cls({name: Node(name, f"10.0.0.{at}") for at, name in enumerate(names, 1)})

    def start(self, name: str, *, first: bool = False) -> bool:
        """Start a node; tell whether it came up."""
        node = self.nodes[name]
        if node.running:
            return True
        if first and any(each.running for each in self.nodes.values()):
            return False
        # A first node without system tables gets them; who joins gets all from another head.
        node.system = True
        node.running, node.written, node.stale = True, -1, ""
        node.invocation += 1
        if first:
            self._begin(node)
        elif self.serving:
            self._join(node)
        else:
            self._find()
        return True

    def _begin(self, node: Node) -> None:
        if self.serving:
            self.wrong.append(f"{node.name} begins beside {sorted(self.serving)}")
        held = max(each.position for each in self.nodes.values())
        if node.position < held:
            self.wrong.append(f"{node.name} begins at {node.position}, and {held} was committed")
        node.history = node.history or f"{len(self.begun) + 1:08d}" + NO_HISTORY[8:]
        node.position = max(node.position, 0)
        self.begun.append(node.name)
        self._form({node.name})

    def _join(self, node: Node) -> None:
        other = self.nodes[next(iter(self.serving))]
        if node.history and (node.history, True) != (
            other.history,
            node.position <= other.position,
        ):
            self.wrong.append(f"{node.name} loses what it had")
        node.history, node.position = other.history, other.position
        self._form(self.serving | {node.name})

    def _find(self) -> None:
        """Let nodes that remember each other serve again, when all of them are there."""
        for node in self.nodes.values():
            view = node.view or frozenset()
            there = [self.nodes[each].running and self.nodes[each].view for each in view]
            if node.running and view and all(there):
                position = max(self.nodes[each].position for each in view)
                for each in view:
                    self.nodes[each].position = position
                self._form(set(view))
                for other in self.nodes.values():
                    if other.running and other.name not in self.serving:
                        self._join(other)
                return

    def _form(self, names: set[str]) -> None:
        self.serving = names
        for name in names:
            self.nodes[name].view = frozenset(names)
            self.nodes[name].began = True
            self.nodes[name].last = len(names) == 1

    def stop(self, name: str) -> None:
        """Stop a node in order."""
        node = self.nodes[name]
        if name in self.serving:
            rest = self.serving - {name}
            node.written, node.view, node.last = node.position, None, not rest
            self._form(rest)
        node.running = False

    def crash(self, *names: str) -> None:
        """Let nodes lose their power, all at once."""
        before = len(self.serving)
        for name in names:
            self.nodes[name].running = False
        rest = self.serving - set(names)
        if 2 * len(rest) > before:
            self._form(rest)
        else:
            self.serving = set()

    def commit(self) -> None:
        for name in self.serving:
            self.nodes[name].position += 1

    def wipe(self, name: str) -> None:
        """Lose a disk that holds nothing which no other has."""
        node = self.nodes[name]
        others = [each.position for each in self.nodes.values() if each is not node]
        if not node.running and max(others) >= node.position:
            self.nodes[name] = Node(name, node.address)

    def crew(
        self,
        names: Sequence[str] = HEADS,
        *,
        missing: Collection[str] = (),
        witnesses: Collection[str] = (),
        state: str | None = None,
        ownerless: bool = False,
    ) -> Crew:
        """Return a crew of these heads, to which they are as the world has them."""
        everybody = [WorldMember(self, each) for each in names if each not in missing]
        hosts = [SimpleNamespace(name=e.name, address=e.address) for e in self.nodes.values()]
        parameters = {
            "databases": {**DATABASES, **({"lost": "nobody"} if ownerless else {})},
            "users": USERS,
            "join": self.join,
            "stop": 20,
            "options": self.options,
        }
        wanted = cast("Configuration", SimpleNamespace(parameters=parameters, hosts=hosts))
        record = None if state is None else Record("path", state, 1.0, "somebody")
        return Crew(
            "database",
            tuple(each for each in everybody if each.name not in witnesses),
            tuple(each for each in everybody if each.name in witnesses),
            tuple(missing),
            configurations=dict.fromkeys([each.name for each in everybody], wanted),
            states={each.name: State(record, laid=state is not None) for each in everybody},
            clock=Time().clock,
            parallel=1,
        )

    def verified(self) -> Crew:
        return self.crew(state=VERIFIED)

    def count(self) -> None:
        """Let the operator die at the command at which he is to."""
        self.commands += 1
        if self.kill_at is not None and self.commands >= self.kill_at:
            raise KilledError


class WorldMember(FakeMember):
    """A head of such a world."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(name, world.nodes[name].address)
        self.world = world

    @property
    def node(self) -> Node:
        return self.world.nodes[self.name]

    def units(self, *names: str) -> Mapping[str, UnitState]:
        active = "inactive"
        if self.node.running:
            active = "active" if self.name in self.world.serving else "activating"
        number = f"{self.node.invocation:032d}"
        return dict.fromkeys(names, UnitState(active, stale=self.node.stale, invocation=number))

    def run(
        self,
        *argv: str,
        input: str = "",  # noqa: A002
        timeout: float = 60.0,
        secrets: Sequence[str] = (),
        check: bool = True,
    ) -> Ended:
        del secrets
        self.world.count()
        self.ran.append(argv)
        self.limits.append(timeout)
        ended = self._does(argv, input)
        if check and ended.status:
            raise CommandError(self.name, argv, status=ended.status, stderr=ended.stderr)
        return ended

    def _does(self, argv: tuple[str, ...], given: str) -> Ended:
        match argv:
            case ("systemctl", word, *_) if word in ("start", "stop", "restart"):
                return self._turned(word)
            case ("/bin/sh", script) if script == FIRST:
                return Ended(0 if self.world.start(self.name, first=True) else 1)
            case ("/usr/sbin/mariadbd", *_):
                assert not self.node.running, "recovery beside a server that runs"
                return Ended(0, stderr=LOG.format(self.node.history, self.node.position))
            case ("mariadb", *_):
                return self._sql(given)
        return self._files(argv)

    def _turned(self, word: str) -> Ended:
        if word in ("stop", "restart"):
            self.world.stop(self.name)
        return Ended(0 if word == "stop" or self.world.start(self.name) else 1)

    def _files(self, argv: tuple[str, ...]) -> Ended:
        match argv:
            case (word, *_) if word == self.node.hangs:
                return Ended(-1, stderr="no end within 60 s")
            case ("cat", path):
                there = self.node.history and self.node.mounted and not self.node.torn
                absent = Ended(1, stderr=f"cat: {path}: No such file or directory\n")
                return Ended(0, self._grastate()) if there else absent
            case ("find", path, *rest) if path == f"{DATA}/" and "-delete" in rest:
                assert not self.node.running, "data are taken from under a server"
                began = self.node.began
                self.world.nodes[self.name] = Node(
                    self.name, self.node.address, began=began, system=False
                )
            case ("rm", "-f", path) if path == BEGAN:
                self.node.began = False
            case ("find", *_):
                return Ended(0, "\n".join(self._folders()))
        return Ended(0)

    def _grastate(self) -> str:
        node = self.node
        return (
            "# GALERA saved state\nversion: 2.1\n"
            f"uuid:    {node.history}\nseqno:   {node.written}\n"
            f"safe_to_bootstrap: {int(node.last)}\n"
        )

    def _folders(self) -> list[str]:
        node = self.node
        began = ["was-in-a-cluster"] if node.began else []
        if not node.mounted:
            return began
        own = ["sealift"] if node.history else ["wordpress"] if node.foreign else []
        view = ["gvwstate.dat"] if node.view else []
        return [*(["mysql", "sys"] if node.system else []), *own, *view, *began]

    def _shut(self) -> str:
        """Say why a client is not let in."""
        if self.node.denied:
            return "ERROR 1698 (28000): Access denied for user 'root'@'localhost'"
        if self.node.busy:
            return BUSY
        return "" if self.name in self.world.serving else REFUSED

    def _sql(self, given: str) -> Ended:
        fault = self._shut()
        if fault:
            return Ended(1, stderr=fault)
        if given == STATUS:
            return Ended(0, self._status())
        if "global_priv" in given:
            return Ended(0, "\n".join(sorted(self.world.made)))
        if given.startswith("CREATE DATABASE"):
            wrong = rows(right=False)
            self.world.made = (self.world.made - wrong) | rows()
            return Ended(0)
        for each in re.findall(r"DROP USER IF EXISTS '(\S+)'@'(\S+)';", given):
            self.world.made -= {row for row in self.world.made if row.split("\t")[1:3] == [*each]}
        return self._verified(given)

    def _verified(self, given: str) -> Ended:
        """Write and read; what another head did is there for who waits for it alone."""
        if given.startswith("CREATE TABLE"):
            self.world.maker = self.name
        if given and "wsrep_sync_wait = 7" not in given and self.world.maker != self.name:
            return Ended(1, stderr="ERROR 1146 (42S02) at line 1: Table doesn't exist")
        if "REPLACE" in given and self.world.meetings:
            self.world.meetings -= 1
            return Ended(1, stderr="ERROR 1205 (HY000) at line 1: Lock wait timeout exceeded")
        if "REPLACE" in given:
            _, head, _, word, _ = given.split("'")
            self.world.words[head] = word
        if "SELECT head" in given:
            return Ended(0, "\n".join(f"{a}\t{b}" for a, b in self.world.words.items()))
        return Ended(0)

    def _status(self) -> str:
        world, node = self.world, self.node
        peers = ",".join(f"{world.nodes[each].address}:3306" for each in sorted(world.serving))
        return (
            f"wsrep_cluster_state_uuid\t{node.history}\nwsrep_cluster_status\tPrimary\n"
            f"wsrep_connected\tON\nwsrep_ready\tON\nwsrep_local_state\t4\n"
            f"wsrep_last_committed\t{node.position}\nwsrep_incoming_addresses\t{peers}\n"
        )


def rows(*, right: bool = True) -> set[str]:
    """Return the rows of all that there is to be; passwords may be others."""
    hosts = ("localhost", "127.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    found = {f"database\t{each}\t\t1" for each in ("sealift", *DATABASES)}
    for host in hosts:
        found.add(f"user\tslurm\t{host}\t{int(right)}")
        found.add(f"grant\tslurm@{host}\tslurm\\_acct\\_db\t1")
    return found
