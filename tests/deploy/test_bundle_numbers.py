"""Numbers of bundles only rise, and what was let through in spite of that is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.bundle import numbers
from deploy.bundle.numbers import (
    Arrival,
    ForeignBundleError,
    Numbers,
    NumbersError,
    OlderBundleError,
)

if TYPE_CHECKING:
    from pathlib import Path

A, B = "a" * 64, "b" * 64


def arrival(number: int, digest: str = A, *allowed: str) -> Arrival:
    return Arrival(number, 1000.0 + number, "somebody@host", digest, "top", "release", allowed)


def came(*arrivals: Arrival) -> Numbers:
    return Numbers("hpc1", arrivals)


def test_a_site_that_received_nothing_takes_any_number() -> None:
    assert came().check(site="hpc1", number=7, digest=A) == ()


def test_the_next_may_leave_numbers_out() -> None:
    assert came(arrival(3)).check(site="hpc1", number=9, digest=B) == ()


def test_the_newest_may_come_again() -> None:
    assert came(arrival(2), arrival(3)).check(site="hpc1", number=3, digest=A) == ()


def test_the_highest_is_not_forgotten_however_many_older_ones_are_let_in() -> None:
    found = came(arrival(9))
    for turn in range(2 * numbers.MOST):
        found = found.and_then(arrival(1 + turn % 2, (A, B)[turn % 2], "older"))
    assert found.highest == 9
    assert len(found.arrivals) == numbers.MOST + 1


@pytest.mark.parametrize(("number", "digest"), [(2, A), (1, B), (3, B)])
def test_what_is_not_newer_is_refused(number: int, digest: str) -> None:
    """Also another bundle under the number of the newest."""
    found = came(arrival(2), arrival(3))
    with pytest.raises(OlderBundleError) as caught:
        found.check(site="hpc1", number=number, digest=digest)
    assert (caught.value.expected, caught.value.got) == ("a number above 3", str(number))
    asked = found.check(site="hpc1", number=number, digest=digest, allow_older=True)
    assert asked == ("older",)


def test_what_is_for_another_site_is_refused() -> None:
    with pytest.raises(ForeignBundleError) as caught:
        came().check(site="hpc2", number=1, digest=A)
    assert (caught.value.expected, caught.value.got) == ("hpc1", "hpc2")
    assert came().check(site="hpc2", number=1, digest=A, allow_older=True) == ("foreign",)


def test_what_was_let_through_takes_nothing_back() -> None:
    """Neither does an older one lower the bar, nor one of another site raise it."""
    found = came(arrival(5), arrival(2, B, "older"), arrival(90, B, "foreign"))
    assert found.highest == 5
    assert found.check(site="hpc1", number=6, digest=B) == ()
    with pytest.raises(OlderBundleError):
        found.check(site="hpc1", number=4, digest=B)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = came(arrival(1), arrival(2, B, "older"))
    numbers.save(tmp_path, found)
    assert numbers.load(tmp_path, "hpc1") == found
    assert numbers.load(tmp_path, "hpc2") == Numbers("hpc2")
    assert numbers.newest(tmp_path) == arrival(2, B, "older")
    assert numbers.only_site(tmp_path) == "hpc1"
    numbers.save(tmp_path, Numbers("hpc2"))
    with pytest.raises(numbers.RefusedBundleError, match="several sites"):
        numbers.only_site(tmp_path)


def test_what_has_no_number_is_for_this_site_too(tmp_path: Path) -> None:
    numbers.check_site(tmp_path, "hpc1", "hpc1")
    numbers.check_site(tmp_path, None, "hpc2")
    with pytest.raises(ForeignBundleError):
        numbers.check_site(tmp_path, "hpc1", "hpc2")
    numbers.save(tmp_path, Numbers("hpc1"))
    with pytest.raises(ForeignBundleError):
        numbers.check_site(tmp_path, None, "hpc2")


def test_the_same_again_is_not_written_down_twice() -> None:
    assert came(arrival(1)).and_then(arrival(1)) == came(arrival(1))
    assert len(came(arrival(1)).and_then(arrival(1, B)).arrivals) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format":2,"site":"hpc1","log":[]}',
        '{"format":1,"site":"hpc2","log":[]}',
        '{"format":1,"site":"hpc1","log":[{}]}',
        '{"format":1,"site":"hpc1","log":[{"number":"9"}]}',
    ],
)
def test_a_damaged_record_lets_nothing_in(tmp_path: Path, text: str) -> None:
    file = numbers.place(tmp_path, "hpc1")
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(NumbersError):
        numbers.load(tmp_path, "hpc1")


@pytest.mark.parametrize("site", ["", "..", "../x", "a/b", "a\n", ".hidden", "a" * 65])
def test_what_cannot_be_a_site_names_no_file(tmp_path: Path, site: str) -> None:
    with pytest.raises(ForeignBundleError):
        numbers.load(tmp_path, site)
