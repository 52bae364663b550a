"""Work on phases as commands do it: the heads brought together, the plan shown, agreed to, done."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from sealift import cluster, phase_view
from sealift.asking import agreed, check_somebody
from sealift.shown import say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from deploy.phases.plan import Plan
    from deploy.phases.run import Done
    from deploy.phases.wish import Wish
    from deploy.release import Release
    from sealift.phase_view import Drawing
    from sealift.site import Site


def unused(numbers: Sequence[int], *, as_json: bool) -> None:
    """Say that numbers stand for nothing."""
    for number in numbers:
        if as_json:
            click.echo(json.dumps({"event": "unused", "number": number}))
        else:
            say(f"phase {number} is there, and unused: there is nothing to do for it", err=True)


def plan(site: Site, wish: Wish, *, diff: bool, as_json: bool) -> Plan:
    """Show what a run would do; changes nothing but what lies in the heads' stores.

    Raises:
        PhasesRefusedError: a head cannot be reached, or takes nothing.
    """
    from deploy.phases.survey import survey

    with _drawing(wish, as_json=as_json) as view:
        with cluster.ground(site, wish, "plan", view.tell) as (ground, company):
            found, _ = survey(ground, cluster.notes(company))
        view.pause()
    show(found, diff=diff, as_json=as_json)
    return found


def run(site: Site, wish: Wish, *, yes: bool, diff: bool, as_json: bool) -> Done:
    """Carry phases out, and say what was done.

    Raises:
        FleetError: it did not come to its end; says what each phase has reached on each head.
        InputError: nobody is there to be asked.
    """
    from deploy.phases.run import Run

    if not yes:
        check_somebody()
    began = time.monotonic()
    with _drawing(wish, as_json=as_json) as view:
        with cluster.ground(site, wish, "run", view.tell) as (ground, company):
            showing = _showing(view, diff=diff, as_json=as_json)
            agree = _asking(view, "Run", wish, yes=yes)
            done = Run(ground, showing, agree, cluster.notes(company)).go()
        view.pause()
    _tell_done(done, time.monotonic() - began, as_json=as_json)
    return done


def beside(
    site: Site,
    release: Release,
    host: str | None,
    phases: str,
    *,
    yes: bool,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - fields of a wish
) -> Callable[[], None]:
    """Return what carries phases out beside a rollout of services; what is meant is read now.

    Raises:
        Error: as `sealift.cluster.meant` and `sealift.cluster.wish`.
    """
    what = cluster.meant(site, release, host, phases)
    unused(what.phases.unused, as_json=as_json)
    if not what.phases.names:
        return lambda: None
    wish = cluster.wish(site, what, **wanted)

    def carry_out() -> None:
        run(site, wish, yes=yes, diff=False, as_json=as_json)

    return carry_out


def verify(site: Site, wish: Wish, *, as_json: bool) -> None:
    """Try whether phases work, and say what was tried.

    Raises:
        PhasesUnwellError: one does not.
    """
    from deploy.phases.trial import trial

    began = time.monotonic()
    with _drawing(wish, as_json=as_json) as view:
        with cluster.ground(site, wish, "verify", view.tell) as (ground, _):
            found = trial(ground)
        view.pause()
    seconds = time.monotonic() - began
    if as_json:
        tried = {phase: list(each) for phase, each in found.tried.items()}
        click.echo(json.dumps({"event": "done", "tried": tried, "seconds": round(seconds, 3)}))
        return
    for phase, each in found.tried.items():
        say(f"{phase:<{phase_view.WIDTH}} well")
        for text in each:
            say(f"    {text}")


def undo(site: Site, wish: Wish, destroy: Collection[str], *, yes: bool, as_json: bool) -> None:
    """Take phases back, and say what was done.

    Raises:
        FleetError: it did not come to its end; says what each phase has reached on each head.
        InputError: nobody is there to be asked, or nothing of a name is to be destroyed.
    """
    from deploy.phases.undo import Undo

    if not yes:
        check_somebody()
    began = time.monotonic()
    with _drawing(wish, as_json=as_json) as view:
        with cluster.ground(site, wish, "undo", view.tell) as (ground, company):
            showing = _showing(view, diff=False, as_json=as_json)
            agree = _asking(view, "Undo", wish, yes=yes)
            done = Undo(ground, destroy, showing, agree, cluster.notes(company)).go()
        view.pause()
    seconds = time.monotonic() - began
    if as_json:
        facts = {"event": "done", "undone": list(done.phases), "seconds": round(seconds, 3)}
        click.echo(json.dumps(facts))
    else:
        say(f"undone: {', '.join(done.phases) or 'nothing, as nothing was laid'}", err=True)


def undo_plan(site: Site, wish: Wish, destroy: Collection[str], *, as_json: bool) -> Plan:
    """Show what an undo would take back; changes nothing but what lies in the heads' stores.

    Raises:
        PhasesRefusedError: a head cannot be reached, or takes nothing.
        InputError: nothing of a name is to be destroyed.
    """
    from deploy.phases.undo import Undo

    with _drawing(wish, as_json=as_json) as view:
        with cluster.ground(site, wish, "undo", view.tell) as (ground, company):
            undoing = Undo(ground, destroy, lambda _: None, lambda: False, cluster.notes(company))
            found = undoing.look()
        view.pause()
    show(found, diff=False, as_json=as_json)
    return found


def show(found: Plan, *, diff: bool, as_json: bool, err: bool = False) -> None:
    """Print a plan."""
    if as_json:
        click.echo(json.dumps(phase_view.record(found, diff=diff)))
        return
    for line in phase_view.lines(found, diff=diff):
        click.echo(line, err=err)


def _drawing(wish: Wish, *, as_json: bool) -> Drawing:
    return phase_view.drawing(wish.phases, wish.heads, as_json=as_json)


def _showing(view: Drawing, *, diff: bool, as_json: bool) -> Callable[[Plan], None]:
    def showing(found: Plan) -> None:
        view.pause()
        show(found, diff=diff, as_json=as_json, err=True)

    return showing


def _asking(view: Drawing, verb: str, wish: Wish, *, yes: bool) -> Callable[[], bool]:
    """Return what asks the operator; who ends the input does not agree."""
    from deploy.node_sets import fold

    question = f"{verb} {', '.join(wish.phases)} on {fold(wish.heads)}?"

    def agree() -> bool:
        view.pause()
        try:
            return agreed(question, yes=yes)
        except click.Abort:
            return False

    return agree


def _tell_done(done: Done, seconds: float, *, as_json: bool) -> None:
    facts: dict[str, Any] = phase_view.ended_record(done, seconds)
    if as_json:
        click.echo(json.dumps(facts))
        return
    for line in phase_view.ended(done, seconds):
        say(line, err=True)
