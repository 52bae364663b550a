"""Double builds: what differs is found, named, and told where."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from builders.check import DifferenceError, first_difference
from builders.events import EventKind
from builders.step import Download, Step
from tests.builders.registry import integrity, serving
from tests.builders.workbench import BASE, BUILDERS, Bench, shell, text, works

if TYPE_CHECKING:
    from pathlib import Path

    from builders.build import Build


def differ(build: Build) -> None:
    """Make a tree with one file that tells the time."""
    (build.out / "deep").mkdir(parents=True)
    (build.out / "a-same").write_text("same")
    (build.out / "deep" / "time").write_text(f"it is {time.time_ns()}")
    (build.out / "z-same").write_text("same")


def test_the_same_twice(fresh: Bench) -> None:
    with serving() as registry:
        url = registry.put("/f", b"f")
        steps = [
            Step("f", "f", "f", "fetch", download=Download((url,), integrity(b"f"))),
            text("a", "a", "f"),
            text("b", "b", "a"),
        ]
        result = fresh.build(steps, check=True)
        assert result.ok
        assert sorted(result.checked) == ["a", "b"]
        assert sorted(fresh.told(EventKind.CHECKED)) == ["a", "b"]
        assert len(registry.asked) == 1


def test_what_differs_is_named(fresh: Bench) -> None:
    bench = Bench(fresh.store, {**BUILDERS, "differ": differ})
    steps = [text("good", "good"), Step("bad", "bad", "bad", "differ", inputs={"good": "good"})]
    result = bench.build(steps, check=True)
    assert result.checked == ("good",)
    [failure] = result.failures
    error = failure.error
    assert isinstance(error, DifferenceError)
    assert error.slug == "not-reproducible"
    assert str(error.where).startswith("deep/time: differs from byte ")
    info = fresh.store.info(result.outputs["bad"])
    assert info is not None
    assert error.expected == info.nar_sha256
    assert error.got != info.nar_sha256


def test_what_was_built_long_ago_is_checked_too(fresh: Bench) -> None:
    bench = Bench(fresh.store, {**BUILDERS, "differ": differ})
    step = Step("bad", "bad", "bad", "differ")
    assert bench.build([step]).ok
    result = bench.build([step], check=True)
    assert not result.built
    assert [failure.key for failure in result.failures] == ["bad"]


def test_the_second_build_is_later(fresh: Bench) -> None:
    moments = []

    def note(build: Build) -> None:
        moments.append(time.time())
        build.out.write_text("x")

    bench = Bench(fresh.store, {**BUILDERS, "note": note})
    assert bench.build([Step("a", "a", "a", "note")], check=True).ok
    assert moments[1] - moments[0] > 2


@pytest.mark.sandbox
@pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")
def test_in_the_sandbox_the_place_is_the_same_and_random_is_not(fresh: Bench) -> None:
    place = shell("place", 'echo "$PWD $in_base" > out')
    chance = shell("chance", "cat /proc/sys/kernel/random/uuid > out")
    steps = [BASE, place, chance, text("end", "", "place", "chance")]
    result = fresh.build(steps, check=True)
    assert sorted(result.checked) == ["base", "end", "place"]
    assert [failure.key for failure in result.failures] == ["chance"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: root.touch(), None),
        (lambda root: (root / "file").write_text("x" * 9 + "y"), "file: differs from byte 9 on"),
        (lambda root: (root / "file").write_text("x" * 9), "file: differs from byte 9 on"),
        (lambda root: (root / "file").write_text("x" * 11), "file: differs from byte 10 on"),
        (lambda root: (root / "file").chmod(0o755), "file: file before, executable file now"),
        (lambda root: (root / "file").unlink(), "file: file before, absent now"),
        (lambda root: (root / "more").write_text(""), "more: absent before, file now"),
        (lambda root: (root / "d" / "e").mkdir(), "d/e: absent before, directory now"),
        (
            lambda root: ((root / "link").unlink(), (root / "link").symlink_to("d")),
            "link: led to file, leads to d now",
        ),
    ],
)
def test_first_difference(tmp_path: Path, change: object, expected: str | None) -> None:
    for name in ("old", "new"):
        root = tmp_path / name
        (root / "d").mkdir(parents=True)
        (root / "file").write_text("x" * 10)
        (root / "link").symlink_to("file")
    assert callable(change)
    change(tmp_path / "new")
    os.utime(tmp_path / "new" / "d")
    found = first_difference(tmp_path / "old", tmp_path / "new")
    assert (str(found) if found else None) == expected


def test_first_difference_of_files_and_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0" * 3_000_000)
    (tmp_path / "b").write_bytes(b"\0" * 2_999_999 + b"\1")
    found = first_difference(tmp_path / "a", tmp_path / "b")
    assert found is not None
    assert found.offset == 2_999_999
    assert str(found).startswith("the output itself: ")
