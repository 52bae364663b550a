"""The builder's numbers: the same bundle keeps its own, and all others rise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.bundle.issued import FOLDER, HIGHEST, Issue, IssuedError, contents, opened
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = contents("one"), contents("two")


def issue(var_dir: Path, made_of: str, *, number: int | None = None, now: float = 5.5) -> Issue:
    with opened(var_dir, "hpc1") as numbers:
        return numbers.issue("top", made_of, number=number, now=now)


def test_the_same_contents_keep_number_and_time(tmp_path: Path) -> None:
    first = issue(tmp_path, ONE)
    assert first == Issue(1, 5, "top", ONE)
    assert issue(tmp_path, ONE, now=99.0) == first


def test_what_is_new_gets_the_next_number(tmp_path: Path) -> None:
    assert [issue(tmp_path, each).number for each in (ONE, TWO)] == [1, 2]


def test_what_was_there_before_comes_after_what_came_since(tmp_path: Path) -> None:
    assert [issue(tmp_path, each).number for each in (ONE, TWO, ONE)] == [1, 2, 3]
    assert issue(tmp_path, TWO, number=2).number == 2


def test_a_number_may_only_rise(tmp_path: Path) -> None:
    assert issue(tmp_path, ONE, number=7).number == 7
    assert issue(tmp_path, TWO).number == 8
    for low in (3, 7, 8):
        with pytest.raises(InputError, match="only rise"):
            issue(tmp_path, contents("three"), number=low)
    assert issue(tmp_path, contents("three")).number == 9


def test_what_a_site_tells_of_raises_no_number_by_itself(tmp_path: Path) -> None:
    """It may be a lie, and numbers never fall."""
    issue(tmp_path, ONE)
    with opened(tmp_path, "hpc1") as numbers:
        with pytest.raises(InputError, match="not in the record") as caught:
            numbers.issue("top", TWO, number=None, now=1, received=9)
        assert "--number 10" in str(caught.value.hint)
        with pytest.raises(InputError, match="only rise"):
            numbers.issue("top", TWO, number=9, now=1, received=9)
        assert numbers.issue("top", TWO, number=10, now=1, received=9).number == 10
        assert numbers.issue("top", ONE, number=None, now=1, received=10).number == 11


def test_a_number_that_no_reader_takes_is_not_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="so high a number"):
        issue(tmp_path, ONE, number=HIGHEST + 1)
    assert issue(tmp_path, ONE, number=HIGHEST).number == HIGHEST


def test_sites_count_for_themselves(tmp_path: Path) -> None:
    issue(tmp_path, ONE)
    with opened(tmp_path, "hpc2") as numbers:
        assert numbers.issue("top", TWO, number=None, now=1).number == 1


RECORD = '{"format": 1, "site": "hpc1", "log": []}'
ROW = '{"number": "1", "created": 1, "top": "t", "contents": "c"}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        RECORD.replace("1,", "2,"),
        RECORD.replace("hpc1", "hpc2"),
        RECORD.replace("[]", f"[{ROW}]"),
        RECORD.replace("[]", "[7]"),
    ],
)
def test_a_damaged_record_gives_no_numbers(tmp_path: Path, text: str) -> None:
    issue(tmp_path, ONE)
    (tmp_path / FOLDER / "hpc1.json").write_text(text)
    with pytest.raises(IssuedError):
        issue(tmp_path, TWO)
