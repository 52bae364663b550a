"""Records of builds: what they say, when they are written, and when they go."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from builders import provenance, revision
from builders.provenance import BadRecordError
from builders.recipe import SourceSpec
from builders.revision import Revision
from builders.source import collect
from builders.step import Download, Step
from store.nar import hash_tree
from tests.builders.registry import integrity, serving
from tests.builders.test_source import Cache
from tests.builders.workbench import BASE, source_tree, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builders.realise import Result
    from tests.builders.workbench import Bench

AUTHOR = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def git(folder: Path, *words: str) -> str:
    environment = {**os.environ, **AUTHOR}
    done = subprocess.run(
        ["git", *words], cwd=folder, check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a repository with two folders, committed."""
    root = tmp_path / "checkout"
    for name in ("api", "web"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text(name)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def look(folder: Path, *, without: Sequence[str] = ()) -> Revision:
    """Look at a folder as what goes in: not git's own files, nor those that are left out."""
    tree = source_tree(folder)
    kept = [f for f in tree.files if not f.path.startswith(".git/") and f.path not in without]
    return revision.look(replace(tree, files=tuple(kept)))


def record(bench: Bench, result: Result, key: str) -> dict[str, Any]:
    assert not result.failures, result.failures[0].error.reason
    said = provenance.load(bench.store, result.outputs[key])
    assert said is not None
    return said


def inputs(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    needed = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {each["name"]: each for each in needed}


class TestRecord:
    def test_it_says_what_was_built_of_what(self, fresh: Bench) -> None:
        result = fresh.build([text("one", "1"), text("two", "2", "one")])
        said = record(fresh, result, "two")
        info = fresh.store.info(result.outputs["two"])
        assert info is not None
        assert said["_type"] == "https://in-toto.io/Statement/v1"
        assert said["predicateType"] == "https://slsa.dev/provenance/v1"
        (subject,) = said["subject"]
        assert subject["name"] == str(info.path)
        digest, _ = hash_tree(fresh.store.real(info.path))
        assert subject["digest"] == {"sha256": digest.hex()}
        definition = said["predicate"]["buildDefinition"]
        assert definition["externalParameters"] == {
            "recipe": "two",
            "step": "two",
            "builder": "text",
            "storeDir": str(fresh.store.store_dir),
            "sandbox": "bubblewrap",
        }
        derivation = definition["internalParameters"]["derivation"]
        spelled = json.dumps(derivation, sort_keys=True, separators=(",", ":"))
        digest_of = hashlib.sha256(spelled.encode()).hexdigest()
        assert definition["internalParameters"]["derivationDigest"] == digest_of
        one = fresh.store.info(result.outputs["one"])
        assert one is not None
        assert inputs(said)["one"]["digest"] == {"sha256": one.nar_sha256}
        assert inputs(said)["one"]["uri"] == f"file://{fresh.store.real(one.path)}"

    def test_times_and_the_builder_are_in_it_and_not_in_the_path(self, fresh: Bench) -> None:
        result = fresh.build([text("one", "1")])
        run = record(fresh, result, "one")["predicate"]["runDetails"]
        began, ended = (
            datetime.fromisoformat(run["metadata"][key]) for key in ("startedOn", "finishedOn")
        )
        assert began <= ended
        assert began.utcoffset() is not None
        assert run["builder"]["id"] == "urn:sealift:builder"
        assert len(run["builder"]["version"]["code"]) == 64
        again = fresh.build([text("one", "1", version=2)])
        assert again.built.keys() == {"one"}
        assert again.outputs == result.outputs
        assert record(fresh, again, "one")["predicate"]["runDetails"] != run

    def test_one_run_has_one_invocation(self, fresh: Bench) -> None:
        result = fresh.build([text("one", "1"), text("two", "2", "one")])
        names = {
            record(fresh, result, key)["predicate"]["runDetails"]["metadata"]["invocationId"]
            for key in ("one", "two")
        }
        assert len(names) == 1

    def test_what_was_fetched_is_named_by_what_pins_it(self, fresh: Bench) -> None:
        body = b"bytes"
        with serving() as registry:
            pinned = Download((registry.put("/it", body),), integrity(body), len(body))
            key = f"fetch:{pinned.integrity}"
            fetched = Step(key, "file", "r", "fetch", download=pinned)
            made = Step(
                "made", "made", "made", "text", inputs={"file": key}, arguments={"text": ""}
            )
            result = fresh.build([fetched, made])
        said = inputs(record(fresh, result, "made"))["file"]
        assert said["annotations"]["pinned"] == pinned.integrity
        assert provenance.load(fresh.store, result.outputs[key]) is None


class TestKeeping:
    def test_what_is_found_built_keeps_its_record(self, fresh: Bench) -> None:
        steps = [text("one", "1")]
        first = record(fresh, fresh.build(steps), "one")
        second = fresh.build(steps)
        assert not second.built
        assert record(fresh, second, "one") == first

    def test_checking_writes_none(self, fresh: Bench) -> None:
        steps = [text("one", "1")]
        first = record(fresh, fresh.build(steps), "one")
        checked = fresh.build(steps, check=True)
        assert "one" in checked.checked
        assert record(fresh, checked, "one") == first

    def test_a_failed_build_leaves_none(self, fresh: Bench) -> None:
        result = fresh.build([Step("bad", "bad", "bad", "nobody knows")])
        assert result.failures
        assert not list((fresh.store.var_dir / "provenance").glob("*bad*"))

    def test_records_go_with_their_paths(self, fresh: Bench) -> None:
        result = fresh.build([text("one", "1"), text("two", "2")], "one", "two")
        fresh.store.add_root("one", result.outputs["one"])
        folder = fresh.store.var_dir / "provenance"
        for name in (".left-over", ".being-written"):
            (folder / name).write_text("")
        os.utime(folder / ".left-over", (1, 1))
        fresh.store.collect()
        assert provenance.prune(fresh.store) == 2
        assert provenance.load(fresh.store, result.outputs["two"]) is None
        record(fresh, result, "one")
        assert (folder / ".being-written").exists()
        assert provenance.prune(fresh.store) == 0

    def test_without_any_there_is_nothing_to_prune(self, fresh: Bench) -> None:
        assert provenance.prune(fresh.store) == 0

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b'{"subject": []}',
            b"\xff",
            b'{"subject": [{"name": "%s"}]}',
            b'{"subject": [{"name": "%s"}], "predicate": []}',
            b'{"subject": [{"name": "%s"}], "predicate": {"buildDefinition": 1, "runDetails": 1}}',
        ],
    )
    def test_a_damaged_record_is_an_error(self, fresh: Bench, content: bytes) -> None:
        result = fresh.build([text("one", "1")])
        path = result.outputs["one"]
        said = content.replace(b"%s", str(path).encode())
        (fresh.store.var_dir / "provenance" / f"{path}.json").write_bytes(said)
        with pytest.raises(BadRecordError, match="damaged"):
            provenance.load(fresh.store, path)

    def test_another_path_s_record_is_an_error(self, fresh: Bench) -> None:
        result = fresh.build([text("one", "1"), text("two", "2")], "one", "two")
        folder = fresh.store.var_dir / "provenance"
        one, two = (folder / f"{result.outputs[key]}.json" for key in ("one", "two"))
        two.write_bytes(one.read_bytes())
        with pytest.raises(BadRecordError, match="another path"):
            provenance.load(fresh.store, result.outputs["two"])


class TestSource:
    def source(self, fresh: Bench, folder: Path) -> dict[str, Any]:
        result = fresh.build([BASE, text("api", "1", source=source_tree(folder))], "api")
        return inputs(record(fresh, result, "api"))["source"]

    def test_a_clean_folder_is_its_commit(self, fresh: Bench, checkout: Path) -> None:
        said = self.source(fresh, checkout / "api")
        commit = git(checkout, "rev-parse", "HEAD")
        assert said["digest"]["gitCommit"] == commit
        assert said["digest"]["sealiftTree"] == source_tree(checkout / "api").digest
        assert said["annotations"] == {
            "files": 1,
            "revision": commit,
            "dirty": False,
            "path": "api/",
        }

    def test_a_changed_one_only_begins_there(self, fresh: Bench, checkout: Path) -> None:
        (checkout / "api" / "file").write_text("changed")
        said = self.source(fresh, checkout / "api")
        assert "gitCommit" not in said["digest"]
        assert said["annotations"]["dirty"] is True
        assert said["annotations"]["revision"] == git(checkout, "rev-parse", "HEAD")

    def test_outside_of_a_checkout_it_says_why(self, fresh: Bench, tmp_path: Path) -> None:
        folder = tmp_path / "plain"
        folder.mkdir()
        (folder / "file").write_text("1")
        said = self.source(fresh, folder)
        assert said["annotations"]["revision"] is None
        assert "not a git repository" in said["annotations"]["reason"]


class TestRevision:
    def test_other_folders_do_not_count(self, checkout: Path) -> None:
        (checkout / "web" / "new").write_text("1")
        assert look(checkout / "api").dirty is False
        assert look(checkout / "web").dirty is True
        assert look(checkout).path == ""

    def test_before_the_first_commit(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "-q")
        found = look(tmp_path)
        assert found.commit is None
        assert found.reason

    def test_without_git(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        assert look(checkout) == Revision(reason="git is not installed")

    def test_a_hook_s_environment_does_not_mislead(
        self, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        git(other, "init", "-q")
        monkeypatch.setenv("GIT_DIR", str(other / ".git"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
        assert look(checkout / "api").dirty is False

    def test_a_checkout_s_own_programs_do_not_run(self, checkout: Path, tmp_path: Path) -> None:
        program = tmp_path / "monitor"
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        program.chmod(0o755)
        git(checkout, "config", "core.fsmonitor", str(program))
        git(checkout, "status")
        assert (tmp_path / "ran").exists(), "git itself would run it"
        (tmp_path / "ran").unlink()
        look(checkout / "api")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("place", ["info/exclude", "core.excludesFile"])
    def test_a_file_that_git_ignores_and_the_build_takes(
        self, checkout: Path, tmp_path: Path, place: str
    ) -> None:
        rules = {
            "info/exclude": checkout / ".git" / "info" / "exclude",
            "core.excludesFile": tmp_path / "excludes",
        }[place]
        rules.write_text("generated.py\n")
        git(checkout, "config", "core.excludesFile", str(tmp_path / "excludes"))
        (checkout / "api" / "generated.py").write_text("1")
        assert git(checkout, "status", "--porcelain") == "", "git itself would not say"
        assert look(checkout / "api").dirty is True

    def test_what_include_takes_although_it_is_ignored(self, checkout: Path) -> None:
        (checkout / "api" / ".gitignore").write_text("/generated.py\n")
        git(checkout, "add", ".")
        git(checkout, "commit", "-q", "-m", "second")
        (checkout / "api" / "generated.py").write_text("1")
        trees = [
            collect(SourceSpec("api", include=include), checkout, cache=Cache())
            for include in ((), ("generated.py",))
        ]
        assert [revision.look(tree).dirty for tree in trees] == [False, True]

    @pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
    def test_a_change_that_git_was_told_not_to_see(self, checkout: Path, flag: str) -> None:
        git(checkout, "update-index", flag, "api/file")
        (checkout / "api" / "file").write_text("changed")
        assert git(checkout, "status", "--porcelain") == "", "git itself would not say"
        assert look(checkout / "api").dirty is True

    def test_what_is_staged_is_not_committed(self, checkout: Path) -> None:
        (checkout / "api" / "file").write_text("changed")
        git(checkout, "add", ".")
        assert look(checkout / "api").dirty is True

    def test_a_file_that_is_gone(self, checkout: Path) -> None:
        (checkout / "api" / "other").write_text("1")
        git(checkout, "add", ".")
        git(checkout, "commit", "-q", "-m", "second")
        assert look(checkout / "api").dirty is False
        (checkout / "api" / "other").unlink()
        assert look(checkout / "api").dirty is True

    def test_what_the_source_leaves_out_does_not_count(self, checkout: Path) -> None:
        (checkout / "api" / "other").write_text("1")
        git(checkout, "add", ".")
        git(checkout, "commit", "-q", "-m", "second")
        (checkout / "api" / "other").write_text("2")
        assert look(checkout / "api", without=["other"]).dirty is False
        assert look(checkout / "api").dirty is True

    def test_modes_and_links_count(self, checkout: Path) -> None:
        (checkout / "api" / "link").symlink_to("file")
        (checkout / "api" / "program").write_text("1")
        (checkout / "api" / "program").chmod(0o755)
        git(checkout, "add", ".")
        git(checkout, "commit", "-q", "-m", "second")
        assert look(checkout / "api").dirty is False
        git(checkout, "config", "core.fileMode", "false")
        (checkout / "api" / "program").chmod(0o644)
        assert look(checkout / "api").dirty is True
        (checkout / "api" / "program").chmod(0o755)
        (checkout / "api" / "link").unlink()
        (checkout / "api" / "link").symlink_to("program")
        assert look(checkout / "api").dirty is True

    def test_a_file_that_changed_after_it_was_looked_at(self, checkout: Path) -> None:
        tree = source_tree(checkout / "api")
        (file,) = tree.files
        other = replace(tree, files=(replace(file, sha256="0" * 64),))
        assert revision.look(other).dirty is True

    def test_a_repository_that_names_by_sha256(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "-q", "--object-format=sha256")
        (tmp_path / "file").write_text("1")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", "first")
        found = look(tmp_path)
        assert (len(found.commit or ""), found.dirty) == (64, False)
        (tmp_path / "file").write_text("2")
        assert look(tmp_path).dirty is True

    def test_a_filter_of_the_checkout_does_not_run(self, checkout: Path, tmp_path: Path) -> None:
        git(checkout, "config", "filter.mine.clean", f"touch {tmp_path}/ran; cat")
        (checkout / ".git" / "info" / "attributes").write_text("* filter=mine\n")
        os.utime(checkout / "api" / "file", (1, 1))
        assert look(checkout / "api").dirty is False
        assert not (tmp_path / "ran").exists()
        git(checkout, "status")
        assert (tmp_path / "ran").exists(), "git itself would run it"

    def test_nothing_is_written_to_the_checkout(self, checkout: Path) -> None:
        index = checkout / ".git" / "index"
        os.utime(checkout / "api" / "file", (1, 1))
        before = index.stat()
        assert look(checkout).dirty is False
        assert (index.stat().st_mtime_ns, index.stat().st_ino) == (
            before.st_mtime_ns,
            before.st_ino,
        )
