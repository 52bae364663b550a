"""A cluster of fakes and phases of a test's own, for what works on several of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deploy.phases.configuration import Configuration, Packages, Peer, UnitWish
from deploy.phases.errors import PhaseError
from deploy.phases.phase import Finding, Kind
from deploy.phases.survey import Ground
from deploy.phases.wish import Wish
from deploy.release import PhaseOf, Release
from deploy.stopping import Stopping
from tests.deploy.phases.fakes import FakeMember, Time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.phase import Phase
    from store.local import LocalStore

HEADS = ("head1", "head2", "head3")
STORE = Path("/x/store")


def wanted(
    phase: str, host: str, number: int = 0, hosts: Sequence[str] = HEADS, **facts: Any
) -> Configuration:
    """Return a configuration; `facts` are its fields."""
    said: dict[str, Any] = {
        "path": STORE / f"{'0' * 32}-phase-{phase}-{host}",
        "phase": phase,
        "number": number,
        "host": host,
        "description": "",
        "hosts": tuple(Peer(name, f"10.0.0.{n}", n) for n, name in enumerate(hosts, start=1)),
        "after": (),
        "irreversible": (),
        "parameters": {},
        "packages": None,
        "users": (),
        "directories": (),
        "files": (),
        "units": (),
        "ports": (),
        "secrets": {},
    }
    return Configuration(**(said | facts))


def packages(**versions: str) -> Packages:
    return Packages(STORE / f"{'1' * 32}-packages", versions)


def units(*names: str) -> tuple[UnitWish, ...]:
    return tuple(UnitWish(name, enabled=True) for name in names)


@dataclass
class Steps:
    """A phase that notes what is asked of it, and fails where it is told to."""

    name: str
    fails: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    parting: list[Finding] = field(default_factory=list)
    asked: Callable[[], str] = lambda: ""
    """Says why the phase is not well."""
    crews: list[Crew] = field(default_factory=list)
    """Those that it was asked to undo something with."""

    def check(self, crew: Crew) -> Sequence[Finding]:
        self._do("check", crew)
        return self.findings

    def apply(self, crew: Crew) -> None:
        self._do("apply", crew)

    def verify(self, crew: Crew) -> Sequence[str]:
        self._do("verify", crew)
        return (f"{self.name} works",)

    def well(self, crew: Crew) -> str:
        del crew
        return self.asked()

    def before_undo(self, crew: Crew, destroy: Collection[str]) -> Sequence[Finding]:
        del crew, destroy
        return self.parting

    def undo(self, crew: Crew, destroy: Collection[str]) -> None:
        self.crews.append(crew)
        self._do(f"undo {','.join(sorted(destroy))}".strip(), crew)

    def _do(self, word: str, crew: Crew) -> None:
        assert crew.phase == self.name
        self.done.append(word)
        if word.split(maxsplit=1)[0] in self.fails:
            raise PhaseError(f"{word} does not work", where="head2", hint="mend it")


@dataclass
class Scene:
    """Three heads, phases in order, and what was told."""

    phases: Mapping[str, Steps]
    members: Mapping[str, FakeMember]
    configurations: Mapping[str, Mapping[str, Configuration]]
    told: list[tuple[str, str, str]] = field(default_factory=list)
    stopping: Stopping = field(default_factory=Stopping)

    def ground(
        self,
        *asked: str,
        heads: Iterable[str] = HEADS,
        missing: Iterable[str] = (),
    ) -> Ground:
        """Return what work on the phases stands on; all of them where none is asked for."""
        gone = tuple(missing)
        here = {name: each for name, each in self.members.items() if name not in gone}
        return Ground(
            here,
            gone,
            self.wish(*asked, heads=heads),
            module=lambda name: cast("Phase", self.phases[name]),
            tell=lambda phase, head, text: self.told.append((phase, head, text)),
            stopping=self.stopping,
            clock=Time().clock,
        )

    def wish(self, *asked: str, heads: Iterable[str] = HEADS) -> Wish:
        """Return what is wanted."""
        of = {
            name: PhaseOf(
                next(iter(hosts.values())).number,
                {host: each.path for host, each in hosts.items()},
            )
            for name, hosts in self.configurations.items()
        }
        release = Release(STORE / f"{'2' * 32}-release", {}, {}, None, phases=of)
        return Wish(
            store=cast("LocalStore", None),
            release=release,
            phases=asked or tuple(self.phases),
            heads=tuple(heads),
            by="me",
            configurations=self.configurations,
            parallel=1,
        )

    def log(self, head: str) -> list[str]:
        """Return what changed a head, in order."""
        return self.members[head].told


def scene(*names: str, **facts: Any) -> Scene:
    """Return phases that come after one another on three heads; `facts` are of all of them."""
    configurations: dict[str, dict[str, Configuration]] = {}
    for number, name in enumerate(names):
        after = names[number - 1 : number] if number else ()
        of = {"after": tuple(after), **facts}
        configurations[name] = {host: wanted(name, host, number, **of) for host in HEADS}
    members = {
        host: FakeMember(
            host,
            f"10.0.0.{n}",
            path={name: str(configurations[name][host].path) for name in names},
            wants={name: configurations[name][host] for name in names},
        )
        for n, host in enumerate(HEADS, start=1)
    }
    return Scene({name: Steps(name) for name in names}, members, configurations)


def change(what: str = "make it", head: str = "") -> Finding:
    return Finding(head, what, Kind.CHANGE)


def refusal(what: str = "it cannot be", head: str = "", slug: str = "no") -> Finding:
    return Finding(head, what, Kind.REFUSAL, slug=slug, hint="do something")
