"""Logs: the last lines of files of any size, and what is added while one looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy import logs
from deploy.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "var", tmp_path / "state")
    made.log_dir.mkdir(parents=True)
    (made.state("api") / "logs").mkdir(parents=True)
    return made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    lines=st.lists(st.text(st.characters(codec="ascii", categories=["L"])), max_size=30),
    count=st.integers(0, 40),
    chunk=st.integers(1, 50),
)
def test_tail(tmp_path: Path, lines: list[str], count: int, chunk: int) -> None:
    file = tmp_path / "a.log"
    file.write_text("".join(f"{each}\n" for each in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "CHUNK", chunk)
        assert list(logs.tail(file, count)) == (lines[-count:] if count else [])


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"\xff\xfe\r\nunfinished")
    assert logs.tail(file, 5) == ("\ufffd\ufffd", "unfinished")


def test_a_service_has_logs_in_its_state_too(layout: Layout) -> None:
    layout.log("api").write_text("printed\n")
    (layout.state("api") / "logs" / "error.log").write_text("traceback\n")
    (layout.state("api") / "logs" / "access.log").write_text("GET /\n")
    found = logs.last_lines(layout, "api", 5)
    assert [each.text for each in found] == ["traceback", "printed"]
    assert logs.last_lines(layout, "api", 5, since=4e9) == ()
    assert logs.last_lines(layout, "nobody", 5) == ()


def test_follow(layout: Layout) -> None:
    file = layout.log("api")
    file.write_text("one\ntwo\n")
    lines = (None if each is None else each.text for each in logs.follow(layout, "api", 1))
    assert next(lines) == "two"
    assert next(lines) is None
    with file.open("a") as stream:
        stream.write("three\nfo")
    assert next(lines) == "three"
    with file.open("a") as stream:
        stream.write("ur\n")
    assert next(lines) == "four"
    file.rename(file.with_name("api.log.1"))
    file.write_text("rotated\n")
    assert next(lines) == "rotated"
    (layout.state("api") / "logs" / "new.log").write_text("new file\n")
    assert next(lines) == "new file"
    file.write_text("")
    assert next(lines) is None
    file.write_text("cut\n")
    assert next(lines) == "cut"
