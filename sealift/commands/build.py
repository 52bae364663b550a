"""`sealift build`: make what is missing, or say what would be made and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sealift import evaluation
from sealift.complete import targets
from sealift.options import as_json
from sealift.unchanged import NOTHING, asked, show

if TYPE_CHECKING:
    from builders.realise import Result
    from sealift.site import Location, Site
    from store.errors import Error


@click.command()
@click.argument("names", nargs=-1, metavar="all | NAME...", shell_complete=targets)
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Builds at once; one per core.")
@click.option("--keep-going", "-k", is_flag=True, help="Go on with what does not need a failure.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched and built, and why.")
@click.option("--check", is_flag=True, help="Build again and compare bit for bit.")
@click.option("--fetch-only", is_flag=True, help="Only download what is missing.")
@click.option(
    "--sandbox",
    type=click.Choice(["on", "off"]),
    help="How builds are kept apart from this machine; off must be asked for.",
)
@click.option(
    "--substitutes/--no-substitutes",
    default=True,
    help="Whether to ask the shared caches that the settings name, before anything is built.",
)
@as_json
@click.pass_obj
def build(
    location: Location,
    names: tuple[str, ...],
    *,
    jobs: int | None,
    keep_going: bool,
    dry_run: bool,
    check: bool,
    fetch_only: bool,
    sandbox: str | None,
    substitutes: bool,
    as_json: bool,
) -> int:
    """Build recipes, and all that they need, into the store."""
    wanted = _wanted(names)
    with location.open() as site:
        plain = not (dry_run or check or fetch_only)
        known = evaluation.recall(site, wanted) if plain and sandbox is None else None
        if known is not None:
            _show(known, wanted, as_json=as_json, note=NOTHING)
            return 0
        result = _realise(
            site,
            wanted,
            as_json=as_json,
            fetch_only=fetch_only,
            sandbox=sandbox or site.settings.sandbox,
            substitutes=substitutes,
            options={"jobs": jobs, "keep_going": keep_going, "check": check, "dry_run": dry_run},
        )
        if dry_run:
            _explain(result, as_json=as_json)
        elif not fetch_only:
            _root(site, result)
        if not result.ok:
            raise _failed(result)
        if not (dry_run or fetch_only):
            _keep(site, wanted, result, as_json=as_json, remember=sandbox is None)
        return 0


def _wanted(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the recipes that are asked for; none stands for all of them."""
    if not names:
        raise click.UsageError("Say what to build: `sealift build all`, or names.")
    return asked(names)


def _realise(
    site: Site,
    wanted: tuple[str, ...],
    *,
    as_json: bool,
    fetch_only: bool,
    sandbox: str,
    substitutes: bool,
    options: dict[str, Any],
) -> Result:
    from builders.plan import fetches
    from builders.realise import realise
    from builders.sandbox import SandboxMode
    from sealift.build_view import drawing
    from sealift.caches import caches

    plan = site.plan(wanted, keep_going=options["keep_going"])
    if fetch_only:
        plan = fetches(plan)
    mode = SandboxMode.OFF if sandbox == "off" else SandboxMode.BUBBLEWRAP
    with drawing(as_json=as_json) as drawn:
        return realise(
            plan,
            site.store,
            sandbox_mode=mode,
            observe=drawn.observe,
            caches=caches(site.settings) if substitutes else (),
            **options,
        )


def _root(site: Site, result: Result) -> None:
    """Root the outputs of recipes, whatever else failed, so that the collector keeps them.

    So that their bills of materials stay as long, they are roots too.
    """
    from builders.contents import BILL

    for key, path in result.outputs.items():
        if key.removesuffix(BILL) in site.recipes:
            site.store.add_root(key, path)


def _keep(
    site: Site, wanted: tuple[str, ...], result: Result, *, as_json: bool, remember: bool
) -> None:
    """Remember what was built, and show it."""
    from builders.contents import BILL

    made = {name: path for name, path in result.outputs.items() if name in site.recipes}
    shown = {n: str(site.store.real(p)) for n, p in sorted(made.items()) if n in (wanted or made)}
    if remember:
        bills = [path for key, path in result.outputs.items() if key.endswith(BILL)]
        evaluation.remember(site, wanted, shown, beside=bills)
    done = f"{len(result.built)} built, {len(result.fetched)} fetched"
    if result.taken:
        done += f", {len(result.taken)} from shared caches"
    if result.checked:
        done = f"{len(result.checked)} built again and identical"
    _show(shown, wanted, as_json=as_json, note=done)


def _show(paths: dict[str, str], wanted: tuple[str, ...], *, as_json: bool, note: str) -> None:
    if as_json:
        click.echo(json.dumps({"event": "outputs", "outputs": paths}))
    else:
        show(paths, wanted, note=note)


def _explain(result: Result, *, as_json: bool) -> None:
    """Say what would be done; to people not of bills of materials, like a build itself."""
    from builders.contents import QUIET

    shown = [each for each in result.decisions if as_json or not each.key.endswith(QUIET)]
    for decision in shown:
        if as_json:
            click.echo(json.dumps(decision.to_json()))
        else:
            click.echo(
                f"{decision.action.value:<7} {decision.title or decision.key:<44} {decision.why}"
            )
    if result.decisions and not shown:
        click.echo("only bills of materials would be written", err=True)
    if result.ok and not (as_json or result.decisions):
        click.echo(NOTHING, err=True)


def _failed(result: Result) -> Error:
    """Make one error of all failures; each was named when it happened."""
    from sealift.errors import text

    first = result.failures[0].error
    if len(result.failures) > 1:
        for failure in result.failures[1:]:
            click.echo(text(failure.error), err=True)
    return first
