"""What is quoted of a log, what of it may reach a terminal, and how long logs are kept."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from builders.build import BuildError
from builders.logs import AGE, COLUMNS, last_lines, log_file, newest_log, prune, quote, writing
from tests.builders.workbench import BUILDERS, Bench, shell, works

if TYPE_CHECKING:
    from pathlib import Path

QUOTED = {
    "a colour": ("\x1b[1;31mred\x1b[0m\n", "red"),
    "a title": ("\x1b]0;owned\x07text", "text"),
    "a link": ("\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\", "here"),
    "one that never ends": ("\x1b]0;owned", ""),
    "the eighth bit": ("\x9b2Jtext\x9d0;title\x9cmore", "textmore"),
    "the whole screen": ("\x1bc\x1b[2J\x1b[Htext", "text"),
    "a bell and a backspace": ("a\x07b\x08c\x00d", "abcd"),
    "right to left": ("user\u202etxt.exe", "usertxt.exe"),
    "a tab": ("a\tb", "a b"),
    "a progress bar": ("10%\r50%\r100%\r\n", "100%"),
    "letters of all kinds": ("größe 漢字 🙂", "größe 漢字 🙂"),
}


@pytest.mark.parametrize(("line", "shown"), QUOTED.values(), ids=QUOTED)
def test_nothing_steers_the_terminal(line: str, shown: str) -> None:
    assert quote(line) == shown


def test_a_long_line_is_cut() -> None:
    assert quote("y" * COLUMNS) == "y" * COLUMNS
    assert quote("y" * 5_000_000) == "y" * (COLUMNS - 1) + "…"
    assert quote("\x1b[31my\x1b[0m" * 5_000) == "y" * (COLUMNS - 1) + "…"


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    assert last_lines(log, 2) == []
    log.write_text("one\ntwo\n\nthree")
    assert last_lines(log, 2) == ["", "three"]
    log.write_text("first\n" * 1_000_000 + "last\n")
    assert last_lines(log, 3) == ["first", "first", "last"]
    log.write_text("begin\n" + "y" * 5_000_000)
    assert last_lines(log, 3) == ["…" + "y" * (COLUMNS - 2) + "…"]


@pytest.mark.sandbox
@pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")
def test_the_error_of_a_build_that_shouts(fresh: Bench) -> None:
    step = shell(
        "loud",
        r"printf '\033]0;owned\007\033[31mred\033[0m\n'; "
        "dd if=/dev/zero bs=5000000 count=1 status=none; exit 1",
    )
    [failure] = fresh.build([step]).failures
    assert isinstance(failure.error, BuildError)
    assert sum(map(len, failure.error.lines)) < 20 * COLUMNS
    assert "".join(failure.error.lines).isprintable()
    log = newest_log(fresh.store, "loud")
    assert log is not None
    assert b"\x1b[31mred" in log.read_bytes()


def test_a_reason_says_nothing_to_the_terminal(fresh: Bench) -> None:
    def fail(build: object) -> None:
        raise build.error("\x1b[31mno\x1b[0m")  # type: ignore[attr-defined]

    [failure] = Bench(fresh.store, {**BUILDERS, "shell": fail}).build([shell("a", "")]).failures
    assert failure.error.reason == "a: no"


def test_old_logs_go_but_the_newest_of_a_step_stays(fresh: Bench) -> None:
    long_ago = time.time() - AGE - 60
    for digest in ("old", "newest", "young"):
        with writing(fresh.store, f"step-{digest == 'young'}", digest) as log:
            log.write(digest)
    for digest in ("old", "newest"):
        os.utime(log_file(fresh.store, digest), (long_ago, long_ago))
    with writing(fresh.store, "step-True", "younger"):
        pass
    assert prune(fresh.store) == 1
    left = {file.stem for file in (fresh.store.var_dir / "log").glob("*.log")}
    assert left == {"newest", "young", "younger"}
    assert prune(fresh.store) == 0
