"""Users and groups of a phase: there under the numbers that are wanted, or refused.

`plan` is pure: what there is and what is wanted go in, steps and refusals come out. A number that
another one has, or a name under another number, is never put right here: files bear numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import SystemRefusedError
from deploy.phases.state import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deploy.install.machine import Machine, People
    from deploy.phases.configuration import Account

TAKEN = "uid-taken"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: in words, and as a command."""

    text: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes to have the users: `make` before packages come, `join` after."""

    make: tuple[Step, ...]
    join: tuple[Step, ...]
    refusals: tuple[Refusal, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """All steps in words."""
        return tuple(each.text for each in (*self.make, *self.join))


def plan(wanted: Iterable[Account], people: People) -> Plan:
    """Work out what is missing. Pure, but for asking `people`."""
    every = {each.name: each for each in wanted}
    make: list[Step] = []
    join: list[Step] = []
    refusals: list[Refusal] = []
    for each in every.values():
        found = tuple(_clashes(each, people))
        refusals += found
        if not found:
            make += _make(each, people)
            join += _join(each, people)
    return Plan(tuple(dict.fromkeys(make)), tuple(join), tuple(dict.fromkeys(refusals)))


def make(machine: Machine, wanted: Iterable[Account]) -> None:
    """Make users and their groups.

    Raises:
        SystemRefusedError: a number or name is taken, or the system does not make one.
    """
    steps = plan(wanted, machine.people)
    if steps.refusals:
        first = steps.refusals[0]
        raise SystemRefusedError(first.reason, hint=first.hint)
    _do(machine, steps.make)


def join(machine: Machine, wanted: Iterable[Account]) -> None:
    """Let users be in further groups, which packages may have brought.

    Raises:
        SystemRefusedError: the system does not let them.
    """
    _do(machine, plan(wanted, machine.people).join)


def uid(machine: Machine, name: str) -> int:
    """Return the number of a user.

    Raises:
        SystemRefusedError: there is none.
    """
    found = machine.people.user(name)
    if found is None:
        raise SystemRefusedError("there is no such user", where=name, hint=_DECLARE)
    return found.uid


def gid(machine: Machine, name: str) -> int:
    """Return the number of a group.

    Raises:
        SystemRefusedError: there is none.
    """
    found = machine.people.group(name)
    if found is None:
        raise SystemRefusedError("there is no such group", where=name, hint=_DECLARE)
    return found.gid


_DECLARE = "name it under `users` of the phase's recipe, or the package that brings it"


def _clashes(one: Account, people: People) -> Iterator[Refusal]:
    named, numbered = people.user(one.name), people.user(one.uid)
    if named is not None and named.uid != one.uid:
        reason = f"the user {one.name} has the uid {named.uid}, and not {one.uid}"
        yield Refusal(TAKEN, reason, f"usermod -u {one.uid} {one.name}, and chown what it owns")
    elif named is None and numbered is not None:
        reason = f"the uid {one.uid}, which {one.name} is to have, is {numbered.name}'s"
        yield Refusal(TAKEN, reason, f"give {numbered.name} another one, or say another uid")
    group, number = people.group(one.group), people.group(one.gid)
    if group is not None and group.gid != one.gid:
        reason = f"the group {one.group} has the gid {group.gid}, and not {one.gid}"
        yield Refusal(TAKEN, reason, f"groupmod -g {one.gid} {one.group}, and chgrp what it owns")
    elif group is None and number is not None:
        reason = f"the gid {one.gid}, which {one.group} is to have, is {number.name}'s"
        yield Refusal(TAKEN, reason, f"give {number.name} another one, or say another gid")
    elif named is not None and named.uid == one.uid and named.gid != one.gid:
        reason = f"the user {one.name} is in the group {named.gid}, and not {one.gid}"
        yield Refusal(TAKEN, reason, f"usermod -g {one.gid} {one.name}")


def _make(one: Account, people: People) -> Iterator[Step]:
    if people.group(one.group) is None:
        text = f"make the group {one.group} ({one.gid})"
        yield Step(text, ("groupadd", "--gid", str(one.gid), one.group))
    if people.user(one.name) is None:
        argv = (
            "useradd",
            "--no-log-init",
            "--no-create-home",
            f"--uid={one.uid}",
            f"--gid={one.gid}",
            f"--home-dir={one.home}",
            f"--shell={one.shell}",
            one.name,
        )
        yield Step(f"make the user {one.name} ({one.uid})", argv)


def _join(one: Account, people: People) -> Iterator[Step]:
    for name in one.groups:
        group = people.group(name)
        if group is None or one.name not in group.members:
            text = f"let {one.name} be in the group {name}"
            yield Step(text, ("gpasswd", "--add", one.name, name))


def _do(machine: Machine, steps: Iterable[Step]) -> None:
    for step in steps:
        done = machine.run(step.argv)
        if done.status:
            reason = f"the system does not {step.text}"
            got = done.stderr.strip()[-400:]
            raise SystemRefusedError(reason, where=" ".join(step.argv), got=got)
