"""What is true on one host of one phase: how it differs from what its configuration says.

Values, and how they travel from a head to the operator; finding them out is for
`deploy.install`, judging them for `deploy.phases.plan`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deploy.errors import BadMessageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAID, VERIFIED = "laid", "verified"
RESTART, RELOAD = "restart", "reload"
NONE: Mapping[Any, Any] = MappingProxyType({})
Made = TypeVar("Made")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "bool": (bool,),
    "float": (int, float),
    "tuple[str, ...]": (tuple,),
}
"""What a field of a type may be."""
HINT = "the two sides are different versions of sealift: run it again with a newer release"


@dataclass(frozen=True, slots=True)
class Record:
    """What a head wrote down of a phase.

    `path` is the configuration's store path, `state` is `laid` or `verified`, `at` in seconds
    since the epoch. `installed` names the packages that were not there before, `before` the
    configuration before this one.
    """

    path: str
    state: str
    at: float
    by: str
    installed: tuple[str, ...] = ()
    before: str | None = None


@dataclass(frozen=True, slots=True)
class FileState:
    """A file that is not as the configuration says.

    `what` is `missing`, `changed`, `foreign` (there, and not ours) or `gone` (ours, and not
    wanted any more). `aside` is where a foreign one will be kept. `diff` is unified text; empty
    where there is a secret in the file.
    """

    path: str
    what: str
    aside: str = ""
    diff: str = ""


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as systemd sees it; `active` and `sub` are its words.

    `stale` is `restart` or `reload` where it runs with what it had before, else empty.
    """

    active: str
    sub: str = ""
    enabled: bool = False
    stale: str = ""
    invocation: str = ""

    @property
    def running(self) -> bool:
        """Whether it is up."""
        return self.active == "active"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the phase cannot be laid on this host as it is."""

    slug: str
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One phase on one host; what is empty does not differ from what is wanted.

    `laid` tells whether the configuration (this one or another) was laid here, so that its
    programs are there; `begun` that it was not to the end, and that some of it may be here, as its
    packages. `packages` has a difference by name, as in `10.11.19 → 10.11.20` or
    `absent → 10.11.19`; `users` and `directories` are lines of a plan. `units` has all units of
    the phase, `listening` the process by port of the phase's ports that are in use.
    """

    recorded: Record | None = None
    laid: bool = False
    begun: bool = False
    packages: Mapping[str, str] = field(default_factory=lambda: NONE)
    users: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    files: tuple[FileState, ...] = ()
    units: Mapping[str, UnitState] = field(default_factory=lambda: NONE)
    refusals: tuple[Refusal, ...] = ()
    listening: Mapping[int, str] = field(default_factory=lambda: NONE)

    @property
    def differs(self) -> bool:
        """Whether laying the phase would change anything."""
        return bool(self.packages or self.users or self.directories or self.files)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "recorded": None if self.recorded is None else asdict(self.recorded),
            "laid": self.laid,
            "begun": self.begun,
            "packages": dict(self.packages),
            "users": list(self.users),
            "directories": list(self.directories),
            "files": [asdict(each) for each in self.files],
            "units": units_json(self.units),
            "refusals": [asdict(each) for each in self.refusals],
            "listening": {str(port): name for port, name in self.listening.items()},
        }

    @classmethod
    def from_json(cls, record: object) -> State:
        """Make a state of what `to_json` wrote.

        Raises:
            BadMessageError: it is none.
        """
        try:
            return _state(cls, record)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise BadMessageError(
                "a head tells the state of a phase in words that are not known here",
                got=f"{type(error).__name__}: {error}"[:200],
                hint=HINT,
            ) from error


def units_json(units: Mapping[str, UnitState]) -> dict[str, Any]:
    """Return what `units_from_json` reads."""
    return {name: asdict(each) for name, each in units.items()}


def units_from_json(record: Mapping[str, Any]) -> dict[str, UnitState]:
    """Make the states of units of what `units_json` wrote.

    Raises:
        BadMessageError: they are none.
    """
    try:
        return {str(name): _made(UnitState, each) for name, each in record.items()}
    except (TypeError, AttributeError) as error:
        reason = "a head tells the state of units in words that are not known here"
        raise BadMessageError(reason, got=str(error)[:200], hint=HINT) from error


def _state(cls: type[State], record: Any) -> State:  # noqa: ANN401 - whatever a head says
    recorded = record["recorded"]
    return cls(
        recorded=None if recorded is None else _record(recorded),
        laid=_fit("laid", record["laid"], "bool"),
        begun=_fit("begun", record["begun"], "bool"),
        packages=_texts(record["packages"]),
        users=_each("users", record["users"]),
        directories=_each("directories", record["directories"]),
        files=tuple(_made(FileState, each) for each in record["files"]),
        units={str(name): _made(UnitState, each) for name, each in record["units"].items()},
        refusals=tuple(_made(Refusal, each) for each in record["refusals"]),
        listening={int(port): name for port, name in _texts(record["listening"]).items()},
    )


def _record(record: Mapping[str, Any]) -> Record:
    return _made(Record, {**record, "installed": _each("installed", record["installed"])})


def _texts(record: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): _fit(str(name), each, "str") for name, each in record.items()}


def _each(name: str, said: object) -> tuple[str, ...]:
    if not isinstance(said, list):
        raise TypeError(f"{name} is {said!r}")
    return tuple(_fit(name, each, "str") for each in said)


def _made(cls: Callable[..., Made], record: Mapping[str, Any]) -> Made:
    """Make a value of facts, each of the type that its field has.

    Raises:
        TypeError: one is of another, or of no field.
    """
    made = cls(**record)
    for each in fields(cast("Any", made)):
        _fit(each.name, getattr(made, each.name), str(each.type))
    return made


def _fit(name: str, said: Any, of: str) -> Any:  # noqa: ANN401 - whatever a head says
    kinds = _TYPES[of]
    if not isinstance(said, kinds) or (isinstance(said, bool) and bool not in kinds):
        raise TypeError(f"{name} is {said!r}")
    return said
