from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.phases.errors import NoPhasesError, NoSuchPhaseError
from deploy.phases.selection import select, spelled

KNOWN = {"infrastructure": 0, "storage": 1, "database": 2, "redis": 3, "slurm": 4}
NAMES = tuple(KNOWN)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0-4", NAMES),
        ("all", NAMES),
        ("2", ("database",)),
        ("redis,storage", ("storage", "redis")),
        ("1, 3", ("storage", "redis")),
        ("2-3,storage", ("storage", "database", "redis")),
        ("3-7", ("redis", "slurm")),
    ],
)
def test_what_words_mean(text: str, names: tuple[str, ...]) -> None:
    assert select(text, KNOWN).names == names


def test_seven_is_there_and_stands_for_nothing() -> None:
    assert select("7", KNOWN).names == ()
    assert select("7", KNOWN).unused == (7,)
    assert select("4-7", KNOWN).unused == (7,)
    assert select("all", KNOWN).unused == ()


@pytest.mark.parametrize("text", ["5", "9", "0-9", "4-2", "", "0-4-7", "postgres", "5-6"])
def test_what_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(NoSuchPhaseError) as caught:
        select(text, KNOWN)
    assert "1 storage" in (caught.value.got or "")


def test_a_near_name_is_told() -> None:
    with pytest.raises(NoSuchPhaseError, match="storag") as caught:
        select("storag", KNOWN)
    assert caught.value.hint == "did you mean 'storage'?"


def test_a_release_without_phases_says_what_to_write() -> None:
    with pytest.raises(NoPhasesError) as caught:
        select("all", {})
    assert "cluster:" in (caught.value.hint or "")


def test_from_and_skip_leave_out() -> None:
    assert select("all", KNOWN, begin="2").names == ("database", "redis", "slurm")
    assert select("0-4", KNOWN, begin="storage", skip=["3", "slurm"]).names == (
        "storage",
        "database",
    )
    with pytest.raises(NoSuchPhaseError):
        select("all", KNOWN, skip=["postgres"])


@given(st.sets(st.sampled_from(NAMES), min_size=1))
def test_what_is_spelled_means_the_same(names: set[str]) -> None:
    assert set(select(spelled(names, KNOWN), KNOWN).names) == names
