"""Answers of several heads: equal ones once, and how heads differ."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest

from deploy.events import Event, What
from deploy.release import Frontend, Release
from deploy.services import Changes
from deploy.ssh_errors import UnreachableError
from deploy.team import TeamError
from sealift import fleet, head_view, many
from sealift.commands import deploy as deploy_commands
from sealift.commands import head as head_commands
from sealift.fold import fold, line, sheets
from sealift.site import Location
from store.errors import InputError


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


class Asked:
    """A head that is asked, and does it or cannot be reached."""

    def __init__(self, name: str, *, up: bool = True) -> None:
        self.name = name
        self.up = up
        self.asked = 0

    def ask(self, *_: str) -> tuple[dict[str, str], ...]:
        self.asked += 1
        if not self.up:
            raise UnreachableError("it does not answer", where=self.name)
        return ({"event": "started", "name": "api"},)


def test_heads_after_one_that_failed_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sealift.yaml"
    file.write_text(f"store_dir: {tmp_path}/store\n")
    heads: Any = [Asked("head1"), Asked("head2", up=False), Asked("head3"), Asked("head4")]
    with Location(config=file).open() as site, pytest.raises(UnreachableError):
        many.in_turn(site, heads, ["restart"], as_json=False)
    assert [head.asked for head in heads] == [1, 1, 0, 0]
    said = capsys.readouterr().err
    assert "head3: no restart, because the one before failed" in said
    assert "head4: no restart" in said


@pytest.mark.parametrize(
    ("follow", "kind"), [(True, click.exceptions.Exit), (False, KeyboardInterrupt)]
)
def test_ctrl_c_is_how_following_ends(*, follow: bool, kind: type[BaseException]) -> None:
    with pytest.raises(kind), head_commands._until_ctrl_c(follow=follow):
        raise KeyboardInterrupt


def test_amounts_on_the_way_are_for_terminals_alone(capsys: pytest.CaptureFixture[str]) -> None:
    tell = deploy_commands.telling_of(as_json=False)
    tell("head1", Event(What.SENDING, "head1", "1 MB of 2 MB"))
    tell("head1", Event(What.PUSHED, "head1", ""))
    assert capsys.readouterr().err == ""
    tell("head1", Event(What.PUSHED, "head1", "3 paths"))
    assert "3 paths" in capsys.readouterr().err
    deploy_commands.telling_of(as_json=True)("head1", Event(What.PUSHED, "head1", ""))
    assert '"pushed"' in capsys.readouterr().out


def test_pages_are_among_what_was_done() -> None:
    changes = Changes(restarted=("api",))
    assert deploy_commands._touched(changes, ["dashboard (pages)"]) == "api, dashboard (pages)"
    assert deploy_commands._touched(Changes()) == "nothing had to be restarted"


def test_what_was_built_after_the_release_is_known(tmp_path: Path) -> None:
    file = tmp_path / "sealift.yaml"
    file.write_text(f"store_dir: {tmp_path}/store\n")
    (tmp_path / "recipes").mkdir()
    old, new = f"{tmp_path}/store/{'0' * 32}-pages", f"{tmp_path}/store/{'1' * 32}-pages"
    wanted = Release(tmp_path, {}, {"pages": Frontend("pages", Path(old), "web", ())}, None)
    with Location(config=file).open() as site:
        roots = site.store.var_dir / "gcroots"
        for name, path, moment in (("release", "r", 100), ("pages", new, 200)):
            (roots / name).symlink_to(path)
            os.utime(roots / name, (moment, moment), follow_symlinks=False)
        assert fleet.behind(site, wanted) == ("pages",)
        os.utime(roots / "pages", (50, 50), follow_symlinks=False)
        assert fleet.behind(site, wanted) == ()
        (roots / "pages").unlink()
        (roots / "pages").symlink_to(old)
        assert fleet.behind(site, wanted) == ()


def test_a_plan_with_a_dead_head_says_how_to_go_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = UnreachableError("it does not answer", where="head2", hint="is it up?")

    def look(*_: object) -> None:
        raise TeamError({"head2": dead}, {"head1": None})

    monkeypatch.setattr("deploy.survey.survey", look)
    heads: Any = ()
    wish: Any = Parallel()
    with pytest.raises(UnreachableError) as caught:
        fleet.plan(heads, wish)
    assert caught.value.hint == "is it up?; to go on without it: --allow-missing"


class Parallel:
    """As much of a wish as is asked for."""

    parallel = 1


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
