"""What commands refuse, each with one error and no traceback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from store.local import LocalStore
from tests.sealift.conftest import SEALIFT

if TYPE_CHECKING:
    from tests.sealift.conftest import Folder

REPOSITORY = Path(__file__).resolve().parents[2]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("kind", ["a named pipe", "a socket"])
@pytest.mark.parametrize("inside", [True, False], ids=["in a folder", "itself"])
def test_what_no_store_can_hold_is_not_added(
    folder: Folder, kind: str, monkeypatch: pytest.MonkeyPatch, *, inside: bool
) -> None:
    monkeypatch.chdir(folder.root)  # the name of a socket must be short
    tree = folder.root / "tree"
    tree.mkdir()
    (os.mkfifo if kind == "a named pipe" else make_socket)(tree.relative_to(folder.root) / "it")
    done = folder.run("store", "add", "tree" if inside else "tree/it")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: it is {kind}")
    assert "at        tree/it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_is_not_read_to_its_end(folder: Folder) -> None:
    done = folder.run("store", "add", "/dev/zero")
    assert done.returncode == 2
    assert "is a device" in done.stderr


def test_a_tree_with_links_is_added(folder: Folder) -> None:
    (folder.root / "tree").mkdir()
    (folder.root / "tree" / "link").symlink_to("nowhere")
    assert folder.run("store", "add", "tree").returncode == 0


def test_in_a_folder_that_was_deleted(folder: Folder) -> None:
    gone = folder.root / "gone"
    gone.mkdir()
    argv = ["sh", "-c", 'rmdir "$PWD"; exec "$0" "$@"', str(SEALIFT), "list"]
    done = subprocess.run(argv, cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the working directory is no longer there")
    assert "Traceback" not in done.stderr


@pytest.fixture
def heads(folder: Folder) -> Folder:
    """A site with heads that nobody reaches."""
    with (folder.root / "sealift.yaml").open("a") as file:
        file.write("hosts:\n  head[1-3]: {address: '{name}.invalid'}\n")
    return folder


def test_a_canary_that_is_none_of_the_heads(heads: Folder) -> None:
    done = heads.run("rollback", "--host", "head[1-3]", "--canary", "head9", "--yes")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the canary 'head9' is none of the heads  [bad-input]")
    assert "did you mean 'head3'?" in done.stderr


@pytest.mark.parametrize("option", [["--canary", "head2"], ["--batch", "2"], ["--allow-missing"]])
def test_what_is_for_several_heads_is_not_ignored_on_one(folder: Folder, option: list[str]) -> None:
    done = folder.run("rollback", *option, "--yes")
    assert done.returncode == 2
    assert f"{option[0]} is for heads that are reached by SSH" in done.stderr


def test_a_head_to_seal_through_that_is_none(heads: Folder) -> None:
    done = heads.run("secret", "rekey", "--through", "head9")
    assert done.returncode == 2
    assert "head9" in done.stderr
    assert "did you mean" in done.stderr


def test_fewer_lines_than_none(folder: Folder) -> None:
    done = folder.run("logs", "api", "-n", "-5")
    assert done.returncode == 2
    assert "-5" in done.stderr


@pytest.fixture
def release(folder: Folder) -> Path:
    """Give the one release among the recipes of the example; it is not called so."""
    shutil.copytree(REPOSITORY / "recipes", folder.root / "recipes", dirs_exist_ok=True)
    return (folder.root / "recipes" / "release.yaml").rename(
        folder.root / "recipes" / "platform.yaml"
    )


def test_the_release_is_the_recipe_of_that_kind(folder: Folder, release: Path) -> None:
    assert release.exists()
    done = folder.run("deploy", "--yes")
    assert done.returncode == 2
    assert "platform was not built yet" in done.stderr


def test_of_several_releases_one_must_be_named(folder: Folder, release: Path) -> None:
    folder.recipe("trial", release.read_text())
    done = folder.run("deploy", "--yes")
    assert done.returncode == 2
    assert "there are 2 releases: platform, trial" in done.stderr
    assert "--release NAME" in done.stderr
    assert "trial was not built yet" in folder.run("deploy", "--yes", "--release", "trial").stderr


def test_gc_takes_old_logs_and_locks_that_nobody_holds(folder: Folder) -> None:
    with LocalStore.open(folder.root / "store") as store:
        log = store.var_dir / "log" / "old.log"
        log.write_text("old")
        os.utime(log, (time.time() - 40 * 86_400,) * 2)
        lock = store.var_dir / "locks" / f"{'a' * 64}.lock"
        lock.touch()
    assert folder.run("store", "gc", "--dry-run").returncode == 0
    assert log.exists()
    assert lock.exists()
    assert folder.run("store", "gc").returncode == 0
    assert not log.exists()
    assert not lock.exists()
