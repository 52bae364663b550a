"""Many steps at once: in which order, how many, and what is left when it all ends too early."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.events import EventKind
from builders.plan import arrange
from builders.realise import realise
from builders.resolve import longest_first
from builders.step import Step
from store.local import LocalStore
from tests.builders import plan_run
from tests.builders.registry import Handler, Registry, serving
from tests.builders.workbench import BASE, BUILDERS, Bench, shell, text, works

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.build import Build

ROOT = Path(__file__).resolve().parents[2]
KILLS = 50

needs_bubblewrap = pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")


class TestOrder:
    def test_the_longest_chain_first(self) -> None:
        plan = arrange(
            [
                text("a", ""),
                text("b", ""),
                text("c", "", "b"),
                text("d", ""),
                text("e", "", "a", "c", "d"),
            ],
            ["e"],
        )
        seconds = {"a": 3.0, "b": 2.0, "c": 2.0, "d": 1.0, "e": 1.0}
        weights = longest_first(plan, plan.order, seconds.__getitem__)
        assert weights == {"a": 4.0, "b": 5.0, "c": 3.0, "d": 2.0, "e": 1.0}
        assert longest_first(plan, ["e"], seconds.__getitem__)["b"] == 1.0

    def test_durations_are_remembered(self, fresh: Bench) -> None:
        began: list[str] = []

        def lasting(build: Build) -> None:
            began.append(build.step.key)
            time.sleep(build.step.arguments["seconds"])
            build.out.write_text(str(build.step.version))

        bench = Bench(fresh.store, {**BUILDERS, "lasting": lasting})

        def steps(version: int) -> list[Step]:
            made = [
                Step(
                    f"s{number}",
                    "s",
                    "s",
                    "lasting",
                    version,
                    arguments={"seconds": 0.2 * number},
                )
                for number in range(4)
            ]
            return [*made, text("end", "", *(step.key for step in made))]

        bench.build(steps(1), jobs=1)
        assert began == ["s0", "s1", "s2", "s3"]
        began.clear()
        bench.build(steps(2), jobs=1)
        assert began == ["s3", "s2", "s1", "s0"]

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_so_many_at_once(self, fresh: Bench, jobs: int) -> None:
        lock, now, most = threading.Lock(), [0], [0]

        def busy(build: Build) -> None:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1
            build.out.write_text("x")

        bench = Bench(fresh.store, {**BUILDERS, "busy": busy})
        steps = [Step(f"s{n}", "s", "s", "busy", arguments={"n": n}) for n in range(12)]
        result = bench.build([*steps, text("end", "", *(s.key for s in steps))], jobs=jobs)
        assert len(result.built) == 13
        assert most[0] == jobs

    def test_what_is_waited_for_is_told(self, fresh: Bench) -> None:
        fresh.build([text("a", "a"), text("b", "b"), text("end", "", "a", "b")], jobs=1)
        told = [e.detail for e in fresh.events if e.kind is EventKind.WAITING and e.key == "end"]
        assert told[0] == "a and 1 more"
        assert told[-1] == "b"


@contextmanager
def running(
    store: Path, salt: str, *more: str, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run the synthetic plan in a process of its own, from the moment it begins to build."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.builders.plan_run", str(store), salt, *more],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def sleepers() -> list[int]:
    """Find processes of the synthetic plan that still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[:2] == [b"sleep", plan_run.MARKER.encode()]:
                found.append(int(process.name))
    return found


def assert_no_sleepers() -> None:
    deadline = time.monotonic() + 10
    calm = 0  # a child that was just starting when its parent died appears after an empty look
    while calm < 3 and time.monotonic() < deadline:
        calm = 0 if sleepers() else calm + 1
        time.sleep(0.01)
    assert calm == 3


def assert_clean(store: LocalStore) -> None:
    report = store.verify()
    assert (report.damaged, report.links, report.database) == ((), (), ())


def temporaries(store: LocalStore) -> list[str]:
    return [path.name for path in store.store_dir.glob(".tmp-*")]


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Serve the synthetic plan's downloads, slowly."""

    def serve(handler: Handler, _: bytes) -> None:
        salt, number = handler.path.split("/")[1:]
        body = plan_run.content(salt, int(number))
        handler.registry.files[handler.path] = body
        time.sleep(0.02)
        handler.serve(body)

    with serving() as running:
        for salt in [*map(str, range(KILLS)), "one", "two"]:
            for number in range(plan_run.WIDTH):
                running.faults[f"/{salt}/{number}"] = serve
        yield running


@pytest.mark.sandbox
@needs_bubblewrap
class TestEndings:
    def test_kill_at_random_moments(
        self, fresh: Bench, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SEALIFT_TEST_REGISTRY", registry.url)
        store, chance = fresh.store, random.Random(5)  # noqa: S311 - the same moments each time
        began = time.monotonic()
        assert plan_run.run(store, "one").ok
        whole = time.monotonic() - began
        unfinished = 0
        for number in range(KILLS):
            with running(store.store_dir, str(number)) as process:
                time.sleep(chance.uniform(0, 0.8 * whole))
                unfinished += process.poll() is None
                process.kill()
            assert_no_sleepers()
            if number % 5 == 4:
                assert_clean(store)
                result = plan_run.run(store, str(number))
                assert result.ok, [failure.error.reason for failure in result.failures]
        assert unfinished > KILLS / 5, "kills must hit builds that run"
        assert_clean(store)
        with LocalStore.open(store.store_dir) as again, again.temporary():
            assert len(temporaries(again)) == 1, "the first build sweeps what the killed left"

    @pytest.mark.parametrize("delay", [0.0, 0.05, 0.15])
    def test_interrupt(
        self, fresh: Bench, registry: Registry, monkeypatch: pytest.MonkeyPatch, delay: float
    ) -> None:
        monkeypatch.setenv("SEALIFT_TEST_REGISTRY", registry.url)

        def silent(handler: Handler, _: bytes) -> None:
            time.sleep(1.5)
            handler.close_connection = True

        for number in range(plan_run.WIDTH):
            registry.faults[f"/one/{number}"] = silent
        with running(fresh.store.store_dir, "one") as process:
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, err = process.communicate(timeout=20)
            assert time.monotonic() - began < 1.4, "a silent server must not hold it up"
        assert process.returncode == 130, err
        assert err == ""
        assert_no_sleepers()
        assert temporaries(fresh.store) == []
        assert_clean(fresh.store)
        for number in range(plan_run.WIDTH):
            registry.faults[f"/one/{number}"] = registry.faults[f"/two/{number}"]
        assert plan_run.run(fresh.store, "one").ok

    def test_two_at_once_build_nothing_twice(
        self, fresh: Bench, registry: Registry, tmp_path: Path
    ) -> None:
        ledger = tmp_path / "ledger"
        env = {"SEALIFT_TEST_REGISTRY": registry.url}
        folder = fresh.store.store_dir
        with (
            running(folder, "one", str(ledger), env=env) as first,
            running(folder, "one", str(ledger), env=env) as second,
        ):
            said = [json.loads(each.communicate(timeout=60)[0]) for each in (first, second)]
        assert all(record["ok"] for record in said)
        assert said[0]["outputs"] == said[1]["outputs"]
        built = ledger.read_text().split()
        assert len(built) == len(set(built)) == 2 * plan_run.WIDTH + 2
        assert not set(said[0]["built"]) & set(said[1]["built"])
        assert len(registry.asked) == plan_run.WIDTH
        assert_clean(fresh.store)

    def test_the_other_finishes_what_a_killed_build_began(
        self, fresh: Bench, registry: Registry, tmp_path: Path
    ) -> None:
        env = {"SEALIFT_TEST_REGISTRY": registry.url}
        folder, ledger = fresh.store.store_dir, str(tmp_path / "ledger")
        with (
            running(folder, "one", ledger, env=env) as first,
            running(folder, "one", ledger, env=env) as second,
        ):
            time.sleep(0.1)
            first.kill()
            record = json.loads(second.communicate(timeout=60)[0])
        assert record["ok"]
        assert_clean(fresh.store)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system that is soon full."""
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder.resolve()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.sandbox
@needs_bubblewrap
class TestFullDisk:
    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Bench]:
        with (
            small_disk(tmp_path / "disk", 48) as disk,
            LocalStore.open(disk / "store") as store,
        ):
            bench = Bench(store)
            assert bench.build([BASE]).ok
            yield bench

    def test_in_the_sandbox(self, small: Bench) -> None:
        before = small.store.paths()
        [failure] = small.build([shell("big", "dd if=/dev/zero of=out bs=1M count=100")]).failures
        assert failure.error.slug == "disk-full"
        assert failure.error.reason == "big: the disk is full"
        assert_clean(small.store)
        assert small.store.paths() == before
        assert temporaries(small.store) == []
        assert small.build([shell("small", "echo x > out")]).ok

    def test_in_process(self, small: Bench) -> None:
        def big(build: Build) -> None:
            with build.out.open("wb") as file:
                for _ in range(100):
                    file.write(b"x" * 1_000_000)

        bench = Bench(small.store, {**BUILDERS, "big": big})
        [failure] = bench.build([Step("big", "big", "big", "big")]).failures
        assert failure.error.slug == "disk-full"
        assert_clean(small.store)
        assert small.build([shell("small", "echo x > out")]).ok

    def test_in_downloads(self, small: Bench, registry: Registry) -> None:
        steps = []
        for number in range(12):
            body = os.urandom(8_000_000)
            download = registry.pin(f"/big{number}", body)
            steps.append(Step(f"f{number}", "f", "f", "fetch", download=download))
        end = text("end", "", *(step.key for step in steps))
        result = small.build([*steps, end], keep_going=True)
        assert {failure.error.slug for failure in result.failures} == {"disk-full"}
        assert_clean(small.store)
        shutil.rmtree(small.store.var_dir / "partial")
        assert small.build([shell("small", "echo x > out")]).ok


def test_six_hundred_cached_steps_ask_the_store_once_a_level(fresh: Bench) -> None:
    steps = [text(f"a{n}", str(n)) for n in range(60)]
    steps += [text(f"b{n}", "", f"a{n}") for n in range(60)]
    plan = arrange([*steps, text("end", "", *(s.key for s in steps))], ["end"])
    fresh.build([*steps, text("end", "", *(s.key for s in steps))])
    asked: list[int] = []

    class Counting(LocalStore):
        def realisations(self, digests):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            asked.append(len(digests))
            return super().realisations(digests)

    with Counting.open(fresh.store.store_dir) as store:
        result = realise(plan, store)
    assert len(result.cached) == 121
    assert asked == [60, 60, 1]
