"""A member that is no machine: it answers commands by a function and notes all it is told.

`FakeMember` knows systemd's `start`, `stop`, `restart`, `reload`, `enable`, `disable` and
`is-active` by itself; `answer` is asked first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from deploy.phases.crew import Clock, Crew
from deploy.phases.errors import CommandError
from deploy.phases.member import Ended, Laid
from deploy.phases.state import VERIFIED, Record, State, UnitState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.phases.configuration import Configuration

    Answer = Callable[[tuple[str, ...], str], Ended | str | None]

GONE = UnitState("inactive", "not-found")


@dataclass
class Time:
    """Seconds that pass when somebody sleeps."""

    at: float = 1000.0

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.at, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.at += seconds


@dataclass
class FakeMember:
    """A head that keeps what it is told; `path` is the configuration it is to have."""

    name: str
    address: str = "10.0.0.1"
    answer: Answer | None = None
    """Takes argv and input; None lets the fake answer by itself."""
    unit: dict[str, UnitState] = field(default_factory=dict)
    found: dict[str, State] = field(default_factory=dict)
    """What `check` finds, by phase."""
    path: dict[str, str] = field(default_factory=dict)
    wants: dict[str, Configuration] = field(default_factory=dict)
    """What is laid by `lay`, by phase."""
    has: dict[str, Configuration] = field(default_factory=dict)
    """What is laid, by phase."""
    ran: list[tuple[str, ...]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    """Seconds that each of them might take."""
    inputs: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """What was put, by path."""
    told: list[str] = field(default_factory=list)
    """Everything that changes a head, in order: `lay storage`, `put PATH`, `systemctl start X`."""
    reached: bool = True

    def check(self, phases: Sequence[str]) -> Mapping[str, State]:
        return {phase: self._state(phase) for phase in phases}

    def units(self, *names: str) -> Mapping[str, UnitState]:
        return {name: self.unit.get(name, GONE) for name in names}

    def laid(self, phase: str) -> Configuration | None:
        return self.has.get(phase)

    def lay(self, phase: str, ahead: Sequence[str] = ()) -> Laid:
        self.told.append(" ".join(["lay", phase, *(f"+{each}" for each in ahead)]))
        if phase in self.wants:
            self.has[phase] = self.wants[phase]
        self._record(phase, "laid")
        return Laid()

    def run(
        self,
        *argv: str,
        input: str = "",  # noqa: A002
        timeout: float = 60.0,
        secrets: Sequence[str] = (),
        check: bool = True,
    ) -> Ended:
        del secrets
        self.ran.append(argv)
        self.limits.append(timeout)
        self.inputs.append(input)
        said = None if self.answer is None else self.answer(argv, input)
        ended = self._own(argv) if said is None else said
        ended = Ended(0, ended) if isinstance(ended, str) else ended
        if check and ended.status:
            raise CommandError(
                self.name, argv, status=ended.status, stdout=ended.stdout, stderr=ended.stderr
            )
        return ended

    def put(
        self,
        path: str,
        data: str,
        *,
        owner: str = "root",
        group: str = "root",
        mode: str = "0644",
        secrets: Sequence[str] = (),
        replace: bool = False,
    ) -> bool:
        del owner, group, mode, secrets
        if path in self.files and not replace:
            return False
        self.files[path] = data
        self.told.append(f"put {path}")
        return True

    def enable(self, phase: str) -> None:
        self.told.append(f"enable {phase}")

    def verified(self, phase: str) -> None:
        self.told.append(f"verified {phase}")
        self._record(phase, VERIFIED)

    def unlay(self, phase: str) -> None:
        self.told.append(f"unlay {phase}")
        self.found.pop(phase, None)
        self.has.pop(phase, None)

    def reconnect(self) -> None:
        self.told.append("reconnect")

    def _state(self, phase: str) -> State:
        state = self.found.get(phase, State())
        return replace(state, units=state.units or dict(self.unit))

    def _record(self, phase: str, state: str) -> None:
        record = Record(self.path.get(phase, phase), state, 1.0, "somebody")
        self.found[phase] = State(recorded=record, laid=True)

    def _own(self, argv: tuple[str, ...]) -> Ended:
        if argv[0] != "systemctl":
            return Ended(0)
        word, *names = (each for each in argv[1:] if not each.startswith("-"))
        if word == "is-active":
            return Ended(0 if all(self.units(each)[each].running for each in names) else 3)
        if word in ("start", "stop", "restart", "reload", "enable", "disable"):
            self.told.append(f"systemctl {word} {' '.join(names)}")
        for name in names:
            self.unit[name] = _moved(self.unit.get(name, UnitState("inactive", "dead")), word)
        return Ended(0)


def configuration(**parameters: Any) -> Configuration:
    """Return as much of a configuration as a module reads: its parameters."""
    return cast("Configuration", SimpleNamespace(parameters=parameters))


def crew(
    phase: str,
    *members: FakeMember,
    witnesses: Sequence[FakeMember] = (),
    missing: Sequence[str] = (),
    configurations: Mapping[str, Configuration] | None = None,
    **parameters: Any,
) -> Crew:
    """Return a crew of fakes; without configurations all heads have one of `parameters`."""
    everybody = (*members, *witnesses)
    wanted = configuration(**parameters)
    return Crew(
        phase,
        members,
        tuple(witnesses),
        tuple(missing),
        configurations=configurations or dict.fromkeys([m.name for m in everybody], wanted),
        states={each.name: each.check([phase])[phase] for each in everybody},
        clock=Time().clock,
        parallel=1,
    )


def _moved(unit: UnitState, word: str) -> UnitState:
    """Return a unit after a word of systemctl."""
    match word:
        case "start" if not unit.running:
            return replace(unit, active="active", sub="running", stale="", invocation="i" * 32)
        case "restart":
            return replace(unit, active="active", sub="running", stale="")
        case "reload":
            return replace(unit, stale="" if unit.stale == "reload" else unit.stale)
        case "stop":
            return replace(unit, active="inactive", sub="dead", stale="")
        case "enable" | "disable":
            return replace(unit, enabled=word == "enable")
    return unit
