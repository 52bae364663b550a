"""How a phase stands on this head: what differs from its configuration, and what is against it.

Nothing is changed. Several phases are looked at together, so that systemd, dpkg and the kernel are
asked once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.install import (
    dpkg,
    folders,
    links,
    memory,
    packages,
    people,
    profiles,
    records,
    sealed,
    units,
)
from deploy.phases.state import Refusal, State, UnitState
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from deploy.install.dpkg import Package
    from deploy.install.listening import Listening
    from deploy.install.machine import Machine
    from deploy.install.memory import Text
    from deploy.phases.configuration import Configuration, Port

PORT_TAKEN = "port-taken"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was asked once for all phases: packages, units, and who listens."""

    known: Mapping[str, Package]
    shown: Mapping[str, Mapping[str, str]]
    heard: Mapping[int, Listening]


def look(
    machine: Machine, wanted: Sequence[Configuration], secrets: Mapping[str, bytes]
) -> dict[str, State]:
    """Return the states of phases by name; `secrets` are sealed.

    Raises:
        Error: systemd, dpkg or apt do not tell, or what is laid cannot be read.
    """
    known = dpkg.packages(machine)
    shown = units.show(machine, [unit.name for each in wanted for unit in each.units])
    ports = [port for each in wanted for port in each.ports]
    seen = _Seen(known, shown, machine.listening(_numbers(ports, "tcp"), _numbers(ports, "udp")))
    return {each.phase: _state(machine, each, secrets, seen) for each in wanted}


def texts(
    machine: Machine, wanted: Configuration, secrets: Mapping[str, bytes]
) -> dict[Path, Text]:
    """Return what a phase lays in memory, with its secrets filled in.

    Raises:
        Error: a secret is missing, unreadable or unfit, or stands where none was declared.
    """
    names = {name for file in wanted.files for name in file.secrets}
    return memory.texts(wanted, sealed.unseal(machine, secrets, names))


def _state(
    machine: Machine,
    wanted: Configuration,
    secrets: Mapping[str, bytes],
    seen: _Seen,
) -> State:
    laid = profiles.laid(machine, wanted.phase)
    accounts = people.plan(wanted.users, machine.people)
    filled: dict[Path, Text] | None = None
    found = [*accounts.refusals, *folders.refusals(machine, wanted.directories)]
    try:
        filled = texts(machine, wanted, secrets)
        sealed.unseal(machine, secrets, wanted.secrets)
    except Error as error:
        found.append(Refusal(error.slug, error.reason, error.hint))
    own = {number for port in wanted.ports for number in port.numbers}
    listening = {number: each for number, each in seen.heard.items() if number in own}
    found += links.refusals(machine, wanted)
    found += packages.refusals(machine, wanted, seen.known)
    found += _taken(wanted, listening)
    return State(
        recorded=records.load(machine, wanted.phase),
        laid=laid is not None,
        begun=wanted.phase in records.noted(machine, records.BEGUN),
        packages=packages.differences(machine, wanted, seen.known),
        users=accounts.texts,
        directories=folders.differences(machine, wanted.directories),
        files=links.look(machine, wanted, laid, filled),
        units={each.name: _unit(machine, each.name, seen.shown, wanted) for each in wanted.units},
        refusals=tuple(found),
        listening={number: str(each) for number, each in listening.items()},
    )


def _numbers(ports: Iterable[Port], protocol: str) -> list[int]:
    return [number for each in ports if each.protocol == protocol for number in each.numbers]


def _unit(
    machine: Machine,
    name: str,
    shown: Mapping[str, Mapping[str, str]],
    wanted: Configuration,
) -> UnitState:
    """Return how a unit is; one that cannot be enabled or disabled is as it is wanted."""
    facts = shown.get(name, {})
    found = units.state(machine, name, facts)
    if facts.get("UnitFileState") in units.FIXED and not found.enabled:
        wish = next(each.enabled for each in wanted.units if each.name == name)
        return UnitState(found.active, found.sub, wish, found.stale, found.invocation)
    return found


def _taken(wanted: Configuration, listening: Mapping[int, Listening]) -> Iterator[Refusal]:
    """Yield the ports of a phase at which a program listens that is none of its units'."""
    every = {each.name for each in wanted.units}
    for port in wanted.ports:
        own = every | ({port.unit} if port.unit else set())
        for number in port.numbers:
            one = listening.get(number)
            if one is not None and one.unit and one.unit not in own:
                reason = f"port {number}, which {wanted.phase} needs, is in use by {one}"
                yield Refusal(PORT_TAKEN, reason, f"systemctl disable --now {one.unit}")
