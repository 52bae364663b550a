"""Packages of phases: there in the versions that are pinned, and gone when nothing needs them.

What dpkg says decides, not what we noted: a kill at any moment leaves something that the same
goes on from. apt itself is behind `deploy.install.apt`.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import SystemRefusedError
from deploy.install import depends, dpkg, policy, records, units
from deploy.install.apt import Apt, Simulation, collect
from deploy.install.copying import make_folders
from deploy.phases.state import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from deploy.install.dpkg import Package
    from deploy.install.machine import Machine
    from deploy.phases.configuration import Configuration

EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
"""MD5 of nothing."""
_RESTORE = ("-o", "Dpkg::Options::=--force-confmiss")
CONFLICT = "package-conflict"
SETTLE_SECONDS = 120.0
_STAND = "let go of what stands in the way (apt-mark showhold, apt-get remove), then run it again"


@dataclass(frozen=True, slots=True)
class Installed:
    """What came: `names` that were not there, `upgraded` ones, and the seconds that it took."""

    names: tuple[str, ...] = ()
    upgraded: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    seconds: float = 0.0


def differences(
    machine: Machine, wanted: Configuration, known: Mapping[str, Package]
) -> dict[str, str]:
    """Return by name how a phase's packages differ from what is pinned.

    What they need counts where the set has a newer one than the system.
    """
    lacking = _lacking(machine, wanted, known)
    return {name: f"{_now(known.get(name))} → {each}" for name, each in lacking.items()}


def needs(wanted: Configuration) -> frozenset[str]:
    """Return the packages of a phase and all that they may need of its set."""
    if wanted.packages is None:
        return frozenset()
    own = wanted.packages
    return frozenset(own.names) | depends.closure(own.names, depends.offers(own.set))


def refusals(
    machine: Machine, wanted: Configuration, known: Mapping[str, Package]
) -> tuple[Refusal, ...]:
    """Return why apt would not install what a phase lacks, in its words.

    While dpkg is cut off at something there is no telling.

    Raises:
        SystemRefusedError: the set cannot be read.
    """
    if wanted.packages is None or not _lacking(machine, wanted, known):
        return ()
    if dpkg.interrupted(machine, known):
        return ()
    found = _simulate(machine, [wanted], known)
    if not found.refused:
        return ()
    reason = f"apt does not install the packages of {wanted.phase}: {found.refused}"
    return (Refusal(CONFLICT, reason, _STAND),)


def put_right(machine: Machine, wanted: Sequence[Configuration]) -> None:
    """Let dpkg end what it was cut off at, and install again what is broken.

    After a power cut that is all that apt was at: dpkg syncs neither the configuration files of
    packages nor what their scripts write, so that even of those it calls well some may be empty.

    Raises:
        SystemRefusedError: something stays broken.
    """
    if not unfinished(machine):
        return
    lost = _lost(machine)
    units.mask(machine, _coming(machine, wanted))
    with policy.forbidding(machine):
        _drop_empty(machine, lost)
        said = _repair(Apt(machine, _sets(wanted)), machine, wanted, lost)
    left = dpkg.interrupted(machine, dpkg.packages(machine))
    if left or said:
        raise SystemRefusedError(
            "dpkg was cut off, and cannot be put right by itself",
            got=f"{', '.join(left)[:200]}; {said}".strip("; "),
            hint="dpkg --configure -a, or apt-get --fix-broken install",
        )
    _done(machine)
    units.unmask(machine)


def unfinished(machine: Machine) -> bool:
    """Tell whether dpkg was cut off, or power was lost before all was on the disk."""
    return bool(_lost(machine)) or bool(dpkg.interrupted(machine, dpkg.packages(machine)))


def plan(machine: Machine, wanted: Sequence[Configuration]) -> Simulation:
    """Work out what it takes to have the packages of phases; asks apt only where any are lacking.

    Raises:
        SystemRefusedError: apt would not install them; nothing was done.
    """
    known = dpkg.packages(machine)
    lacking = [each for each in wanted if _lacking(machine, each, known)]
    if not lacking:
        return Simulation({}, {}, ())
    found = _simulate(machine, lacking, known)
    if found.refused:
        names = ", ".join(each.phase for each in lacking)
        reason = f"apt does not install the packages of {names}"
        raise SystemRefusedError(reason, got=found.refused, hint=_STAND)
    return found


def install(machine: Machine, wanted: Sequence[Configuration], found: Simulation) -> Installed:
    """Install what `plan` found; units that come are kept from starting, now and at boot.

    The first of `wanted` is the phase that is laid; the others come along.

    Raises:
        SystemRefusedError: apt fails; the same goes on from there.
    """
    began, known = time.monotonic(), dpkg.packages(machine)
    lacking = [each for each in wanted if _lacking(machine, each, known)]
    automatic = dpkg.automatic(machine)
    apt = Apt(machine, _sets(wanted))
    if lacking:
        _note(machine, wanted, found, known)
        _begin(machine, found)
        units.mask(machine, _coming(machine, wanted))
        with policy.forbidding(machine):
            apt.do("--no-remove", "install", "--", *_words(machine, lacking, known))
        units.unmask(machine)
        collect(machine, apt)
    if records.noted(machine, records.INSTALLING):
        _done(machine)
    mine = records.noted(machine, records.PACKAGES)
    pins = {name for each in wanted for name in _pins(each)}
    apt.mark("manual", sorted(pins & mine.keys() & dpkg.automatic(machine)))
    # Whoever is named in a call of apt counts as wanted for itself from then on.
    apt.mark("auto", sorted(automatic - pins - dpkg.automatic(machine)))
    return Installed(tuple(sorted(found.new)), dict(found.upgraded), time.monotonic() - began)


def brought(machine: Machine, phase: str) -> tuple[str, ...]:
    """Return the packages that are noted as a phase's, sorted."""
    noted = records.noted(machine, records.PACKAGES)
    return tuple(sorted(name for name, whose in noted.items() if whose == phase))


def remove(machine: Machine, phase: str, others: Iterable[Configuration]) -> tuple[str, ...]:
    """Remove the packages that phases brought, and that nothing needs without this one.

    `others` are the phases that stay. Returns what was removed. A package that came for another's
    sake may provide what a package of the system needs as well, as gawk does: apt alone would keep
    it. It goes if nothing else would go with it.

    Raises:
        SystemRefusedError: apt fails, or would remove what no phase brought.
    """
    noted = records.noted(machine, records.PACKAGES)
    known = dpkg.packages(machine)
    stay = {name for each in others for name in _pins(each)}
    ours = {name for name in noted if name in known and known[name].there}
    mine = sorted(name for name in ours - stay if noted[name] == phase)
    apt = Apt(machine, ())
    apt.mark("auto", sorted(set(mine) - dpkg.automatic(machine)))
    known_phases = {*records.phases(machine), *(each.phase for each in others)} - {phase}
    left = {n for n in ours - stay if noted[n] not in known_phases} & dpkg.automatic(machine)
    gone = _removable(apt, ours - stay, left) if left else ()
    if gone:
        with policy.forbidding(machine):
            apt.do("remove", "--", *gone)
    known = dpkg.packages(machine)
    stays = {n: whose for n, whose in noted.items() if n in known and known[n].there}
    records.note(machine, records.PACKAGES, stays)
    return gone


def _repair(
    apt: Apt, machine: Machine, wanted: Sequence[Configuration], lost: Collection[str]
) -> str:
    """Let dpkg go on, and install again what is broken then; return what speaks against it."""
    apt.configure()
    again = {*dpkg.broken(dpkg.packages(machine)), *lost}
    pins = {n: v for each in wanted for n, v in _pins(each).items()}
    words = [f"{name}={pins[name]}" if name in pins else name for name in sorted(again)]
    try:
        if words:
            apt.do("--no-remove", *_RESTORE, "install", "--reinstall", "--", *words)
    except SystemRefusedError as error:
        return error.got or error.reason
    return ""


def _lost(machine: Machine) -> list[str]:
    """Return what apt was at when power was lost, as far as it is there."""
    if machine.installing.exists():
        return []
    known = dpkg.packages(machine)
    noted = records.noted(machine, records.INSTALLING)
    return sorted(name for name in noted if name in known and known[name].there)


def _drop_empty(machine: Machine, names: Collection[str]) -> None:
    """Remove configuration files that are empty and should not be; they come anew."""
    diverted = dpkg.diversions(machine)
    for path, digest in dpkg.conffiles(machine, names).items():
        place = Path(diverted[path][0]) if path in diverted else machine.at(path)
        plain = place.is_file() and not place.is_symlink()
        if digest != EMPTY and plain and place.stat().st_size == 0:
            durable.remove(place)


def _begin(machine: Machine, found: Simulation) -> None:
    """Note what apt is going to be at."""
    before = records.noted(machine, records.INSTALLING)
    names = dict.fromkeys((*found.new, *found.upgraded), True)
    make_folders(machine.memory)
    machine.installing.touch()
    records.note(machine, records.INSTALLING, before | names)


def _done(machine: Machine) -> None:
    """Note that all that apt was at is there, and on the disk, be it a killed session's."""
    os.sync()
    records.note(machine, records.INSTALLING, {})
    machine.installing.unlink(missing_ok=True)


def _removable(apt: Apt, ours: Collection[str], left: Collection[str]) -> tuple[str, ...]:
    """Return what of `left` can go, with what of `ours` nothing needs; nothing else would go."""
    unneeded = set(ours).intersection(apt.simulate("autoremove").removed)
    for chosen in ({*unneeded, *left}, unneeded):
        found = apt.simulate("remove", "--", *sorted(chosen))
        if {*found.removed} == chosen and not found.new:
            return tuple(sorted(chosen))
    return ()


def _simulate(
    machine: Machine, wanted: Sequence[Configuration], known: Mapping[str, Package]
) -> Simulation:
    apt = Apt(machine, _sets(wanted))
    return apt.simulate("--no-remove", "install", "--", *_words(machine, wanted, known))


def _words(
    machine: Machine, wanted: Sequence[Configuration], known: Mapping[str, Package]
) -> list[str]:
    lacking = {n: v for each in wanted for n, v in _lacking(machine, each, known).items()}
    return [f"{name}={version}" for name, version in lacking.items()]


def _lacking(
    machine: Machine, wanted: Configuration, known: Mapping[str, Package]
) -> dict[str, str]:
    """Return what of a phase's packages is not there as pinned, and what they need newer."""
    if wanted.packages is None:
        return {}
    pins = wanted.packages.names
    own = {name: version for name, version in pins.items() if not _is(known.get(name), version)}
    offered = depends.offers(wanted.packages.set)
    newer = {
        name: offered[name].version
        for name in sorted(needs(wanted) - pins.keys())
        if name in known and known[name].there and known[name].version != offered[name].version
    }
    return own | {
        name: version
        for name, version in newer.items()
        if dpkg.older(machine, known[name].version, version)
    }


def _pins(wanted: Configuration) -> Mapping[str, str]:
    return {} if wanted.packages is None else wanted.packages.names


def _sets(wanted: Iterable[Configuration]) -> Collection[Path]:
    return {each.packages.set for each in wanted if each.packages is not None}


def _note(
    machine: Machine,
    wanted: Sequence[Configuration],
    found: Simulation,
    known: Mapping[str, Package],
) -> None:
    """Note before it is done whose the new packages are; what never came is forgotten."""
    before = records.noted(machine, records.PACKAGES)
    there = {n: whose for n, whose in before.items() if n in known and known[n].there}
    owner = {name: each.phase for each in reversed(wanted) for name in _pins(each)}
    fresh = {name: owner.get(name, wanted[0].phase) for name in found.new}
    records.note(machine, records.PACKAGES, there | fresh)


def _coming(machine: Machine, wanted: Sequence[Configuration]) -> list[str]:
    """Return the units of phases that must not start: neither enabled yet, nor up, nor our own.

    A script takes a package that it finds half there for a new one, and enables its units again.
    """
    own = {str(file.path) for each in wanted for file in each.files}
    names = [unit.name for each in wanted for unit in each.units]
    known = units.show(machine, names)
    return [
        name
        for name in dict.fromkeys(names)
        if not units.is_enabled(machine, name, known[name])
        and not units.is_up(known[name].get("ActiveState", ""))
        and f"{units.SYSTEM}/{name}" not in own
    ]


def _is(found: Package | None, version: str) -> bool:
    return found is not None and found.whole and found.version == version


def _now(found: Package | None) -> str:
    return "absent" if found is None or not found.there else str(found)
