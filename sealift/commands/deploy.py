"""`sealift plan`, `sealift deploy` and `sealift rollback`: change what heads run."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from sealift import options
from sealift.asking import agreed, check_somebody
from sealift.options import as_json, host, yes
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.activate import Outcome
    from deploy.events import Event
    from deploy.head import Head
    from deploy.host import Host
    from deploy.planning import Plan
    from deploy.release import Release
    from deploy.rolling import Outcome as Rolled
    from sealift.site import Location, Site

release_option = click.option(
    "--release", metavar="NAME|PATH", help="Another than the newest that was built."
)


@click.command()
@host
@release_option
@options.canary
@options.batch
@options.deadline
@options.allow_missing
@as_json
@click.pass_obj
def plan(
    location: Location,
    /,
    host: str | None,
    *,
    release: str | None,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - what the options give
) -> int:
    """Show what a deploy would do: checks, bytes, restarts and why, refusals. Changes nothing.

    Exits with 6 if a head cannot take the release.
    """
    from sealift import fleet

    with location.open() as site:
        hosts = fleet.chosen(site, host)
        if hosts is None:
            raise InputError("there is nothing to plan on this machine", hint="sealift deploy")
        meant = fleet.release(site, release)
        _warn(site, meant, release)
        wish = fleet.wish(site, hosts, meant, wanted)
        with fleet.reaching(site.settings, hosts) as heads:
            found = fleet.plan(heads, wish)
    _show(found, as_json=as_json)
    return REFUSED if found.refused else 0


@click.command()
@host
@release_option
@options.canary
@options.batch
@options.deadline
@options.allow_missing
@options.phases
@yes
@as_json
@click.pass_obj
def deploy(
    location: Location,
    /,
    host: str | None,
    *,
    release: str | None,
    phases: str | None,
    yes: bool,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - what the options give
) -> None:
    """Put the built release on heads: prepare, switch, restart what changed, check, confirm.

    On several heads everything that can fail is done everywhere before one of them switches. If
    one fails, all go back. Exits with 6 if nothing was touched, 5 if all went back, 4 if heads
    differ. With --phases those are carried out before any service is touched; they do not go back.
    """
    from deploy.activate import deploy as put
    from sealift import fleet
    from sealift import phases as work

    with location.open() as site:
        hosts = fleet.chosen(site, host)
        if hosts is not None:
            found = fleet.release(site, release)
            _warn(site, found, release)
            between = None
            if phases is not None:
                missing = {"allow_missing": wanted["allow_missing"]}
                between = work.beside(
                    site, found, host, phases, yes=yes, as_json=as_json, **missing
                )
            _roll(site, hosts, found, wanted, yes=yes, as_json=as_json, between=between)
            return
        _check_alone(wanted | {"phases": phases})
        head = site.head(host)
        path = site.store.real(site.path(release or site.release()))
        _ask(f"Deploy {path.name} to {head.name}?", yes=yes)
        outcome = put(head, path, observe=telling(as_json=as_json))
        _tell(outcome, head, as_json=as_json)


@click.command()
@host
@click.option("--to", type=click.IntRange(min=1), metavar="N", help="A generation; see history.")
@options.canary
@options.batch
@options.deadline
@options.allow_missing
@options.phases
@yes
@as_json
@click.pass_obj
def rollback(
    location: Location,
    /,
    host: str | None,
    *,
    to: int | None,
    phases: str | None,
    yes: bool,
    as_json: bool,
    **wanted: Any,  # noqa: ANN401 - what the options give
) -> None:
    """Run the generation before the current one again, or the one that --to names.

    Several heads go back together or not at all, as with deploy. With --phases those of the earlier
    release are carried out after its services run.
    """
    from deploy.activate import rollback as back
    from sealift import fleet

    with location.open() as site:
        hosts = fleet.chosen(site, host)
        if hosts is not None:
            meant = {"to": to, **wanted}
            after = _phases_before(site, hosts, host, phases, meant, yes=yes, as_json=as_json)
            _roll(site, hosts, None, meant, yes=yes, as_json=as_json)
            after()
            return
        _check_alone(wanted | {"phases": phases})
        head = site.head(host)
        _ask(f"Roll {head.name} back?", yes=yes)
        outcome = back(head, to, observe=telling(as_json=as_json))
        _tell(outcome, head, as_json=as_json)


REFUSED = 6


def telling(*, as_json: bool) -> Callable[[Event], None]:
    """Return an observer that shows what a head does."""

    def tell(event: Event) -> None:
        if as_json:
            record = {"event": event.what.value, "name": event.name, "detail": event.detail}
            click.echo(json.dumps(record))
        else:
            say(f"{event.what.value:<10} {event.name:<26} {event.detail}", err=True)

    return tell


def telling_of(*, as_json: bool) -> Callable[[str, Event], None]:
    """Return an observer that shows what each of several heads does."""

    def tell(head: str, event: Event) -> None:
        if as_json:
            record = {"event": event.what.value, "name": event.name, "detail": event.detail}
            click.echo(json.dumps({"head": head or None, **record}))
            return
        if _is_noise(event):
            return
        about = "" if event.name == head else event.name
        line = f"{head or 'all':<10} {event.what.value:<10} {about:<26} {event.detail}"
        say(line, err=True)

    return tell


def _warn(site: Site, meant: Release, named: str | None) -> None:
    """Say what was built after the newest release, which is taken where none is named."""
    from sealift import fleet

    newer = fleet.behind(site, meant) if named is None else ()
    if newer:
        hint = f"to take them along: sealift build {site.release()}"
        say(f"newer than the release: {', '.join(newer)}; {hint}", err=True)


def _is_noise(event: Event) -> bool:
    """Tell whether people learn nothing from it: amounts on the way where no line is redrawn."""
    from deploy.events import What

    if event.what is What.SENDING:
        return not sys.stderr.isatty()
    return event.what is What.PUSHED and not event.detail


def _roll(
    site: Site,
    hosts: Sequence[Host],
    release: Release | None,
    wanted: dict[str, Any],
    *,
    yes: bool,
    as_json: bool,
    between: Callable[[], None] | None = None,
) -> None:
    """Change several heads, or one that is another machine."""
    from deploy.errors import FleetRefusedError
    from deploy.node_sets import fold
    from sealift import fleet

    if not yes:
        check_somebody()
    wish = fleet.wish(site, hosts, release, wanted)
    question = f"{'Roll back' if release is None else 'Deploy to'} {fold(h.name for h in hosts)}?"

    def show(plan: Plan) -> None:
        _show(plan, as_json=as_json, err=True)

    answers: list[bool] = []

    def agree() -> bool:
        answers.append(_agreed(question, yes=yes))
        return answers[-1]

    with fleet.reaching(site.settings, hosts) as heads:
        try:
            outcome = fleet.roll(
                heads,
                wish,
                show=show,
                agree=agree,
                tell=telling_of(as_json=as_json),
                between=between,
            )
        except FleetRefusedError as error:
            if answers == [False]:
                raise click.Abort from error
            raise
        urls = {head.name: head.url for head in heads}
    _rolled(outcome, urls, as_json=as_json)


def _phases_before(
    site: Site,
    hosts: Sequence[Host],
    host: str | None,
    phases: str | None,
    wanted: dict[str, Any],
    *,
    yes: bool,
    as_json: bool,
) -> Callable[[], None]:
    """Return what carries out the phases of the release that heads go back to.

    Raises:
        InputError: that release is not on this machine any more.
    """
    from sealift import fleet
    from sealift import phases as work

    if phases is None:
        return lambda: None
    with fleet.reaching(site.settings, hosts) as heads:
        found = fleet.plan(heads, fleet.wish(site, hosts, None, wanted))
    targets = {str(each.target.path) for each in found.heads if each.target is not None}
    if not targets:
        return lambda: None
    if len(targets) > 1:
        reason = "which release's phases are meant is not plain: heads go back to different ones"
        raise InputError(reason, got=", ".join(sorted(targets)), hint="sealift phase run --release")
    release = fleet.release(site, targets.pop())
    missing = {"allow_missing": wanted["allow_missing"]}
    return work.beside(site, release, host, phases, yes=yes, as_json=as_json, **missing)


def _show(plan: Plan, *, as_json: bool, err: bool = False) -> None:
    from sealift import plan_view

    if as_json:
        click.echo(json.dumps(plan_view.record(plan)))
        return
    for line in plan_view.lines(plan):
        say(line, err=err)


def _rolled(outcome: Rolled, urls: dict[str, str], *, as_json: bool) -> None:
    """Say what each head did; where they did the same, once."""
    from sealift.fold import fold

    pages = {
        each.head: [f"{step.service} (pages)" for step in each.steps if step.action == "show"]
        for each in outcome.plan.heads
    }
    done = {name: _touched(each.changes, pages[name]) for name, each in outcome.healthy.items()}
    if as_json:
        heads = {
            name: {
                "generation": each.generation,
                "started": each.changes.started,
                "restarted": each.changes.restarted,
                "stopped": each.changes.stopped,
                "reloaded": each.changes.reloaded,
                "seconds": round(each.seconds, 3),
                "url": urls[name] or None,
            }
            for name, each in outcome.healthy.items()
        }
        missing = [each.head for each in outcome.plan.absent]
        record = {"event": "done", "heads": heads, "missing": missing}
        click.echo(json.dumps(record | {"seconds": round(outcome.seconds, 3)}))
        return
    numbers = {name: f"generation {each.generation}" for name, each in outcome.healthy.items()}
    for names, (number, what) in fold({n: (numbers[n], done[n]) for n in done}):
        say(f"{names}: {number}: {what}", err=True)
    for absent in outcome.plan.absent:
        hint = f"sealift deploy --host {absent.head}"
        click.echo(f"{absent.head}: missing, and behind until {hint}", err=True)
    click.echo(f"done in {outcome.seconds:.1f} s", err=True)
    for name, url in urls.items():
        if name in done and url:
            say(url)


def _touched(changes: Any, pages: Sequence[str] = ()) -> str:  # noqa: ANN401 - deploy.services.Changes, loaded late
    touched = (*changes.started, *changes.restarted, *changes.stopped)
    reloaded = tuple(f"{name} (reloaded)" for name in changes.reloaded)
    return ", ".join((*touched, *reloaded, *pages)) or "nothing had to be restarted"


def _agreed(question: str, *, yes: bool) -> bool:
    """Ask; who ends the input does not agree."""
    try:
        return agreed(question, yes=yes)
    except click.Abort:
        return False


def _check_alone(wanted: dict[str, Any]) -> None:
    """Refuse what is said of other heads where there is just this machine.

    Raises:
        InputError: it was said.
    """
    for name, value in wanted.items():
        if value not in (None, False):
            option = f"--{name.replace('_', '-')}"
            reason = f"{option} is for heads that are reached by SSH, and this is one machine"
            raise InputError(reason, hint=f"without {option}")


def _ask(question: str, *, yes: bool) -> None:
    if not _agreed(question, yes=yes):
        raise click.Abort


def _tell(outcome: Outcome, head: Head, *, as_json: bool) -> None:
    changes = outcome.changes
    if as_json:
        record = {
            "event": "done",
            "generation": outcome.generation,
            "before": outcome.before,
            "started": changes.started,
            "restarted": changes.restarted,
            "stopped": changes.stopped,
            "reloaded": changes.reloaded,
            "seconds": round(outcome.seconds, 3),
            "url": head.url,
        }
        click.echo(json.dumps(record))
        return
    what = _touched(changes)
    click.echo(f"generation {outcome.generation} in {outcome.seconds:.1f} s: {what}", err=True)
    say(head.url)
