"""The first paths of a machine that has a shell: whole and right, or not there at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from store.bootstrap import SCRIPT, stream
from store.local import LocalStore
from tests.store.ends import Platform, moved, platform, push
from tests.store.trees import ODD, added, lay, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEEDED = ("sh", "tar", "sha256sum", "od", "tr", "mkdir", "mv", "rm", "chmod", "sync")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Platform]:
    made = platform(tmp_path.resolve() / "site")
    yield made
    made.source.close()


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a machine with little more than a shell."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return {"PATH": str(programs)}


def _run(site: Platform, data: bytes, bare: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    argv = ["sh", "-c", SCRIPT, "bootstrap", str(site.place)]
    return subprocess.run(argv, input=data, env=bare, capture_output=True, check=False)


def _left(site: Platform) -> list[str]:
    names = [each.name for each in site.place.iterdir()] if site.place.exists() else []
    return sorted(name for name in names if name != ".links")


def test_what_is_unpacked_is_what_was_sent(site: Platform, bare: dict[str, str]) -> None:
    done = _run(site, b"".join(stream(site.source, [site.first])), bare)
    assert (done.returncode, done.stdout) == (0, b"ready\n"), done.stderr
    closure = site.source.closure([site.first])
    assert _left(site) == sorted(str(info.path) for info in closure)
    for info in closure:
        assert read(site.place / str(info.path)) == read(site.source.real(info.path))
        for each in (site.place / str(info.path)).rglob("*"):
            twin = site.source.real(info.path) / each.relative_to(site.place / str(info.path))
            assert each.lstat().st_mode == twin.lstat().st_mode
    with LocalStore.open(site.place) as head:
        assert head.paths() == []
        pushed = push(site.source, head, [site.first])
        assert pushed.sent is not None
        assert pushed.sent.blobs == 0
        assert head.verify().clean


@pytest.mark.parametrize("tree", [b"", b"file", (b"program",), "link", {}, {b"l": "x"}, ODD])
def test_every_shape_of_path(tmp_path: Path, bare: dict[str, str], tree: object) -> None:
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as filled:
        path = added(filled, tree, "thing").path  # type: ignore[arg-type]
        source = moved(filled, "away")
    with source:
        made = Platform(source, source.store_dir, path, path)
        assert _run(made, b"".join(stream(source, [path])), bare).returncode == 0
        assert read(made.place / str(path)) == tree
        assert _run(made, b"".join(stream(source, [path])), bare).returncode == 0


def test_a_cut_leaves_nothing(site: Platform, bare: dict[str, str]) -> None:
    data = b"".join(stream(site.source, [site.first]))
    for cut in (0, 1, 511, 512, 5000, len(data) // 2, len(data) - 2000):
        done = _run(site, data[:cut], bare)
        assert done.returncode != 0, cut
        assert b"ready" not in done.stdout
        assert _left(site) == []


def test_a_changed_byte_leaves_nothing(site: Platform, bare: dict[str, str]) -> None:
    data = b"".join(stream(site.source, [site.first]))
    place = data.index(b"line 200 of a program")
    changed = data[:place] + b"L" + data[place + 1 :]
    done = _run(site, changed, bare)
    assert done.returncode != 0
    assert b"app.py" in done.stdout + done.stderr
    assert _left(site) == []


def test_negative_control_unchecked_it_is_put_in_place(
    site: Platform, bare: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = SCRIPT.replace("sha256sum --check --quiet --strict", "true")
    assert trusting != SCRIPT
    monkeypatch.setattr("tests.store.test_bootstrap.SCRIPT", trusting)
    with pytest.raises(AssertionError):
        test_a_changed_byte_leaves_nothing(site, bare)


def test_a_missing_file_leaves_nothing(site: Platform, bare: dict[str, str]) -> None:
    """A block of the archive is not there: the file that it began is another one's end."""
    data = b"".join(stream(site.source, [site.first]))
    name = data.index(b"app.py\x00")
    start = name - name % 512
    size = int(data[start + 124 : start + 135], 8)
    end = start + 512 + -(-size // 512) * 512
    done = _run(site, data[:start] + data[end:], bare)
    assert done.returncode != 0
    assert _left(site) == []


def test_what_is_there_and_right_stays(site: Platform, bare: dict[str, str]) -> None:
    """Services may be running from it."""
    data = b"".join(stream(site.source, [site.first]))
    assert _run(site, data, bare).returncode == 0
    before = {name: (site.place / name).lstat().st_ino for name in _left(site)}
    assert _run(site, data, bare).returncode == 0
    assert {name: (site.place / name).lstat().st_ino for name in _left(site)} == before


def test_what_is_there_and_wrong_is_replaced(site: Platform, bare: dict[str, str]) -> None:
    infos = site.source.closure([site.first])
    for info, wrong in zip(infos, (b"wrong", {}, {b"a": b"b"}, "away"), strict=False):
        site.place.mkdir(parents=True, exist_ok=True)
        lay(site.place / str(info.path), wrong)  # type: ignore[arg-type]
    assert _run(site, b"".join(stream(site.source, [site.first])), bare).returncode == 0
    for info in infos:
        assert read(site.place / str(info.path)) == read(site.source.real(info.path))
    assert _left(site) == sorted(str(info.path) for info in infos)


def test_a_registered_store_is_left_whole(site: Platform, bare: dict[str, str]) -> None:
    with LocalStore.open(site.place) as head:
        push(site.source, head, [site.first], root="pushed")
        data = b"".join(stream(site.source, [site.second]))
        assert _run(site, data, bare).returncode == 0
        assert head.verify().clean
        push(site.source, head, [site.second], root="pushed")
        assert head.verify().clean


def test_what_a_kill_leaves_is_swept(site: Platform, bare: dict[str, str]) -> None:
    argv = ["sh", "-c", SCRIPT, "bootstrap", str(site.place)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=bare, start_new_session=True) as script:
        assert script.stdin is not None
        script.stdin.write(b"".join(stream(site.source, [site.first]))[:20_000])
        script.stdin.flush()
        deadline = time.monotonic() + 10
        while not _left(site) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(script.pid, signal.SIGKILL)
        script.stdin.close()
    assert len(_left(site)) == 1
    with LocalStore.open(site.place) as head:
        assert push(site.source, head, [site.first]).failed == []
        assert head.verify().clean
        assert _left(site) == sorted(str(info.path) for info in head.paths())
