"""Redis with Sentinels that is no machine: who is the primary, and what each answers.

Sentinels of it choose at once; a Redis that comes back follows the primary that there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from deploy.phases.crew import Crew
from deploy.phases.member import Ended
from deploy.phases.redis import LOCAL, PROXY, SENTINEL, SERVER, UNITS
from deploy.phases.redis_call import DATA, MARK
from deploy.phases.state import VERIFIED, Record, State, UnitState
from tests.deploy.phases.fakes import FakeMember, Time

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from deploy.phases.configuration import Configuration

HEADS = ("head1", "head2", "head3")
WRONG = "WRONGPASS invalid username-password pair or user is disabled.\n"


@dataclass
class Host:
    """One head: which units are up, which of them with old settings, and what password counts."""

    name: str
    address: str
    up: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)
    """Units that still want the password before."""
    files: set[str] = field(default_factory=set)
    fault: str = ""
    """Why its data cannot be looked at."""
    open: bool = False
    """Whether it asks for no password."""


@dataclass
class RedisWorld:
    """All heads; `primary` is the one that Sentinels say, `told` what was done, in order."""

    hosts: dict[str, Host] = field(default_factory=dict)
    primary: str = "head1"
    keys: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    unfit: int = 0
    """Times that no replica is fit to be the primary."""
    lag: int = 0
    """How far replicas are behind; each time that one is asked it is less."""
    deaf: set[str] = field(default_factory=set)
    """Heads whose Redis gets nothing from the primary."""

    @classmethod
    def of(cls, names: Sequence[str] = HEADS) -> RedisWorld:
        return cls({name: Host(name, f"10.0.0.{at}") for at, name in enumerate(names, 1)})

    @classmethod
    def running(cls) -> RedisWorld:
        world = cls.of()
        for host in world.hosts.values():
            host.up = set(UNITS)
            host.files = {MARK, f"{DATA}/appendonlydir"}
        return world

    def crew(
        self,
        names: Sequence[str] = HEADS,
        *,
        missing: Collection[str] = (),
        witnesses: Collection[str] = (),
        strangers: Collection[str] = (),
        state: str | None = None,
        mode: str = "sentinel",
    ) -> Crew:
        """Return a crew of these heads, to which they are as the world has them."""
        everybody = [RedisMember(self, each) for each in names if each not in missing]
        hosts = [SimpleNamespace(name=e.name, address=e.address) for e in self.hosts.values()]
        parameters = {"mode": mode, "password": "REDIS_PASSWORD"}
        wanted = cast("Configuration", SimpleNamespace(parameters=parameters, hosts=hosts))
        record = None if state is None else Record("path", state, 1.0, "somebody")
        records = {e.name: None if e.name in strangers else record for e in everybody}
        return Crew(
            "redis",
            tuple(each for each in everybody if each.name not in witnesses),
            tuple(each for each in everybody if each.name in witnesses),
            tuple(missing),
            configurations=dict.fromkeys([each.name for each in everybody], wanted),
            states={name: State(each, laid=state is not None) for name, each in records.items()},
            clock=Time().clock,
            parallel=1,
        )

    def verified(self) -> Crew:
        return self.crew(state=VERIFIED)

    def turn(self, word: str, host: Host, units: Sequence[str]) -> None:
        self.told.append(
            f"{host.name}: {word} {' '.join(each.partition('.')[0] for each in units)}"
        )
        if word == "stop":
            host.up -= set(units)
            return
        host.up |= set(units)
        if word in ("restart", "start", "reload"):
            host.stale -= set(units)
            host.old -= set(units)

    def replicas(self) -> list[Host]:
        return [
            each
            for each in self.hosts.values()
            if SERVER in each.up and each.name != self.primary and each.name not in self.deaf
        ]

    def fail_over(self) -> str:
        if self.unfit:
            self.unfit -= 1
            return "NOGOODSLAVE No suitable replica to promote"
        self.primary = self.replicas()[0].name
        self.told.append(f"{self.primary} is the primary")
        return "OK"


class RedisMember(FakeMember):
    """A head of such a world."""

    def __init__(self, world: RedisWorld, name: str) -> None:
        super().__init__(name, world.hosts[name].address)
        self.world = world

    @property
    def host(self) -> Host:
        return self.world.hosts[self.name]

    def units(self, *names: str) -> Mapping[str, UnitState]:
        return {
            name: UnitState(
                "active" if name in self.host.up else "inactive",
                stale="restart" if name in self.host.stale else "",
            )
            for name in names
        }

    def run(
        self,
        *argv: str,
        input: str = "",  # noqa: A002
        timeout: float = 60.0,
        secrets: Sequence[str] = (),
        check: bool = True,
    ) -> Ended:
        del timeout, secrets, check
        match argv:
            case ("systemctl", word, *units) if word in ("start", "stop", "restart", "reload"):
                self.world.turn(word, self.host, units)
            case ("find", path, *_) if self.host.fault:
                return Ended(-1, stderr=f"find: '{path}': {self.host.fault}\n")
            case ("find", path, "-maxdepth", "0") if path not in self.host.files:
                return Ended(1, stderr=f"find: '{path}': No such file or directory\n")
            case ("setpriv", "--reuid", "redis", *_, "tee", path):
                self.host.files.add(path)
            case ("find", path, *rest, last, "-delete") if (path, last) == (DATA, MARK):
                self.world.told.append(f"{self.name}: delete")
                self.host.files &= {MARK} if "!" in rest else self.host.files - {MARK}
            case ("find", *_):
                return Ended(0, "\n".join(sorted(self.host.files)))
            case ("redis-cli", "-h", address, "-p", port):
                return Ended(0, self._said(address, port, input))
        return Ended(0)

    def _said(self, address: str, port: str, given: str) -> str:
        unit = PROXY if address == LOCAL else SENTINEL if port == "26379" else SERVER
        if unit not in self.host.up:
            return ""
        if "AUTH" not in given:
            return "PONG\n" if self.host.open else "NOAUTH Authentication required.\n"
        if unit in self.host.old:
            return WRONG + "NOAUTH Authentication required.\n"
        return "\n".join(["OK", *(self._one(each) for each in given.splitlines()[1:])]) + "\n"

    def _one(self, command: str) -> str:
        world = self.world
        match command.split():
            case ["INFO", "replication"]:
                return self._replication()
            case ["SENTINEL", word, _]:
                return self._sentinel(word)
            case ["CLIENT", *words]:
                world.told.append(f"{self.name}: {' '.join(words).lower()}")
                return "OK"
            case ["SET", key, word, "EX", _]:
                world.keys[key] = word
                return "OK"
            case ["GET", key]:
                return "" if self.name in world.deaf else world.keys.get(key, "")
            case _:
                return str(len(world.replicas()))

    def _sentinel(self, word: str) -> str:
        match word:
            case "MASTER":
                return self._watch()
            case "FAILOVER":
                return self.world.fail_over()
            case _:
                return "OK 3 usable Sentinels. Quorum and failover authorization can be reached"

    def _replication(self) -> str:
        world = self.world
        if self.name != world.primary:
            address = world.hosts[world.primary].address
            state = "down" if self.name in world.deaf else "up"
            lag = self.world.lag
            self.world.lag = max(0, lag - 1)
            rows = f"master_link_status:{state}\r\nslave_repl_offset:{428 - lag}\r"
            return f"role:slave\r\nmaster_host:{address}\r\n{rows}"
        rows = "".join(
            f"slave{at}:ip={each.address},port=6379,state=online,offset=428,lag=0\r\n"
            for at, each in enumerate(world.replicas())
        )
        return f"# Replication\r\nrole:master\r\n{rows}master_repl_offset:428\r"

    def _watch(self) -> str:
        world = self.world
        others = len(world.hosts) - 1
        facts = {
            "name": "mymaster",
            "ip": world.hosts[world.primary].address,
            "flags": "master",
            "config-epoch": "1",
            "num-slaves": str(others),
            "num-other-sentinels": str(others),
        }
        return "\n".join(f"{name}\n{value}" for name, value in facts.items())
