"""Damaged paths are made again, what they need first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from builders.fetch import Fetcher
from builders.plan import arrange
from builders.repair import repairing
from builders.step import Step
from tests.builders.registry import serving
from tests.builders.workbench import BUILDERS, Bench, text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builders.build import Build
    from store.verify import VerifyReport


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("rubbish")


def repair(bench: Bench, steps: Sequence[Step]) -> VerifyReport:
    plan = arrange(steps, [steps[-1].key])
    fetcher = Fetcher()
    with repairing(
        plan, bench.store, builders=bench.builders, fetcher=fetcher, observe=bench.events.append
    ) as again:
        return bench.store.verify(repair=again)


def test_fetched_and_built_paths(fresh: Bench) -> None:
    with serving() as registry:
        download = registry.pin("/f", os.urandom(1000).hex().encode())
        steps = [
            Step("f", "f", "f", "fetch", download=download),
            text("a", "a", "f"),
            text("b", "b", "a"),
            text("c", "c"),
            text("end", "", "b", "c"),
        ]
        before = fresh.build(steps)
        whole = fresh.read(before, "end")
        for key in ("f", "a", "b"):
            damage(fresh.store.real(before.outputs[key]))
        fresh.store.real(before.outputs["c"]).unlink()
        report = repair(fresh, steps)
    assert set(report.repaired) == {before.outputs[key] for key in ("f", "a", "b", "c")}
    assert report.damaged == ()
    assert fresh.store.verify().damaged == ()
    assert fresh.read(before, "end") == whole
    assert not fresh.build(steps).built


def test_what_no_step_gives_stays_damaged(fresh: Bench) -> None:
    old = fresh.build([text("a", "old")])
    damage(fresh.store.real(old.outputs["a"]))
    report = repair(fresh, [text("a", "new")])
    assert [each.info.path for each in report.damaged] == [old.outputs["a"]]
    assert report.repaired == ()


def test_what_comes_out_differently_repairs_nothing(fresh: Bench) -> None:
    def chance(build: Build) -> None:
        build.out.write_text(os.urandom(8).hex())

    bench = Bench(fresh.store, {**BUILDERS, "chance": chance})
    steps = [Step("a", "a", "a", "chance")]
    path = bench.build(steps).outputs["a"]
    damage(fresh.store.real(path))
    report = repair(bench, steps)
    assert [each.info.path for each in report.damaged] == [path]
    assert bench.events[-1].detail == "it comes out differently"


def test_what_cannot_be_fetched_stays_damaged(fresh: Bench) -> None:
    with serving() as registry:
        steps = [Step("f", "f", "f", "fetch", download=registry.pin("/f", b"content"))]
        path = fresh.build(steps).outputs["f"]
        damage(fresh.store.real(path))
        registry.files.clear()
        report = repair(fresh, steps)
    assert [each.info.path for each in report.damaged] == [path]
    assert "cannot be fetched" in fresh.events[-1].detail
