"""What has to be there before what: the steps of the asked recipes and of all they need.

Pure but for the planners, which read locks. Resolving inputs to paths is for
`builders.resolve`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from builders.contents import BILL, bill
from builders.derive import FETCH
from builders.kinds import PLANNERS
from builders.phases import idle
from store.errors import Error, InputError
from store.names import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

    from builders.kinds import Planner
    from builders.project import Project
    from builders.recipe import Kind, Recipe
    from builders.step import SourceTree, Step

    Inventory = Callable[[Recipe, Sequence[Step], Project], tuple[Step, ...]]
    Sources = Callable[[Recipe], SourceTree | None]


class PlanError(InputError):
    """Steps that cannot be put in order."""

    slug = "bad-plan"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps by key, closed under their inputs, in an order in which inputs come first.

    `targets` are the keys that were asked for. What could not be planned is left out, and with
    it all that needs it: `failed` says why, `blocked` names for each key the failed one.
    """

    steps: Mapping[str, Step]
    order: tuple[str, ...]
    targets: tuple[str, ...]
    failed: Mapping[str, Error] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)

    def users(self) -> dict[str, list[str]]:
        """Give for each key the keys of the steps that have it as an input."""
        users: dict[str, list[str]] = {key: [] for key in self.order}
        for key in self.order:
            for needed in dict.fromkeys(self.steps[key].inputs.values()):
                users[needed].append(key)
        return users


def plan(
    project: Project,
    sources: Sources,
    names: Collection[str] = (),
    *,
    keep_going: bool = False,
    planners: Mapping[Kind, Planner] = PLANNERS,
    inventory: Inventory | None = None,
) -> Plan:
    """Plan the named recipes, or all that the site can have if none is named.

    Phases without a cluster that has them, and what only they would want, are then left out.

    `sources` gives a recipe's source tree; it is asked only for recipes that take part. With
    `keep_going` a recipe that cannot be planned, as when its lock is stale, does not keep those
    that do not need it. With `inventory`, which is `builders.contents.plan`, each recipe also
    makes its bill of materials.

    Raises:
        PlanError: an unknown name, an input that nothing makes, or a cycle.
        Error: why a recipe cannot be planned; not with `keep_going`.
    """
    targets = tuple(dict.fromkeys(names)) or _all(project)
    steps: dict[str, Step] = {}
    waiting = [_recipe(name, project) for name in targets]
    planned: set[str] = set()
    failed: dict[str, Error] = {}
    while waiting:
        recipe = waiting.pop()
        if recipe.name in planned:
            continue
        planned.add(recipe.name)
        try:
            added = planners[recipe.kind](recipe, sources(recipe), project)
            if inventory is not None:
                added = inventory(recipe, added, project)
            _merge(steps, added)
        except Error as error:
            if not keep_going:
                raise
            failed[recipe.name] = error
        else:
            waiting += _needed(added, steps, project)
    made = (bill(name) for name in targets if name not in failed and bill(name) in steps)
    asked = (*targets, *made)
    return _arrange_rest(steps, asked, failed) if failed else arrange(steps.values(), asked)


def fetches(plan: Plan) -> Plan:
    """Keep of a plan only what comes from the network."""
    order = tuple(key for key in plan.order if plan.steps[key].builder == FETCH)
    return replace(plan, steps={key: plan.steps[key] for key in order}, order=order, targets=order)


def arrange(steps: Iterable[Step], targets: Collection[str]) -> Plan:
    """Put steps in order and leave out what no target needs.

    Raises:
        PlanError: an input that nothing makes, or a cycle.
        InputError: a name that no store path can have.
    """
    known = {step.key: step for step in steps}
    for step in known.values():
        check_name(step.name)
    graph = {key: tuple(known[key].inputs.values()) for key in _reach(known, targets)}
    try:
        order = tuple(TopologicalSorter(graph).static_order())
    except CycleError as fault:
        circle = " → ".join(reversed(fault.args[1]))
        raise PlanError(f"steps need each other in a circle: {circle}") from fault
    return Plan({key: known[key] for key in order}, order, tuple(targets))


def _arrange_rest(
    steps: Mapping[str, Step], targets: Collection[str], failed: Mapping[str, Error]
) -> Plan:
    """Arrange what does not need a failed recipe; it is all asked for, whoever needed it."""
    gone = {key: name for name in failed for key in (name, bill(name))}
    causes = dict(gone)
    users: dict[str, list[str]] = {}
    for step in steps.values():
        for key in step.inputs.values():
            users.setdefault(key, []).append(step.key)
    waiting = [*gone]
    while waiting:
        key = waiting.pop()
        for user in users.get(key, ()):
            if user not in causes:
                causes[user] = causes[key]
                waiting.append(user)
    asked = _reach(steps, [key for key in targets if key not in gone], missing=gone)
    rest = arrange(steps.values(), [key for key in asked if key not in causes])
    blocked = {key: causes[key] for key in asked if key in causes and key not in gone}
    return replace(rest, failed=failed, blocked=blocked)


def _all(project: Project) -> tuple[str, ...]:
    without = idle(project)
    return tuple(name for name in sorted(project.recipes) if name not in without)


def _recipe(name: str, project: Project) -> Recipe:
    if name in project.recipes:
        return project.recipes[name]
    near = get_close_matches(name, project.recipes, n=1)
    raise PlanError(
        f"there is no recipe {name!r}",
        where=str(project.settings.recipes_dir),
        hint=f"did you mean {near[0]!r}?" if near else "sealift list",
    )


def _merge(steps: dict[str, Step], added: Iterable[Step]) -> None:
    for step in added:
        known = steps.setdefault(step.key, step)
        if known is not step and _essence(known) != _essence(step):
            raise PlanError(
                f"{known.recipe} and {step.recipe} mean different things by {step.key!r}",
                hint="pin one version in both, or lock both again",
            )


def _essence(step: Step) -> Step:
    """Leave out what does not decide the output: who asked, and where bytes are found."""
    download = step.download and replace(step.download, urls=(), size=None)
    return replace(step, recipe="", download=download)


def _needed(added: Iterable[Step], steps: Mapping[str, Step], project: Project) -> list[Recipe]:
    keys = {key for step in added for key in step.inputs.values() if key not in steps}
    names = {key.removesuffix(BILL) for key in keys}
    return [project.recipes[name] for name in sorted(names) if name in project.recipes]


def _reach(
    steps: Mapping[str, Step], targets: Iterable[str], *, missing: Container[str] = ()
) -> list[str]:
    """List the targets and all they need, as far as it is not known to be missing."""
    found: dict[str, None] = {}
    waiting = [(key, "") for key in targets]
    while waiting:
        key, user = waiting.pop()
        if key in missing:
            continue
        if key not in steps:
            raise PlanError(f"nothing makes {key!r}", where=user or None)
        if key not in found:
            found[key] = None
            waiting += [(needed, key) for needed in steps[key].inputs.values()]
    return sorted(found)
