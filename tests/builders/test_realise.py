"""Realising plans: what is built, what is not, what is said about it, and what goes wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builders.attempt import Patience
from builders.build import BuildError
from builders.events import Event, EventKind
from builders.explain import Action
from builders.fetch import THREADS, Fetcher
from builders.lay import ChangedError
from builders.logs import newest_log
from builders.plan import arrange
from builders.realise import realise
from builders.sandbox import SandboxMode
from builders.step import Step
from store.errors import InputError
from tests.builders.registry import Handler, Registry, integrity, serving, status
from tests.builders.workbench import BASE, BUILDERS, Bench, shell, source_tree, text, works

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builders.build import Build
    from builders.realise import Result
    from builders.step import Download


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as running:
        yield running


def fetch(key: str, download: Download) -> Step:
    return Step(key, key.replace(":", "-"), key, "fetch", download=download)


def quick() -> Fetcher:
    return Fetcher(patience=Patience(connect=0.5, read=0.5, rounds=2, backoff=0.01))


def reasons(result: Result) -> dict[str, tuple[str, ...]]:
    return {decision.key: decision.reasons for decision in result.decisions}


class TestTwice:
    def test_what_is_built_is_not_built_again(self, fresh: Bench) -> None:
        steps = [text("a", "a"), text("b", "b", "a")]
        first = fresh.build(steps)
        assert set(first.built) == {"a", "b"}
        assert fresh.read(first, "b") == "ba"
        second = fresh.build(steps)
        assert second.outputs == first.outputs
        assert not second.built
        assert second.cached == ("a", "b")
        assert fresh.told(EventKind.CACHED) == ["a", "b"]

    def test_a_change_builds_what_depends_on_it(self, fresh: Bench) -> None:
        fresh.build([text("a", "1"), text("b", "b", "a"), text("c", "c"), text("d", "d", "b", "c")])
        again = fresh.build(
            [text("a", "2"), text("b", "b", "a"), text("c", "c"), text("d", "d", "b", "c")]
        )
        assert set(again.built) == {"a", "b", "d"}
        assert again.cached == ("c",)

    def test_a_change_that_changes_no_output_stops_there(self, fresh: Bench) -> None:
        steps = [text("a", "1"), text("b", "b", "a")]
        first = fresh.build(steps)
        again = fresh.build([replace(steps[0], version=2), steps[1]])
        assert set(again.built) == {"a"}
        assert again.outputs == first.outputs

    def test_what_is_gone_is_built_again(self, fresh: Bench) -> None:
        steps = [text("a", "1"), text("b", "b", "a")]
        first = fresh.build(steps)
        fresh.store.real(first.outputs["a"]).unlink()
        assert set(fresh.build(steps).built) == {"a"}

    def test_runtime_inputs_are_references_though_nothing_names_them(self, fresh: Bench) -> None:
        plain = fresh.build([text("a", "1"), text("b", "b", "a")])
        kept = fresh.build([text("a", "1"), text("b", "b", "a", runtime=("a",))])
        path = kept.outputs["b"]
        assert path != plain.outputs["b"]
        info = fresh.store.info(path)
        assert info is not None
        assert info.references == (kept.outputs["a"],)

    def test_what_is_named_is_a_reference(self, fresh: Bench) -> None:
        def name(build: Build) -> None:
            build.out.write_text(f"see {build.inputs['a']}/x")

        bench = Bench(fresh.store, {**BUILDERS, "name": name})
        result = bench.build([text("a", "1"), Step("b", "b", "b", "name", inputs={"a": "a"})])
        info = fresh.store.info(result.outputs["b"])
        assert info is not None
        assert info.references == (result.outputs["a"],)

    def test_without_a_sandbox_is_kept_apart(self, fresh: Bench) -> None:
        fresh.build([text("a", "1")])
        bare = Bench(fresh.store, mode=SandboxMode.OFF)
        assert set(bare.build([text("a", "1")]).built) == {"a"}
        assert not fresh.build([text("a", "1")]).built


class TestSource:
    def test_laid_and_used(self, fresh: Bench, tmp_path: Path) -> None:
        folder = tmp_path / "source"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("contents")

        def read(build: Build) -> None:
            assert build.source is not None
            build.out.write_text((build.source / "deep" / "file").read_text())

        bench = Bench(fresh.store, {**BUILDERS, "read": read})
        step = Step("a", "a", "a", "read", source=source_tree(folder))
        assert bench.read(bench.build([step]), "a") == "contents"

    @pytest.mark.parametrize("change", ["edit", "remove", "link"])
    def test_a_file_that_changes_meanwhile(self, fresh: Bench, tmp_path: Path, change: str) -> None:
        folder = tmp_path / "source"
        folder.mkdir()
        file = folder / "file"
        file.write_text("one")
        tree = source_tree(folder)
        file.unlink()
        if change == "edit":
            file.write_text("two")
        elif change == "link":
            (tmp_path / "elsewhere").write_text("one")
            file.symlink_to("../elsewhere")
        [failure] = fresh.build([text("a", "1", source=tree)]).failures
        assert isinstance(failure.error, ChangedError)
        assert failure.error.slug == "source-changed"
        assert failure.error.where == str(file)


class TestFailures:
    def test_downstream_is_not_tried_and_each_failure_told_once(self, fresh: Bench) -> None:
        def fail(build: Build) -> None:
            raise build.error("it does not work")

        bench = Bench(fresh.store, {**BUILDERS, "fail": fail})
        steps = [
            Step("bad", "bad", "bad", "fail"),
            text("b", "b", "bad"),
            text("c", "c", "b", "bad"),
            text("good", "good"),
            text("end", "end", "c", "good"),
        ]
        result = bench.build(steps, keep_going=True)
        assert [failure.key for failure in result.failures] == ["bad"]
        assert result.failures[0].error.reason == "bad: it does not work"
        assert result.skipped == {"b": "bad", "c": "bad", "end": "bad"}
        assert set(result.built) == {"good"}
        assert bench.told(EventKind.FAILED) == ["bad"]
        assert sorted(bench.told(EventKind.SKIPPED)) == ["b", "c", "end"]
        assert not result.ok

    def test_nothing_starts_after_a_failure_unless_told_to(self, fresh: Bench) -> None:
        def fail(build: Build) -> None:
            raise build.error("no")

        bench = Bench(fresh.store, {**BUILDERS, "fail": fail})
        steps = [Step("bad", "bad", "bad", "fail"), *(text(f"g{n}", f"{n}") for n in range(9))]
        end = text("end", "end", *(step.key for step in steps))
        assert len(bench.build([*steps, end], jobs=1).built) < 9
        result = bench.build([*steps, end], jobs=1, keep_going=True)
        assert len(result.outputs) == 9

    def test_what_could_not_be_planned_is_told_with_the_rest(self, fresh: Bench) -> None:
        errors = {"x": InputError("lock of x"), "y": InputError("lock of y")}
        rest = arrange([text("a", "a"), text("b", "b")], ["a", "b"])
        plan = replace(rest, failed=errors, blocked={"release": "x"})
        events: list[Event] = []
        result = realise(
            plan, fresh.store, builders=BUILDERS, keep_going=True, observe=events.append
        )
        assert sorted(result.built) == ["a", "b"]
        assert [failure.error for failure in result.failures] == [*errors.values()]
        assert result.skipped == {"release": "x"}
        told = [(event.kind, event.key) for event in events]
        assert told.count((EventKind.FAILED, "x")) == 1
        assert told.count((EventKind.SKIPPED, "release")) == 1
        again = realise(replace(plan, targets=()), fresh.store, builders=BUILDERS, dry_run=True)
        assert not again.ok
        other = arrange([text("c", "c")], ["c"])
        refused = realise(replace(other, failed=errors), fresh.store, builders=BUILDERS)
        assert not refused.built

    def test_no_output(self, fresh: Bench) -> None:
        bench = Bench(fresh.store, {**BUILDERS, "none": lambda build: build.log.write("hello\n")})
        [failure] = bench.build([Step("a", "a", "a", "none")]).failures
        assert failure.error.slug == "bad-output"
        assert "made nothing" in failure.error.reason

    def test_an_output_that_the_store_cannot_take(self, fresh: Bench) -> None:
        import os  # noqa: PLC0415 - one test needs a pipe

        bench = Bench(fresh.store, {**BUILDERS, "pipe": lambda build: os.mkfifo(build.out)})
        [failure] = bench.build([Step("a", "a", "a", "pipe")]).failures
        assert failure.error.exit_code != 0
        assert not fresh.store.paths()

    def test_what_the_system_refuses(self, fresh: Bench) -> None:
        def read(_: Build) -> None:
            with open("/no/such/file"):  # noqa: PTH123
                pass

        bench = Bench(fresh.store, {**BUILDERS, "read": read})
        [failure] = bench.build([Step("a", "a", "a", "read")]).failures
        assert isinstance(failure.error, BuildError)
        assert failure.error.reason == "a: /no/such/file: No such file or directory"

    def test_a_builder_nobody_knows(self, fresh: Bench) -> None:
        [failure] = fresh.build([Step("a", "a", "a", "alchemy")]).failures
        assert "'alchemy'" in failure.error.reason

    def test_a_bug_is_not_an_error(self, fresh: Bench) -> None:
        def bug(build: Build) -> None:
            raise KeyError(build.step.key)

        bench = Bench(fresh.store, {**BUILDERS, "bug": bug})
        with pytest.raises(KeyError) as caught:
            bench.build([Step("a", "a", "a", "bug")])
        assert "while building a" in caught.value.__notes__[0]

    def test_logs_are_kept(self, fresh: Bench) -> None:
        def fail(build: Build) -> None:
            build.log.write("so far so good\n")
            raise build.error("no")

        bench = Bench(fresh.store, {**BUILDERS, "fail": fail})
        step = Step("part:of/a thing", "a", "a", "fail")
        [failure] = bench.build([step]).failures
        log = newest_log(fresh.store, step.key)
        assert log is not None
        assert log.read_text() == "so far so good\n"
        assert isinstance(failure.error, BuildError)
        assert failure.error.lines == ("so far so good",)
        assert newest_log(fresh.store, "never built") is None
        bench.builders = BUILDERS | {"fail": lambda build: build.out.write_text("x")}
        bench.build([replace(step, version=2)])
        newer = newest_log(fresh.store, step.key)
        assert newer is not None
        assert newer != log
        assert log.exists()


class TestFetching:
    def test_fetched_once_and_used(self, fresh: Bench, registry: Registry) -> None:
        steps = [fetch(f"f{n}", registry.pin(f"/{n}", b"content %d" % n)) for n in range(30)]
        end = text("end", "", *(step.key for step in steps))
        result = fresh.build([*steps, end])
        assert "content 29" in fresh.read(result, "end")
        assert len(result.fetched) == 30
        assert sum(result.fetched.values()) == sum(len(b"content %d" % n) for n in range(30))
        assert len(registry.asked) == 30
        assert sorted(fresh.told(EventKind.FETCHED)) == sorted(step.key for step in steps)
        assert not fresh.build([*steps, end]).fetched
        assert len(registry.asked) == 30
        assert not list((fresh.store.var_dir / "partial").iterdir())
        assert {file.name for file in (fresh.store.var_dir / "locks").iterdir()} <= {
            "collect",
            "database",
        }

    def test_a_wrong_hash_stops_what_needs_it_and_nothing_else(
        self, fresh: Bench, registry: Registry
    ) -> None:
        good = fetch("good", registry.pin("/good", b"good"))
        wrong = registry.pin("/wrong", b"wrong")
        bad = fetch("bad", replace(wrong, integrity=integrity(b"other"), size=None))
        steps = [good, bad, text("a", "a", "good"), text("b", "b", "bad"), text("c", "", "a", "b")]
        result = fresh.build(steps, keep_going=True, fetcher=quick())
        [failure] = result.failures
        assert failure.error.slug == "hash-mismatch"
        assert failure.error.hint == "if the new file is right: sealift lock bad"
        assert set(result.skipped) == {"b", "c"}
        assert "a" in result.outputs

    def test_a_dead_registry_is_one_failure(self, fresh: Bench, registry: Registry) -> None:
        steps = []
        for number in range(40):
            pinned = registry.pin(f"/{number}", b"%d" % number)
            dead = replace(pinned, urls=("http://127.0.0.1:1/x",))
            steps.append(fetch(f"f{number}", dead))
        end = text("end", "", *(step.key for step in steps))
        for keep_going in (False, True):
            result = fresh.build([*steps, end], keep_going=keep_going, fetcher=quick())
            assert [failure.error.reason for failure in result.failures] == [
                "127.0.0.1 cannot be reached"
            ]
        assert len(result.failures[0].keys) == 40

    def test_a_build_starts_as_soon_as_its_own_inputs_are_there(
        self, fresh: Bench, registry: Registry
    ) -> None:
        times: dict[str, float] = {}

        def slow(handler: Handler, content: bytes) -> None:
            time.sleep(0.6)
            times["slow"] = time.monotonic()
            handler.serve(content)

        registry.faults["/slow"] = slow

        def note(build: Build) -> None:
            times[build.step.key] = time.monotonic()
            build.out.write_text("x")

        bench = Bench(fresh.store, {**BUILDERS, "note": note})
        steps = [
            fetch("slow", registry.pin("/slow", b"slow")),
            fetch("quick", registry.pin("/quick", b"quick")),
            Step("early", "early", "r", "note", inputs={"f": "quick"}),
            Step("late", "late", "r", "note", inputs={"f": "slow"}),
            text("end", "", "early", "late"),
        ]
        bench.build(steps)
        assert times["early"] < times["slow"] < times["late"]

    def test_so_many_at_a_time(self, fresh: Bench, registry: Registry) -> None:
        def slow(handler: Handler, content: bytes) -> None:
            time.sleep(0.03)
            handler.serve(content)

        steps = []
        for number in range(3 * THREADS):
            steps.append(fetch(f"f{number}", registry.pin(f"/{number}", b"%d" % number)))
            registry.faults[f"/{number}"] = slow
        fresh.build([*steps, text("end", "", *(step.key for step in steps))])
        assert 3 <= registry.busiest <= THREADS

    def test_a_refusing_registry(self, fresh: Bench, registry: Registry) -> None:
        registry.faults["/x"] = status(403)
        step = fetch("x", registry.pin("/x", b"x"))
        [failure] = fresh.build([step, text("end", "", "x")], fetcher=quick()).failures
        assert failure.error.slug == "fetch-failed"
        assert "answered 403" in str(failure.error.got)
        assert not fresh.store.paths()


def service(**facts: object) -> dict[str, object]:
    """Describe a service as `sealift.json` does."""
    return {"format": 1, "service": {"port": 5010, "routes": [{"timeout": 60}], **facts}}


NESTED = {
    "env": (
        service(env={"USAGE_DAYS": "30", "A": "1"}),
        service(env={"USAGE_DAYS": "31", "A": "1"}),
        "service.env.USAGE_DAYS: 30 → 31",
    ),
    "port": (service(), service(port=5011), "service.port: 5010 → 5011"),
    "one more": (service(env={}), service(env={"A": "1"}), "service.env.A: none → 1"),
    "in a list": (
        service(),
        service(routes=[{"timeout": 90}]),
        "service.routes[0].timeout: 60 → 90",
    ),
    "a longer list": (
        service(state=["logs/"]),
        service(state=["logs/", "database/"]),
        'service.state: ["logs/"] → ["logs/", "database/"]',
    ),
    "much": (
        service(env={"A": "x" * 100}),
        service(env={"A": "\x1b[31my"}),
        f"service.env.A: {'x' * 39}… → y",
    ),
    "many": (
        service(env={str(n): "a" for n in range(7)}),
        service(env={str(n): "b" for n in range(7)}),
        ", ".join(f"service.env.{n}: a → b" for n in range(3)) + " and 4 more",
    ),
    "a secret": (
        service(env={"API_TOKEN": "hush"}),
        service(env={"API_TOKEN": "psst"}),
        "service.env.API_TOKEN: changed",
    ),
    "a key": (
        service(env={"AWS_ACCESS_KEY_ID": "hush"}),
        service(env={"AWS_ACCESS_KEY_ID": "psst"}),
        "service.env.AWS_ACCESS_KEY_ID: changed",
    ),
    "a secret in an address": (
        service(env={"DATABASE": "redis://me:hush@host/0"}),
        service(env={"DATABASE": f"redis://me:{'psst' * 20}@host/0"}),
        "service.env.DATABASE: changed",
    ),
}


class TestDryRun:
    def test_nothing_is_done(self, fresh: Bench, registry: Registry) -> None:
        steps = [
            fetch("f", registry.pin("/f", b"12345")),
            text("a", "a", "f"),
            text("b", "b", "a"),
        ]
        result = fresh.build(steps, dry_run=True)
        assert [(d.key, d.action, d.size) for d in result.decisions] == [
            ("f", Action.FETCH, 5),
            ("a", Action.BUILD, None),
            ("b", Action.BUILD, None),
        ]
        assert reasons(result)["f"] == ("no earlier download",)
        assert reasons(result)["b"] == ("no earlier build",)
        assert not registry.asked
        assert not fresh.store.paths()

    def test_nothing_to_do(self, fresh: Bench) -> None:
        fresh.build([text("a", "a")])
        result = fresh.build([text("a", "a")], dry_run=True)
        assert result.decisions == ()
        assert result.cached == ("a",)

    def test_changed_files_are_named(self, fresh: Bench, tmp_path: Path) -> None:
        folder = tmp_path / "source"
        folder.mkdir()
        for name in ("app.py", "gone.py", "same.py"):
            (folder / name).write_text(name)
        fresh.build([text("a", "1", source=source_tree(folder)), text("b", "b", "a")])
        (folder / "app.py").write_text("edited")
        (folder / "gone.py").unlink()
        (folder / "new.py").write_text("new")
        steps = [text("a", "1", source=source_tree(folder)), text("b", "b", "a")]
        result = fresh.build(steps, dry_run=True)
        assert reasons(result) == {
            "a": ("source changed: 3 files (app.py, gone.py, new.py)",),
            "b": ("to be made first: a",),
        }

    def test_inputs_arguments_builder_and_script(self, fresh: Bench) -> None:
        old = [text("a", "1"), text("b", "b", "a")]
        fresh.build(old)
        before = fresh.build(old).outputs["a"]
        fresh.build([text("a", "2")])
        after = fresh.build([text("a", "2")]).outputs["a"]
        changed = [text("a", "2"), replace(text("b", "x", "a"), version=2, script="wheel.py")]
        assert set(reasons(fresh.build(changed, dry_run=True))["b"]) == {
            f"input a changed: {before} → {after}",
            "text: b → x",
            "builder changed: text 1 → 2",
            "builder's script changed: wheel.py",
        }

    @pytest.mark.parametrize(("old", "new", "said"), NESTED.values(), ids=NESTED)
    def test_what_differs_deep_in_an_argument(
        self, fresh: Bench, old: object, new: object, said: str
    ) -> None:
        def step(value: object) -> Step:
            return replace(text("a", "a"), arguments={"text": "a", "about": value})

        fresh.build([step(old)])
        assert reasons(fresh.build([step(new)], dry_run=True)) == {"a": (said,)}

    def test_what_is_fetched_is_named_by_its_file_and_long_lists_are_cut(
        self, fresh: Bench, registry: Registry
    ) -> None:
        def steps(version: int) -> list[Step]:
            files = []
            for name in "abcde":
                pinned = registry.pin(f"/{name}", f"{name}{version}".encode())
                key = f"fetch:{pinned.integrity}"
                files.append(Step(key, f"{name}.deb", "r", "fetch", download=pinned))
            inputs = {f"{each.name}": each.key for each in files}
            return [*files, replace(text("top", "x"), inputs=inputs)]

        *fetches, top = fresh.build(steps(1), dry_run=True).decisions
        assert sorted(each.title for each in fetches) == [f"{name}.deb" for name in "abcde"]
        assert top.why == "no earlier build"
        fresh.build(steps(1))
        *_, top = fresh.build(steps(2), dry_run=True).decisions
        (first,) = top.reasons
        assert first == "to be made first: a.deb, b.deb, c.deb and 2 more"
        changed = [text(name, "2") for name in "abcde"]
        user = replace(text("user", "x"), inputs={name: name for name in "abcde"})
        fresh.build([*(text(name, "1") for name in "abcde"), user], "user")
        fresh.build(changed, *"abcde")
        (last,) = fresh.build([*changed, user], "user", dry_run=True).decisions
        assert len(last.reasons) == 5
        assert last.why.count(" changed: ") == 3
        assert last.why.endswith(" and 2 more")

    def test_bills_do_not_hide_what_comes_first(self, fresh: Bench) -> None:
        steps = [text("a", "1"), text("a:sbom", "1", "a"), text("release", "1", "a", "a:sbom")]
        fresh.build(steps, "release")
        steps[:2] = [text("a", "2"), text("a:sbom", "2", "a")]
        said = reasons(fresh.build(steps, "release", dry_run=True))
        assert said["release"] == ("to be made first: a",)

    def test_a_digest_says_nothing_so_who_asked_is_named(self, fresh: Bench) -> None:
        key = f"modules:{'9da6f90a' * 5}"
        modules = replace(shell(key, "exit 1"), name="modules", recipe="frontend_3010")
        top = replace(text("top", "x"), inputs={"modules": key})
        [_, *decisions] = fresh.build([modules, top], dry_run=True).decisions
        assert decisions[0].title == "modules:9da6f90a… (frontend_3010)"
        [failure] = fresh.build([modules, top]).failures
        assert failure.error.reason.startswith("modules:9da6f90a… (frontend_3010): ")
        assert failure.error.hint == f"sealift log {key}"
        [skipped] = [event for event in fresh.events if event.kind is EventKind.SKIPPED]
        assert skipped.detail == "modules:9da6f90a… (frontend_3010)"

    def test_what_was_collected(self, fresh: Bench) -> None:
        result = fresh.build([text("a", "1")])
        fresh.store.real(result.outputs["a"]).unlink()
        said = reasons(fresh.build([text("a", "1")], dry_run=True))
        assert said == {"a": ("its output is no longer in the store",)}

    def test_another_pin(self, fresh: Bench, registry: Registry) -> None:
        fresh.build([fetch("f", registry.pin("/f", b"1"))])
        said = reasons(fresh.build([fetch("f", registry.pin("/f", b"2"))], dry_run=True))
        assert said["f"][0].startswith("lock pins other bytes: sha256-")


@pytest.mark.sandbox
@pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")
def test_hundred_inputs_in_one_sandbox(fresh: Bench) -> None:
    steps = [text(f"t{n}", f"{n}\n") for n in range(100)]
    roles = {f"t{n}": f"t{n}" for n in range(100)}
    command = "for n in $(env); do case $n in in_t*) cat ${n#*=};; esac; done > out"
    result = fresh.build([*steps, shell("end", command, inputs=roles)])
    assert sorted(map(int, fresh.read(result, "end").split())) == list(range(100))


def test_defaults_need_no_kind(fresh: Bench) -> None:
    assert realise(arrange([], []), fresh.store).ok
    assert BASE.key not in fresh.build([text("a", "1")]).outputs
