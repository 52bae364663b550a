"""Answers of several heads: equal ones once, and how heads differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.ssh_errors import UnreachableError
from sealift import fleet, head_view
from sealift.fold import fold, line, sheets
from sealift.site import Location
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def head(release: str = "a", pid: int = 1, *, healthy: bool = True, number: int = 4) -> Any:
    return {
        "head": "x",
        "url": "",
        "generation": number,
        "release": f"/s/{release * 32}-release",
        "created": 1.0,
        "healthy": healthy,
        "changing": None,
        "interrupted": None,
        "certificates": [],
        "services": [
            {
                "name": "api",
                "phase": "running" if healthy else "failed",
                "pid": pid,
                "health": "healthy" if healthy else "no answer",
                "since": 2.0 * pid,
                "path": "/s/b-api",
            }
        ],
    }


def test_equal_answers_stand_once_under_their_heads() -> None:
    assert fold({"head1": "a", "head2": "b", "head3": "b"}) == [("head[2-3]", "b"), ("head1", "a")]
    assert line({"head1": "a", "head2": "a"}) == "a"
    assert line({"head1": "a", "head2": "b"}) == "head1: a; head2: b"
    rule = "-" * 15
    assert list(sheets({"n1": "x\ny", "n2": "x\ny"})) == [rule, "n[1-2] (2)", rule, "x", "y"]


def test_heads_that_agree_share_a_sheet_whatever_their_pids() -> None:
    found = {f"head{n}": head(pid=n) for n in (1, 2, 3)}
    lines = list(head_view.statuses(found, {}))
    assert lines[1] == "head[1-3] (3)"
    assert lines[3] == "aaaaaaaa-release  healthy  generation 4"
    assert sum("api" in each for each in lines) == 1
    assert not any("skew" in each for each in lines)
    assert head_view.healthy(found, {})


def test_numbers_of_generations_are_a_heads_own() -> None:
    found = {"head1": head(number=9), "head2": head(number=5)}
    lines = list(head_view.statuses(found, {}))
    assert lines[3] == "aaaaaaaa-release  healthy  generation head1: 9; head2: 5"
    assert head_view.healthy(found, {})


def test_skew_is_said_and_is_not_well() -> None:
    found = {"head1": head("a"), "head2": head("a"), "head3": head("b")}
    lines = list(head_view.statuses(found, {}))
    assert "skew: head[1-2]: aaaaaaaa-release; head3: bbbbbbbb-release" in lines
    assert lines[-1] == "to bring them together: sealift deploy --host head[1-3]"
    assert not head_view.healthy(found, {})


def test_a_head_that_is_not_well_or_not_there() -> None:
    lost = {"head2": UnreachableError("it does not answer", where="head2", hint="look")}
    lines = list(head_view.statuses({"head1": head(healthy=False)}, lost))
    assert "aaaaaaaa-release  not well  generation 4" in lines
    assert "head2: it does not answer; look" in lines
    assert not head_view.healthy({"head1": head()}, lost)
    assert not head_view.healthy({"head1": head(healthy=False)}, {})


def chosen(tmp_path: Path, hosts: str, wanted: str | None) -> list[str] | None:
    file = tmp_path / "sealift.yaml"
    file.write_text(f"store_dir: {tmp_path}/store\nhosts: {hosts}\n")
    with Location(config=file).open() as site:
        found = fleet.chosen(site, wanted)
    return None if found is None else [host.name for host in found]


HEADS = "{'head[1-3]': {address: 'host-{name}'}}"


def test_who_is_meant(tmp_path: Path) -> None:
    assert chosen(tmp_path, HEADS, "head[1-2]") == ["head1", "head2"]
    assert chosen(tmp_path, "{head1: {address: a}}", None) == ["head1"]
    assert chosen(tmp_path, "{local: {port: 8080}}", None) is None
    assert chosen(tmp_path, "{local: {port: 8080}, head1: {address: a}}", None) is None


@pytest.mark.parametrize("wanted", [None, "", "head[7-9]", "head1!head1", "@nobody"])
def test_nobody_is_never_everybody(tmp_path: Path, wanted: str | None) -> None:
    with pytest.raises(InputError):
        chosen(tmp_path, HEADS, wanted)


def test_this_machine_and_others_are_not_changed_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="together"):
        chosen(tmp_path, "{local: {port: 8080}, head1: {address: a}}", "local,head1")
