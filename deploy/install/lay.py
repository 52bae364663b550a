"""Laying a phase on this head, and taking it back.

All that can be refused is refused first. Then packages, users and folders come, each by steps that
leave a head from which the same goes on; then the files, whose text changes by two renames: of the
link to the folder in memory, and of the phase's profile. No step relies on a note of an earlier
one: what is there is looked at. Daemons are started and stopped by the phase's module.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.errors import HeadError
from deploy.install import (
    boot,
    folders,
    links,
    memory,
    packages,
    people,
    profiles,
    records,
    sealed,
    stale,
    units,
)
from deploy.install.look import look, texts
from deploy.phases.state import LAID, RELOAD, RESTART, VERIFIED, Record
from deploy.report import error_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from deploy.install.machine import Machine
    from deploy.install.memory import Text
    from deploy.install.packages import Installed
    from deploy.phases.configuration import Configuration
    from deploy.phases.state import Refusal
    from store.errors import Error

REFUSED = 6
UNTOUCHABLE = ("ssh.service", "sshd.service")
"""Never stopped: the way in."""


def always() -> None:
    """Be there: an operator who does not go away."""


def silent(_text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Work:
    """Who works on this head, with which secrets (sealed).

    `present` raises when the operator is gone: nothing new begins then. `tell` is told what is
    being done.
    """

    machine: Machine
    by: str
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    present: Callable[[], None] = always
    tell: Callable[[str], None] = silent


def lay(work: Work, wanted: Configuration, ahead: Sequence[Configuration] = ()) -> Installed:
    """Make this head what a phase wants of it; packages and users of those `ahead` come along.

    Raises:
        Error: it cannot be, as things are; nothing was changed.
        SystemRefusedError: apt or a program of the system fails; the same goes on from there.
        OperatorGoneError: the operator is gone; the same goes on from there.
    """
    machine, every = work.machine, (wanted, *ahead)
    _refuse(look(machine, [wanted], work.secrets)[wanted.phase].refusals)
    filled = texts(machine, wanted, work.secrets)
    work.present()
    packages.put_right(machine, every)
    coming = packages.plan(machine, every)
    work.present()
    _begin(machine, every)
    boot.install(machine)
    _note_units(machine, every)
    people.make(machine, [user for each in every for user in each.users])
    if coming.new or coming.upgraded:
        work.tell(f"apt installs {len(coming.new)} packages, upgrades {len(coming.upgraded)}")
    _make_stale_by_packages(machine, wanted, coming.upgraded)
    done = packages.install(machine, every, coming)
    work.present()
    people.join(machine, wanted.users)
    folders.make(machine, wanted.directories)
    if profiles.path(machine, wanted.phase) is None:
        units.disable(machine, wanted, _there(machine, wanted))
    _lay_files(work, wanted, filled)
    _write_down(work, wanted)
    return done


def enable(work: Work, phase: str) -> None:
    """Let the units of a phase that is laid start at boot, if they are to.

    Raises:
        HeadError: it is not laid.
        ManagerError: systemd does not do so.
    """
    units.enable(work.machine, _laid(work.machine, phase))
    units.learn(work.machine)


def verified(work: Work, phase: str) -> None:
    """Write down that a phase works as it is laid.

    Raises:
        HeadError: it is not laid.
    """
    path = str(_laid(work.machine, phase).path)
    _record(work, phase, path, VERIFIED)


def unlay(work: Work, phase: str) -> tuple[str, ...]:
    """Take back what laying a phase brought, to the end or not; return what lies aside still.

    Users and folders stay, as files may be theirs. Nothing is done twice.

    Raises:
        SystemRefusedError: apt or a program of the system fails; the same goes on from there.
    """
    machine = work.machine
    laid = profiles.laid(machine, phase) or profiles.begun(machine, phase)
    others = [each for each in profiles.every(machine) if each.phase != phase]
    packages.put_right(machine, [laid] if laid else [])
    if laid is not None:
        _stop(work, laid, others)
    work.present()
    _take_files(machine, phase)
    work.present()
    packages.remove(machine, phase, others)
    with memory.alone(machine):
        memory.collect(machine, [each.phase for each in others])
    records.remove(machine, phase)
    sealed.drop(machine, {name for each in others for name in each.secrets})
    if not others:
        boot.remove(machine)
    # Last: it tells how the phase was laid, without which nobody goes on with this.
    _end(machine, phase)
    profiles.remove(machine, phase)
    return links.still_kept(machine, phase)


def _refuse(found: Iterable[Refusal]) -> None:
    for each in found:
        raise _refused(each)


def _refused(one: Refusal) -> Error:
    facts = {"slug": one.slug, "reason": one.reason, "hint": one.hint, "exit_code": REFUSED}
    return error_from_json(facts)


def _laid(machine: Machine, phase: str) -> Configuration:
    found = profiles.laid(machine, phase)
    if found is None:
        raise HeadError(f"the phase {phase} is not laid on this head", where=phase)
    return found


def _begin(machine: Machine, wanted: Iterable[Configuration]) -> None:
    """Note of which phases something may be here from now on, before they are laid."""
    noted = records.noted(machine, records.BEGUN)
    new = [each for each in wanted if profiles.path(machine, each.phase) is None]
    fresh = noted | {each.phase: str(each.path) for each in new}
    if fresh != noted:
        records.note(machine, records.BEGUN, fresh)


def _end(machine: Machine, phase: str) -> None:
    noted = records.noted(machine, records.BEGUN)
    if noted.pop(phase, None) is not None:
        records.note(machine, records.BEGUN, noted)


def _there(machine: Machine, wanted: Configuration) -> list[str]:
    """Return the units of a phase that there are, but for the way in."""
    found = units.show(machine, [each.name for each in wanted.units])
    return [
        name
        for name, facts in found.items()
        if facts.get("LoadState", units.ABSENT) != units.ABSENT and name not in UNTOUCHABLE
    ]


def _note_units(machine: Machine, wanted: Iterable[Configuration]) -> None:
    """Note how units are before the first phase that cares about them changes them."""
    noted = records.noted(machine, records.UNITS)
    names = [unit.name for each in wanted for unit in each.units if unit.name not in noted]
    if names:
        found = units.show(machine, names)
        fresh = {
            name: units.ABSENT
            if facts.get("LoadState", units.ABSENT) == units.ABSENT
            else facts.get("UnitFileState", "")
            for name, facts in found.items()
        }
        records.note(machine, records.UNITS, noted | fresh)


def _make_stale_by_packages(
    machine: Machine, wanted: Configuration, upgraded: Mapping[str, object]
) -> None:
    """Note before packages change which units run with what these bring.

    A package may be a library of several: of all phases that name it, or that need it, and of the
    one that is laid.
    """
    if not upgraded:
        return
    names = set(upgraded)
    every = [each for each in profiles.every(machine) if each.phase != wanted.phase]
    hit = [each for each in every if names & packages.needs(each)]
    _make_stale(machine, {u.name: RESTART for each in (wanted, *hit) for u in each.units})


def _make_stale(machine: Machine, how: Mapping[str, str]) -> None:
    for name, found in units.states(machine, list(how)).items():
        if units.is_up(found.active):
            stale.note(machine, name, found.invocation, how[name])


def _lay_files(work: Work, wanted: Configuration, filled: Mapping[Path, Text]) -> None:
    """Let /etc be what a phase wants: all that can fail first, then links, each by one rename."""
    machine, phase = work.machine, wanted.phase
    laid = profiles.laid(machine, phase)
    sealed.keep(machine, {name: work.secrets[name] for name in wanted.secrets})
    with memory.alone(machine):
        name = memory.write(machine, phase, filled.values()) if filled else None
        changed = {each.path for each in links.look(machine, wanted, laid, filled)}
        _make_stale(machine, _readers(changed, wanted, laid))
        if any(each.startswith(f"{units.SYSTEM}/") for each in changed):
            units.change(machine)
        links.ready(machine, wanted)
        for path in links.leaving(machine, phase, wanted):
            links.give_back(machine, phase, path)
        if name is not None:
            memory.switch(machine, phase, name)
        profiles.switch(machine, wanted)
        links.place(machine, wanted)
        memory.collect(machine, _in_memory(machine))
    units.learn(machine)
    links.tidy(machine, phase)


def _in_memory(machine: Machine) -> list[str]:
    """Return the phases that have files in memory."""
    every = profiles.every(machine)
    return [each.phase for each in every if any(not file.plain for file in each.files)]


def _readers(
    changed: set[str], wanted: Configuration, laid: Configuration | None
) -> dict[str, str]:
    """Return how the units must take notice of files that change or go. Pure."""
    found: dict[str, str] = {}
    for each in (*(laid.files if laid else ()), *wanted.files):
        if str(each.path) in changed:
            for unit in each.units:
                how = RELOAD if each.reload else RESTART
                found[unit] = RESTART if RESTART in (how, found.get(unit)) else RELOAD
    return found


def _write_down(work: Work, wanted: Configuration) -> None:
    _record(work, wanted.phase, str(wanted.path), LAID)
    _end(work.machine, wanted.phase)


def _record(work: Work, phase: str, path: str, state: str) -> None:
    machine = work.machine
    record = Record(
        path=path,
        state=state,
        at=time.time(),
        by=work.by,
        installed=packages.brought(machine, phase),
        before=profiles.before(machine, phase),
    )
    records.write(machine, phase, record)


def _stop(work: Work, laid: Configuration, others: Iterable[Configuration]) -> None:
    """Stop the units that the phase brought, and let the others start at boot as they did."""
    machine = work.machine
    shared = {unit.name for each in others for unit in each.units}
    noted = records.noted(machine, records.UNITS)
    mine = [n for n in _there(machine, laid) if n not in shared]
    brought = [name for name in mine if noted.get(name) == units.ABSENT]
    units.disable(machine, laid, brought)
    up = [name for name, each in units.states(machine, brought).items() if units.is_up(each.active)]
    if up:
        work.tell(f"stop {', '.join(up)}")
    units.tell(machine, "stop", brought)
    for verb, words in (("enable", units.ENABLED), ("disable", ("disabled",))):
        units.tell(machine, verb, [name for name in mine if noted.get(name) in words])
    own = {unit.name for unit in laid.units} - shared
    left = {name: how for name, how in noted.items() if name not in own}
    records.note(machine, records.UNITS, left)


def _take_files(machine: Machine, phase: str) -> None:
    paths = links.leaving(machine, phase, None)
    if any(str(each).startswith(f"{units.SYSTEM}/") for each in paths):
        units.change(machine)
    for path in paths:
        links.give_back(machine, phase, path)
    units.learn(machine)
    links.tidy(machine, phase)
