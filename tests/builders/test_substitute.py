"""Shared caches: what one builder gives another, and what caches that fail or lie cannot do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import substitute
from builders.cache_push import Pushed, push
from builders.cache_record import RECORD_LIMIT, Record, parse, record_name
from builders.cache_source import ASKING, Cache, Source
from builders.cache_urls import WRITING, CacheUrl, Patience, opened
from builders.derive import platform_of
from builders.events import EventKind
from builders.plan import arrange
from builders.resolve import Resolver
from builders.sandbox import SandboxMode
from builders.step import Step
from store.binary_cache import BadCacheError
from store.cache_keys import SecretKey
from store.local import LocalStore
from tests.builders.cache_places import NAME, PLACES, WORD, Handler, Place, listening
from tests.builders.registry import Registry, once, serving, status
from tests.builders.workbench import BASE, BUILDERS, Bench, text
from tests.deploy.sshd import needs_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builders.build import Build
    from builders.realise import Result

KEY = SecretKey.generate("builders-1")
OTHER = SecretKey.generate("builders-2")
DRIPPING = ["/nar/", "/realisations/"]
if os.environ.get("SEALIFT_FAULTS") == "full":
    DRIPPING += [".narinfo", "/nix-cache-info"]
QUICK = Patience(connect=1.0, silence=0.5, asking=1.5, grace=1.5)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", NAME)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WORD)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@dataclass
class Builder(Bench):
    """A builder whose store others have too, at the same place: one after the other."""

    made: list[str] = field(default_factory=list)

    def give(
        self, steps: Sequence[Step], place: Place, key: SecretKey | None = KEY, **said: Any
    ) -> Pushed:
        """Push to a cache."""
        plan = arrange([BASE, *steps], (steps[-1].key,))
        with opened(CacheUrl.parse(place.url), WRITING, dial=place.dial) as files:
            return push(
                plan,
                self.store,
                files,
                platform=platform_of(bare=self.mode is SandboxMode.OFF),
                lookup=self.store.realisations,
                key=key,
                outputs_only=said.get("outputs_only", False),
                trusted=said.get("trusted", ()),
                observe=lambda _done, _total: None,
            )

    def ask(self, steps: Sequence[Step], *places: Place, key: SecretKey = KEY) -> Result:
        """Build with the help of caches."""
        caches = [Cache(CacheUrl.parse(at.url), (key.public,), at.dial) for at in places]
        self.made.clear()
        return self.build(steps, caches=caches)

    def faults(self) -> list[str]:
        """Say what was told of caches."""
        return [each.detail for each in self.events if each.kind is EventKind.CACHE_FAULT]


def builders(made: list[str]) -> dict[str, Any]:
    """Give the builder of text, which keeps count."""

    def write(build: Build) -> None:
        made.append(build.step.key)
        BUILDERS["text"](build)

    def refer(build: Build) -> None:
        made.append(build.step.key)
        build.out.mkdir()
        for role, path in build.inputs.items():
            (build.out / role).symlink_to(path)

    return {"text": write, "refer": refer}


@contextmanager
def builder(root: Path) -> Iterator[Builder]:
    """Open an empty store at the place that all stores of a test have."""
    shutil.rmtree(root / "opt", ignore_errors=True)
    (root / "opt").mkdir()
    with LocalStore.open(root / "opt" / "store") as store:
        made: list[str] = []
        yield Builder(store, builders(made), SandboxMode.OFF, made=made)


def refer(key: str, *inputs: str) -> Step:
    """Plan a step whose output refers to those of its inputs."""
    return Step(key, key, key, "refer", inputs={name: name for name in inputs})


STEPS = [
    text("seed", "seed"),
    text("tool", "tool", "seed"),
    text("part", "part", "tool"),
    refer("whole", "part"),
    refer("release", "whole", "part"),
]
"""`release` refers to `whole` and `part`; `tool` and `seed` only help to build."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def shared(root: Path) -> Place:
    """A folder that a first builder has filled."""
    place = Place(f"file://{root / 'shared'}", root / "shared")
    with builder(root) as first:
        first.build(STEPS)
        first.give(STEPS, place)
    return place


@needs_sshd
@pytest.mark.parametrize("kind", PLACES)
def test_what_one_builder_made_another_takes(root: Path, kind: str) -> None:
    for place in PLACES[kind](root):
        with builder(root) as first:
            expected = first.build(STEPS).outputs
            assert first.made == ["seed", "tool", "part", "whole", "release"]
            pushed = first.give(STEPS, place)
            assert (pushed.told, pushed.other, pushed.lacking) == (5, (), 0)
            again = first.give(STEPS, place)
            assert again.written.added == ()
        with builder(root) as second:
            result = second.ask(STEPS, place)
            assert second.faults() == []
            assert second.made == []
            assert result.outputs["release"] == expected["release"]
            assert second.store.verify().clean
            assert {path.name for path in (info.path for info in second.store.paths())} == {
                "release",
                "whole",
                "part",
            }


class TestNoNetwork:
    def test_when_nothing_is_missing(self, root: Path) -> None:
        gone = Place("http://127.0.0.1:9/none", root)
        with builder(root) as first:
            first.build(STEPS)
            assert first.ask(STEPS, gone).ok
            assert first.faults() == []
            first.store.real(first.build(STEPS).outputs["release"]).chmod(0o755)

    def test_after_all_was_taken(self, root: Path, shared: Place) -> None:
        """Although most of what led there never came."""
        with builder(root) as second:
            second.ask(STEPS, shared)
            shutil.rmtree(shared.folder)
            result = second.ask(STEPS, shared)
            assert (second.made, second.faults()) == ([], [])
            assert result.outputs.keys() == {"part", "whole", "release"}

    def test_for_a_dry_run(self, root: Path, shared: Place) -> None:
        with builder(root) as second:
            told = second.build(STEPS, dry_run=True, caches=[Cache(CacheUrl.parse(shared.url), ())])
            assert {each.key for each in told.decisions} == {step.key for step in STEPS}
            second.ask(STEPS, shared)
            cache = Cache(CacheUrl.parse(shared.url), (KEY.public,))
            assert not second.build(STEPS, dry_run=True, caches=[cache]).decisions

    def test_for_a_second_look(self, root: Path, shared: Place) -> None:
        """`--check` wants all from here."""
        with builder(root) as second:
            cache = Cache(CacheUrl.parse(shared.url), (KEY.public,))
            result = second.build(STEPS, check=True, caches=[cache])
            assert set(result.built) == {"seed", "tool", "part", "whole", "release"}


class TestOnlyWhatIsNeeded:
    def test_what_a_change_is_built_from(self, root: Path, shared: Place) -> None:
        changed = [*STEPS[:3], refer("whole", "part", "tool"), *STEPS[4:]]
        with builder(root) as second:
            second.ask(changed, shared)
            assert second.made == ["whole", "release"]
            names = {info.path.name for info in second.store.paths()}
            assert names == {"tool", "part", "whole", "release"}

    def test_what_went_away_here_comes_again(self, root: Path, shared: Place) -> None:
        with builder(root) as second:
            outputs = second.ask(STEPS, shared).outputs
            for info in reversed(second.store.closure([outputs["release"]])):
                with second.store.database.writing(durable=False):
                    second.store.database.unregister([info.path])
            assert second.ask(STEPS, shared).outputs == outputs
            assert second.made == []

    def test_outputs_alone(self, root: Path) -> None:
        place = Place(f"file://{root / 'shared'}", root / "shared")
        with builder(root) as first:
            first.build(STEPS)
            pushed = first.give(STEPS, place, outputs_only=True)
            assert {path.name for path in pushed.written.closure} == {"release", "whole", "part"}
            assert pushed.told == 5
        with builder(root) as second:
            second.ask(STEPS, place)
            assert second.made == []


class TestTrust:
    def test_another_key(self, root: Path, shared: Place) -> None:
        with builder(root) as second:
            assert second.ask(STEPS, shared, key=OTHER).ok
            assert second.made == [step.key for step in STEPS]
            assert len(second.faults()) == 1
            assert "not signed by a key that the settings name" in second.faults()[0]

    def test_a_key_of_the_same_name(self, root: Path, shared: Place) -> None:
        with builder(root) as second:
            second.ask(STEPS, shared, key=SecretKey.generate(KEY.name))
            assert second.made == [step.key for step in STEPS]

    def test_a_second_signature_joins_the_first(self, root: Path, shared: Place) -> None:
        with builder(root) as first:
            first.build(STEPS)
            first.give(STEPS, shared, OTHER, trusted=[KEY.public])
        for key in (KEY, OTHER):
            with builder(root) as second:
                second.ask(STEPS, shared, key=key)
                assert (second.made, second.faults()) == ([], [])

    def test_what_an_unknown_key_said_is_not_vouched_for(self, root: Path, shared: Place) -> None:
        """How long building took is how long later builds wait."""
        for file in shared.folder.glob("realisations/*.json"):
            theirs = parse(file.read_text(), file.stem, str(root / "opt" / "store"))
            long = replace(theirs, seconds=864_000.0, signatures=()).signed(OTHER)
            file.write_text(str(long))
        with builder(root) as first:
            first.build(STEPS)
            first.give(STEPS, shared, trusted=[OTHER.public])
            assert {each.seconds for each in self.told(root, shared)} == {864_000.0}
            for file in shared.folder.glob("realisations/*.json"):
                record = parse(file.read_text(), file.stem, str(root / "opt" / "store"))
                only = [each for each in record.signatures if each.startswith(OTHER.name)]
                file.write_text(str(replace(record, signatures=tuple(only))))
            first.give(STEPS, shared)
        assert max(each.seconds for each in self.told(root, shared)) < 1000
        assert all(each.signed_by([KEY.public]) for each in self.told(root, shared))

    def told(self, root: Path, shared: Place) -> list[Record]:
        files = sorted(shared.folder.glob("realisations/*.json"))
        store_dir = str(root / "opt" / "store")
        return [parse(file.read_text(), file.stem, store_dir) for file in files]

    def test_without_a_key_nothing_is_told(self, root: Path) -> None:
        place = Place(f"file://{root / 'shared'}", root / "shared")
        with builder(root) as first:
            first.build(STEPS)
            assert first.give(STEPS, place, None).told == 0
        assert not list(place.folder.glob("realisations/*.json"))

    def test_a_record_that_is_moved_or_changed(self, root: Path, shared: Place) -> None:
        """What `release` gave is said of `whole`, and the other way round."""
        files = sorted(shared.folder.glob("realisations/*.json"))
        named = {json.loads(file.read_text())["path"][33:]: file for file in files}
        one, two = named["release"].read_text(), named["whole"].read_text()
        named["release"].write_text(two)
        named["whole"].write_text(one)
        record = json.loads(named["part"].read_text())
        record["path"] = json.loads(one)["path"]
        named["part"].write_text(json.dumps(record))
        with builder(root) as second:
            result = second.ask(STEPS, shared)
            assert result.ok
            assert set(second.made) == {"part", "whole", "release"}
            assert result.outputs["part"].name == "part"

    def test_narinfos_must_be_signed_too(self, root: Path, shared: Place) -> None:
        for file in shared.folder.glob("*.narinfo"):
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith("Sig:")))
        with builder(root) as second:
            second.ask(STEPS, shared)
            assert second.made == [step.key for step in STEPS]
            assert any("is not signed" in each for each in second.faults())

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("format", 2),
            ("path", "../x"),
            ("store", "/elsewhere"),
            ("seconds", -1),
            ("seconds", 1e400),
            ("seconds", True),
            ("seconds", "1"),
            ("signatures", []),
            ("signatures", ["x"]),
            ("signatures", 7),
            ("derivation", "0" * 64),
            ("extra", 1),
        ],
    )
    def test_records_that_are_none(self, shared: Place, key: str, value: object) -> None:
        file = next(shared.folder.glob("realisations/*.json"))
        said = json.loads(file.read_text())
        store_dir = said["store"]
        assert parse(file.read_text(), file.stem, store_dir).signed_by([KEY.public])
        with pytest.raises(BadCacheError):
            parse(json.dumps(said | {key: value}), file.stem, store_dir)

    @pytest.mark.parametrize("said", ["", "[]", "null", "{", "[" * 100_000, '{"format": 1}'])
    def test_texts_that_are_no_record(self, said: str) -> None:
        with pytest.raises(BadCacheError):
            parse(said, "0" * 64, "/x")

    def test_what_others_were_told_stays(self, root: Path, shared: Place) -> None:
        """Another builder got another output of the same derivation."""
        with builder(root) as first:
            first.builders = {**first.builders, "text": lambda build: build.out.write_text("other")}
            first.build(STEPS)
            pushed = first.give(STEPS, shared)
            assert len(pushed.other) == 1
        with builder(root) as second:
            result = second.ask(STEPS, shared)
            assert second.read(result, "part") == "parttoolseed"


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


class TestHalfThere:
    def nar(self, shared: Place, name: str) -> Path:
        for file in shared.folder.glob("*.narinfo"):
            said = dict(line.split(": ", 1) for line in file.read_text().splitlines())
            if said["StorePath"].endswith(f"-{name}"):
                return shared.folder / said["URL"]
        raise AssertionError(name)

    @pytest.mark.parametrize("name", ["part", "whole", "release"])
    @pytest.mark.parametrize("harm", [flip, Path.unlink, partial(Path.write_bytes, data=b"")])
    def test_a_nar_that_is_not_good(self, root: Path, shared: Place, name: str, harm: Any) -> None:
        harm(self.nar(shared, name))
        with builder(root) as second:
            result = second.ask(STEPS, shared)
            assert result.ok
            assert name in second.made
            assert "seed" not in second.made
            assert len(second.faults()) == 1
            assert second.store.verify().clean
            assert second.ask(STEPS, shared).ok
            assert second.faults() == []

    def test_a_description_that_is_gone(self, root: Path, shared: Place) -> None:
        for file in shared.folder.glob("*.narinfo"):
            if "-part\n" in file.read_text().splitlines(keepends=True)[0]:
                file.unlink()
        with builder(root) as second:
            assert second.ask(STEPS, shared).ok
            assert "part" in second.made

    def test_all_descriptions_gone(self, root: Path, shared: Place) -> None:
        for file in shared.folder.glob("*.narinfo"):
            file.unlink()
        with builder(root) as second:
            assert second.ask(STEPS, shared).ok
            assert second.made == [step.key for step in STEPS]

    def test_a_place_without_a_cache(self, root: Path) -> None:
        with builder(root) as second:
            (root / "empty").mkdir()
            assert second.ask(STEPS, Place(f"file://{root / 'empty'}", root)).ok
            assert "there is no cache" in second.faults()[0]

    def test_a_cache_for_another_store(self, root: Path, shared: Place) -> None:
        (shared.folder / "nix-cache-info").write_text("StoreDir: /nix/store\n")
        with builder(root) as second:
            assert second.ask(STEPS, shared).ok
            assert len(second.faults()) == 1

    def test_another_cache_helps_out(self, root: Path, shared: Place) -> None:
        other = Place(f"file://{root / 'other'}", root / "other")
        shutil.copytree(shared.folder, other.folder)
        flip(self.nar(shared, "part"))
        with builder(root) as second:
            assert second.ask(STEPS, shared, other).ok
            assert second.made == []
            assert len(second.faults()) == 1


class TestDown:
    def test_nobody_listens(self, root: Path, shared: Place) -> None:
        with listening(Handler) as port:
            gone = Place(f"http://127.0.0.1:{port}/cache", root)
        with builder(root) as second:
            assert second.ask(STEPS, gone, shared).ok
            assert second.made == []
            assert len(second.faults()) == 1

    @pytest.mark.parametrize("after", [0, 1, 3, 9])
    def test_a_server_that_falls_silent(
        self, root: Path, shared: Place, monkeypatch: pytest.MonkeyPatch, after: int
    ) -> None:
        """It is asked no more than once for each thread, and said once."""
        monkeypatch.setattr(substitute, "PATIENCE", QUICK)
        over = threading.Event()
        with serving() as registry:
            fill(registry, shared.folder)

            def answer(handler: Any, content: bytes) -> None:
                if len(registry.asked) > after:
                    over.wait(60)
                handler.serve(content)

            registry.faults = dict.fromkeys(registry.files, answer)
            with builder(root) as second:
                assert second.ask(STEPS, Place(registry.url, root)).ok
                assert len(second.faults()) == 1
                assert "in time" in second.faults()[0]
                assert "release" in second.made
            over.set()

    def test_a_cache_that_failed_is_asked_no_more(self, root: Path, shared: Place) -> None:
        """Not even by the questions that were waiting: there may be thousands."""
        many = [text(f"s{number}", str(number)) for number in range(80)]
        steps = [*many, text("end", "", *(step.key for step in many))]
        with serving() as registry:
            fill(registry, shared.folder)
            registry.faults = {
                f"/{record_name(each)}": status(500) for each in digests(root, steps)
            }
            with builder(root) as second:
                assert second.ask(steps, Place(registry.url, root)).ok
                assert len(second.faults()) == 1
            assert len(registry.asked) < 2 * ASKING + 20

    def test_one_bad_answer_is_none(self, root: Path, shared: Place) -> None:
        with serving() as registry:
            fill(registry, shared.folder)
            registry.faults = {name: once(status(503)) for name in registry.files}
            with builder(root) as second:
                assert second.ask(STEPS, Place(registry.url, root)).ok
                assert (second.made, second.faults()) == ([], [])

    def test_ctrl_c_does_not_wait(
        self, root: Path, shared: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(substitute, "PATIENCE", Patience(silence=120.0, asking=120.0))
        asked, over = threading.Event(), threading.Event()
        with serving() as registry:
            fill(registry, shared.folder)

            def wait(handler: Any, content: bytes) -> None:
                asked.set()
                over.wait(20)
                handler.serve(content)

            registry.faults = dict.fromkeys(registry.files, wait)

            def press() -> None:
                asked.wait(60)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

            with builder(root) as second:
                thread = threading.Thread(target=press)
                thread.start()
                with pytest.raises(KeyboardInterrupt):
                    second.ask(STEPS, Place(registry.url, root))
                thread.join()
                assert registry.busy > 0, "it waited for the server"
            over.set()

    @pytest.mark.parametrize("what", DRIPPING)
    def test_a_server_that_drips(
        self, root: Path, shared: Place, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        """No single read takes too long, but all of it would."""
        monkeypatch.setattr(substitute, "PATIENCE", QUICK)
        over = threading.Event()
        with serving() as registry:
            fill(registry, shared.folder)

            def drip(handler: Any, content: bytes) -> None:
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                for byte in content:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if over.wait(0.1):
                        break
                handler.close_connection = True

            chosen = [name for name in registry.files if what in name]
            registry.faults = dict.fromkeys(chosen, drip)
            with builder(root) as second:
                assert second.ask(STEPS, Place(registry.url, root)).ok
                assert second.made == [step.key for step in STEPS]
                assert len(second.faults()) == 1
            over.set()

    def test_however_long_building_took_there_is_an_end(
        self, root: Path, shared: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A trusted key says ten days; the server drips, so that no read takes too long."""
        monkeypatch.setattr(substitute, "PATIENCE", replace(QUICK, longest=1.0))
        for file in shared.folder.glob("realisations/*.json"):
            record = parse(file.read_text(), file.stem, str(root / "opt" / "store"))
            file.write_text(str(replace(record, seconds=864_000.0, signatures=()).signed(KEY)))
        over = threading.Event()
        with serving() as registry:
            fill(registry, shared.folder)

            def drip(handler: Any, content: bytes) -> None:
                handler.send_response(200)
                handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                for byte in content:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if over.wait(0.05):
                        break
                handler.close_connection = True

            chosen = [name for name in registry.files if "/nar/" in name]
            registry.faults = dict.fromkeys(chosen, drip)
            with builder(root) as second:
                assert second.ask(STEPS, Place(registry.url, root)).ok
                assert second.made == [step.key for step in STEPS]
                assert ["longer than it may" in each for each in second.faults()] == [True]
            over.set()

    def test_what_came_before_is_kept(
        self, root: Path, shared: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("builders.cache_source.BATCH", 1)
        with serving() as registry:
            fill(registry, shared.folder)
            whole = f"/nar/{TestHalfThere().nar(shared, 'whole').name}"
            registry.faults[whole] = lambda handler, _: handler.refuse(503)
            with builder(root) as second:
                assert second.ask(STEPS, Place(registry.url, root)).ok
                assert second.made == ["whole", "release"]
                assert "503" in second.faults()[0]


class TestMuchIsSaid:
    def test_a_record_that_is_too_long(self, root: Path, shared: Place) -> None:
        """Spaces around it are not signed. The cache is given up at once."""
        for file in shared.folder.glob("realisations/*.json"):
            file.write_text(file.read_text().ljust(RECORD_LIMIT + 1))
        with builder(root) as second:
            assert second.ask(STEPS, shared).ok
            assert second.made == [step.key for step in STEPS]
            assert [f"more than {RECORD_LIMIT} bytes" in each for each in second.faults()] == [True]

    def test_a_record_that_is_just_short_enough(self, root: Path, shared: Place) -> None:
        for file in shared.folder.glob("realisations/*.json"):
            file.write_text(file.read_text().ljust(RECORD_LIMIT))
        with builder(root) as second:
            second.ask(STEPS, shared)
            assert (second.made, second.faults()) == ([], [])

    @pytest.mark.parametrize("limit", [100, 1500, 2500])
    def test_all_of_it_has_a_limit(
        self, root: Path, shared: Place, monkeypatch: pytest.MonkeyPatch, limit: int
    ) -> None:
        """Reached by what the cache says of itself and records, or by narinfos."""
        monkeypatch.setattr("builders.cache_source.ANSWERS", limit)
        with builder(root) as second:
            assert second.ask(STEPS, shared).ok
            assert second.made == [step.key for step in STEPS]
            assert [f"more than {limit} bytes" in each for each in second.faults()] == [True]

    def test_what_is_not_believed_is_not_kept(self, root: Path) -> None:
        many = [f"{number:064x}" for number in range(480)]
        folder = root / "shared" / "realisations"
        folder.mkdir(parents=True)
        for digest in many:
            (folder / f"{digest}.json").write_bytes(b"x" * RECORD_LIMIT)
        place = CacheUrl.parse(f"file://{root / 'shared'}")
        (root / "shared" / "nix-cache-info").write_text(f"StoreDir: {root / 'opt' / 'store'}\n")
        with builder(root) as second:
            source = Source(Cache(place, (KEY.public,)), second.store, Patience())
            tracemalloc.start()
            try:
                assert source.ask(many) == {}
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                source.close()
        assert source.usable
        assert peak < len(many) * RECORD_LIMIT / 2


def digests(root: Path, steps: Sequence[Step]) -> list[str]:
    """Derive the steps that need no others."""
    with builder(root) as some:
        plan = arrange(steps, [step.key for step in steps])
        platform = platform_of(bare=True)
        resolver = Resolver(
            plan, str(some.store.store_dir), some.store.realisations, platform=platform
        )
        resolver.advance()
        return list(resolver.digests.values())


def fill(registry: Registry, folder: Path) -> None:
    """Serve the files of a cache."""
    for file in folder.rglob("*"):
        if file.is_file():
            registry.put(f"/{file.relative_to(folder)}", file.read_bytes())
