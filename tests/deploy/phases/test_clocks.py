"""Which clock is off, and what chrony tells, by answers of a real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.phases import clocks
from deploy.phases.clocks import Reading
from deploy.phases.errors import PhaseError


def readings(**ahead: float) -> dict[str, Reading]:
    return {head: Reading(1000.0 + value, 999.9, 1000.1) for head, value in ahead.items()}


def test_the_head_that_is_off_is_named_and_not_the_others() -> None:
    assert clocks.apart(readings(head1=0, head2=0.2, head3=600)) == pytest.approx({"head3": 599.8})
    assert set(clocks.apart(readings(head1=-600, head2=0, head3=1))) == {"head1"}


def test_of_two_heads_nobody_knows_which_one_is_off() -> None:
    assert set(clocks.apart(readings(head1=0, head2=45))) == {"head1", "head2"}
    assert clocks.apart(readings(head1=0, head2=20)) == {}


def test_the_clock_of_the_operator_does_not_count() -> None:
    assert clocks.apart(readings(head1=7200, head2=7200.5, head3=7199)) == {}


@given(st.dictionaries(st.sampled_from("abcdefg"), st.floats(-1e6, 1e6), max_size=7))
def test_heads_that_are_near_one_another_are_all_right(ahead: dict[str, float]) -> None:
    found = clocks.apart(readings(**ahead))
    if len(ahead) > 1 and max(ahead.values()) - min(ahead.values()) <= clocks.SKEW:
        assert found == {}
    if len(ahead) > 2 and max(ahead.values()) - min(ahead.values()) > 2 * clocks.SKEW + 1e-3:
        assert found


def test_a_container_may_not_set_its_clock() -> None:
    assert clocks.may_set("000001ffffffffff")
    assert not clocks.may_set("00000000fdecbfff")


def test_tracking_of_an_orphan_of_a_follower_and_of_nobody() -> None:
    orphan = (
        "7F7F0101,,10,1763911111.1,0.000000000,0.000000000,0.0,0.000,0.000,0.000,0.0,0.0,0.0,Normal"
    )
    assert clocks.follows(orphan) == "its own clock"
    follower = (
        "0A4E000B,10.78.0.11,11,1763911111.1,0.000012,-0.00001,0.00002,1.5,0.0,0.02,0.0001,0.0002,16.1,"
        "Normal"
    )
    assert clocks.follows(follower) == "10.78.0.11"
    nobody = "00000000,,0,0.000000000,0,0,0,0,0,0,1,1,0.0,Not synchronised"
    assert clocks.follows(nobody) is None
    with pytest.raises(PhaseError, match="whom it follows"):
        clocks.follows("506 Cannot talk to daemon\n")


def test_sources_that_were_never_reached_are_silent() -> None:
    text = (
        "^,*,10.78.0.11,10,4,377,8,0.000001,0.000001,0.0001\n"
        "^,?,10.78.0.12,0,4,0,4294967295,0.0,0.0,0.0\n"
    )
    found = clocks.sources(text)
    assert clocks.silent(found, ["10.78.0.11", "10.78.0.12", "10.78.0.13"]) == (
        "10.78.0.12",
        "10.78.0.13",
    )


@pytest.mark.parametrize("row", ["^,*,10.0.0.12,11,4,²,1,0,0,0", "^,*,10.0.0.12,11,4,9,1,0,0,0"])
def test_a_source_that_is_none_was_not_reached(row: str) -> None:
    assert clocks.sources(row) == ()
