"""The phases of a cluster as commands see them: which are meant, and on which heads.

What is done with them is for `deploy.phases`; how it looks for `sealift.phase_view`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deploy.host import Host
    from deploy.phases.muster import Company
    from deploy.phases.phase import Finding
    from deploy.phases.selection import Selection
    from deploy.phases.survey import Ground
    from deploy.phases.wish import Wish
    from deploy.release import Release
    from sealift.site import Site

    Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class Meant:
    """What an operator means: a release, phases of it, and the heads that may be changed."""

    release: Release
    phases: Selection
    heads: tuple[Host, ...]


def numbers(release: Release) -> dict[str, int]:
    """Return the numbers of the phases that a release brings, by name."""
    return {name: each.number for name, each in release.phases.items()}


def meant(
    site: Site,
    release: Release,
    host: str | None,
    phases: str,
    *,
    begin: str | None = None,
    skip: Sequence[str] = (),
) -> Meant:
    """Return what an operator means.

    Raises:
        NoPhasesError: the release brings none.
        NoSuchPhaseError: it brings not this one.
        InputError: no heads are named, or this machine.
    """
    from deploy.phases.selection import select
    from sealift import fleet

    found = select(phases, numbers(release), begin=begin, skip=skip)
    heads = fleet.chosen(site, host)
    if heads is None:
        reason = "phases are for heads that are reached by SSH"
        raise InputError(reason, got="this machine", hint="--host head[1-3]")
    return Meant(release, found, heads)


def wish(site: Site, what: Meant, *, whole: bool = False, **wanted: Any) -> Wish:  # noqa: ANN401
    """Return what is wanted of the heads; `wanted` are fields of `deploy.phases.wish.Wish`.

    With `whole` all phases of the release are looked at, whether they were asked for or not.

    Raises:
        InputError: none of the heads is in any of the phases.
        BadReleaseError: what the release wants of a host cannot be used.
    """
    from deploy.phases.wish import Wish, configurations
    from sealift import fleet
    from sealift.keyring import sealed_names

    release, names = what.release, [head.name for head in what.heads]
    every = configurations(release, tuple(release.phases) if whole else what.phases.names)
    hosts = dict.fromkeys(name for phase in what.phases.names for name in every[phase])
    heads = tuple(name for name in hosts if name in names)
    if not heads:
        raise _stranger(what, hosts)
    wants = {
        name: frozenset(s for of in every.values() if name in of for s in of[name].secrets)
        for name in hosts
    }
    return Wish(
        store=site.store,
        release=release,
        phases=what.phases.names,
        heads=heads,
        by=fleet.operator(),
        configurations=every,
        secrets=sealed_names(site.settings, wants),
        parallel=site.settings.parallel,
        **{name: value for name, value in wanted.items() if value is not None},
    )


@contextmanager
def ground(site: Site, wanted: Wish, action: str, tell: Tell) -> Iterator[tuple[Ground, Company]]:
    """Give what work on phases stands on: every host of theirs, reached, with a session.

    Raises:
        PhasesRefusedError: a host cannot be reached, or takes nothing.
        PhasesStoppedError: the operator wanted no more of it.
    """
    from deploy.inventory import load
    from deploy.phases import ending
    from deploy.phases.muster import ROOT, mustered
    from deploy.phases.survey import Ground
    from deploy.stopping import listening
    from deploy.team import StoppedError, TeamError
    from sealift import fleet

    inventory = load(site.settings)
    hosts = [inventory.host(name) for name in wanted.hosts]
    next_ = ending.command(action, wanted.phases, wanted)
    with (
        listening() as stopping,
        fleet.reaching(site.settings, hosts, root=ROOT) as heads,
    ):
        try:
            with mustered(heads, wanted, stopping, tell) as company:
                _check(action, company)
                missing = tuple(each.head for each in company.absent)
                yield (
                    Ground(company.members, missing, wanted, tell=tell, stopping=stopping),
                    company,
                )
        except TeamError as error:
            raise _unreached(action, error.failures, next_) from error
        except StoppedError as error:
            raise ending.stopped(action, {}, {}, next_=next_) from error


def notes(company: Company) -> tuple[Finding, ...]:
    """Return what a plan should tell of the heads, whatever the phase."""
    from deploy.phases.phase import Finding, Kind

    return tuple(
        Finding(each.head, f"missing: {each.reason}", Kind.NOTE, hint=each.hint)
        for each in company.absent
    )


def _check(action: str, company: Company) -> None:
    """Refuse heads that take nothing.

    Raises:
        PhasesRefusedError: one is among them.
    """
    from deploy.phases import ending
    from deploy.phases.phase import Finding, Kind

    found = [
        Finding(
            head, row.refusal.reason, Kind.REFUSAL, slug=row.refusal.slug, hint=row.refusal.hint
        )
        for head, rows in company.rows.items()
        for row in rows
        if row.refusal is not None
    ]
    if found:
        raise ending.refused(action, found)


def _unreached(action: str, failures: Mapping[str, BaseException], next_: str) -> BaseException:
    from deploy.phases import ending
    from deploy.team import HaltedError

    own = {name: each for name, each in failures.items() if not isinstance(each, HaltedError)}
    bug = next((each for each in own.values() if not isinstance(each, Error)), None)
    return bug or ending.unreached(action, own or failures, next_)


def _stranger(what: Meant, hosts: Mapping[str, None]) -> InputError:
    from deploy.node_sets import fold

    phases = ", ".join(what.phases.names)
    return InputError(
        f"none of these heads is in {phases or 'a phase that was asked for'}",
        got=fold(head.name for head in what.heads),
        expected=fold(hosts) if hosts else None,
        hint=f"--host {fold(hosts)}" if hosts else "sealift phase list",
    )
