"""Plans: order, closure, and the errors of plans that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.derive import SCRIPTS, derive, script_digest, script_files
from builders.kinds import BUILDERS, LOCKERS, PLANNERS
from builders.plan import PlanError, arrange, fetches, plan
from builders.project import Project
from builders.recipe import Kind, Recipe
from builders.settings import load_settings
from builders.step import Download, Step
from store.errors import InputError
from store.names import store_name

if TYPE_CHECKING:
    from builders.step import SourceTree


def step(key: str, *inputs: str, **fields: str) -> Step:
    return Step(key, store_name(key), key, "text", inputs={name: name for name in inputs}, **fields)  # type: ignore[arg-type]


def fetch(key: str, *urls: str) -> Step:
    return Step(key, "file", "r", "fetch", download=Download(urls, "sha256-x"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "sealift.yaml").write_text("{}\n")
    return Project(load_settings(tmp_path), {name: recipe(name) for name in "abcd"})


def recipe(name: str) -> Recipe:
    return Recipe(name, Kind.ENV, Path(f"{name}.yaml"))


NEEDS = {"a": ("b", "c"), "b": ("c",), "c": (), "d": ()}


def planner(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    del source, project
    part = step(f"{recipe.name}:part", "shared")
    final = step(recipe.name, part.key, *NEEDS[recipe.name])
    return (step("unused"), replace(step("shared"), recipe=recipe.name), part, final)


class TestPlan:
    def test_only_what_is_needed_and_inputs_first(self, project: Project) -> None:
        asked: list[str] = []

        def sources(recipe: Recipe) -> None:
            asked.append(recipe.name)

        made = plan(project, sources, ["b"], planners={Kind.ENV: planner})
        assert set(made.order) == {"b", "c", "b:part", "c:part", "shared"}
        assert sorted(asked) == ["b", "c"]
        assert made.targets == ("b",)
        for place, key in enumerate(made.order):
            assert set(made.steps[key].inputs.values()) <= set(made.order[:place])

    def test_all_is_the_default(self, project: Project) -> None:
        made = plan(project, lambda _: None, planners={Kind.ENV: planner})
        assert made.targets == ("a", "b", "c", "d")

    def test_an_unknown_name_gets_the_nearest(self, project: Project) -> None:
        recipes = {"backend_5010": recipe("backend_5010")}
        with pytest.raises(PlanError) as caught:
            plan(Project(project.settings, recipes), lambda _: None, ["backend_5001"])
        assert caught.value.hint == "did you mean 'backend_5010'?"

    def test_one_key_with_two_meanings(self, project: Project) -> None:
        def differ(recipe: Recipe, _: SourceTree | None, __: Project) -> tuple[Step, ...]:
            shared = Step("shared", recipe.name, recipe.name, "text")
            return (shared, step(recipe.name, "shared"))

        with pytest.raises(PlanError, match="mean different things by 'shared'"):
            plan(project, lambda _: None, planners={Kind.ENV: differ})

    def test_who_asked_and_where_bytes_are_does_not_count(self, project: Project) -> None:
        def agree(recipe: Recipe, _: SourceTree | None, __: Project) -> tuple[Step, ...]:
            shared = replace(fetch("shared", f"http://{recipe.name}/"), recipe=recipe.name)
            return (shared, step(recipe.name, "shared"))

        made = plan(project, lambda _: None, planners={Kind.ENV: agree})
        assert len(made.order) == 5

    @pytest.mark.parametrize("asked", [(), ("a", "d")])
    def test_what_cannot_be_planned_keeps_only_what_needs_it(
        self, project: Project, asked: tuple[str, ...]
    ) -> None:
        stale = InputError("the lock of b is stale")

        def sources(recipe: Recipe) -> None:
            if recipe.name == "b":
                raise stale

        with pytest.raises(InputError, match="stale"):
            plan(project, sources, asked, planners={Kind.ENV: planner})
        made = plan(project, sources, asked, keep_going=True, planners={Kind.ENV: planner})
        assert made.failed == {"b": stale}
        assert made.blocked == {"a": "b"}
        assert set(made.order) == {"c", "d", "c:part", "d:part", "a:part", "shared"}

    def test_two_meanings_fail_only_the_second(self, project: Project) -> None:
        def differ(recipe: Recipe, _: SourceTree | None, __: Project) -> tuple[Step, ...]:
            shared = Step("shared", recipe.name if recipe.name in "ab" else "same", "", "text")
            return (shared, step(recipe.name, "shared"))

        made = plan(project, lambda _: None, keep_going=True, planners={Kind.ENV: differ})
        assert set(made.failed) == {"a", "b"}
        assert set(made.order) == {"shared", "c", "d"}


class TestArrange:
    def test_a_missing_input_is_named_with_its_user(self) -> None:
        with pytest.raises(PlanError, match="nothing makes 'b'") as caught:
            arrange([step("a", "b")], ["a"])
        assert caught.value.where == "a"

    def test_a_cycle_is_spelled_out(self) -> None:
        with pytest.raises(PlanError) as caught:
            arrange([step("a", "b"), step("b", "c"), step("c", "a"), step("d", "a")], ["d"])
        reason = caught.value.reason
        assert " → " in reason
        assert all(name in reason for name in "abc")
        assert "d" not in reason.partition(":")[2]

    def test_a_name_that_no_store_path_can_have(self) -> None:
        with pytest.raises(InputError, match="a/b"):
            arrange([Step("a", "a/b", "a", "text")], ["a"])

    def test_fetches_alone(self) -> None:
        made = arrange([fetch("f"), step("a", "f"), step("b", "a")], ["b"])
        assert fetches(made).order == ("f",)
        assert fetches(made).targets == ("f",)

    def test_users(self) -> None:
        made = arrange([step("a"), step("b", "a"), step("c", "a", "b")], ["c"])
        assert made.users() == {"a": ["b", "c"], "b": ["c"], "c": []}

    @given(st.integers(1, 30).flatmap(lambda n: st.lists(st.sets(st.integers(0, n)), max_size=n)))
    def test_any_acyclic_graph_is_put_in_order(self, needs: list[set[int]]) -> None:
        steps = [
            step(str(number), *(str(each) for each in sorted(needed) if each < number))
            for number, needed in enumerate([set(), *needs])
        ]
        made = arrange(steps, [steps[-1].key])
        for place, key in enumerate(made.order):
            assert set(made.steps[key].inputs.values()) <= set(made.order[:place])
        assert made.order[-1] == steps[-1].key


class TestDerive:
    def test_each_part_decides(self) -> None:
        base = step("a", "b")
        digests = {
            derive(base, {"b": "/s/1"}).digest,
            derive(base, {"b": "/s/2"}).digest,
            derive(replace(base, name="other"), {"b": "/s/1"}).digest,
            derive(replace(base, builder="other"), {"b": "/s/1"}).digest,
            derive(replace(base, version=2), {"b": "/s/1"}).digest,
            derive(replace(base, arguments={"x": 1}), {"b": "/s/1"}).digest,
            derive(replace(base, script="pex.py"), {"b": "/s/1"}).digest,
            derive(replace(base, script="wheel.py"), {"b": "/s/1"}).digest,
            derive(replace(base, runtime=("b",)), {"b": "/s/1"}).digest,
            derive(base, {"b": "/s/1"}, "vax-vms").digest,
        }
        assert len(digests) == 10

    def test_who_asks_and_where_bytes_are_does_not(self) -> None:
        assert derive(replace(step("a"), recipe="x"), {}) == derive(step("a"), {})
        assert derive(fetch("f", "http://one/"), {}) == derive(fetch("f"), {})

    def test_a_script_counts_with_what_it_imports(self) -> None:
        names = [file.name for file in script_files("pex.py")]
        assert names[0] == "pex.py"
        assert {"service.py", "imports.py"} <= set(names)
        assert len({script_digest(file.name) for file in SCRIPTS.glob("*.py")}) > 5

    def test_arguments_must_be_json(self) -> None:
        bad = Step("a", "a", "a", "text", arguments={"x": Path("/")})
        with pytest.raises(InputError, match="not JSON"):
            _ = derive(bad, {}).digest


@pytest.mark.parametrize("table", [BUILDERS, PLANNERS, LOCKERS])
def test_every_row_of_the_kinds_leads_to_a_function(table: dict[object, object]) -> None:
    assert len(table) > 3
    for row, function in table.items():
        assert callable(function), row
