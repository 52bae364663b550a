"""A firewall is kept only when a new connection was let in; else what was there is back."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from deploy.errors import HeadLostError
from deploy.phases import firewall
from deploy.phases.errors import PhaseError
from tests.deploy.phases.fakes import FakeMember, Time, crew

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.phases.member import Ended

RULES = """\
table inet sealift {
  chain input {
    type filter hook input priority filter; policy drop;
    tcp dport 22 accept comment "ssh"
    tcp dport 8000-8010 accept comment "web"
    udp dport 53 accept comment "web"
    ip saddr @heads4 jump heads
  }
}
"""


@dataclass
class Wall:
    """One head's firewall, as the scripts find and leave it."""

    lets_in: bool = True
    kept: str = "old"
    loaded: str = "old"
    time: Time = field(default_factory=Time)
    until: float | None = None
    """When the timer puts back what is kept; None where none is armed."""
    takes: float = 0.2
    """Seconds until a new connection is there."""
    steps: list[str] = field(default_factory=list)

    @property
    def armed(self) -> bool:
        if self.until is not None and self.time.at >= self.until:
            self.loaded, self.until = self.kept, None
        return self.until is not None

    def answer(self, argv: tuple[str, ...], _input: str) -> Ended | str | None:
        match argv:
            case ("sh", "-c", firewall.LOOK):
                armed = self.armed
                rules = "same" if self.kept == "new" else "other"
                table = "same" if self.loaded == self.kept else "other"
                return f"{rules} {table} {'yes' if armed else 'no'}\n"
            case ("sh", "-c", firewall.TRY, "sh", seconds):
                self.loaded, self.until = "new", self.time.at + int(seconds)
                self.steps.append("try")
            case ("sh", "-c", firewall.KEEP):
                if not self.armed:
                    return firewall.LATE
                self.kept, self.until = "new", None
                self.steps.append("keep")
                return firewall.KEPT
            case ("sh", "-c", firewall.REVERT):
                self.loaded, self.until = self.kept, None
                self.steps.append("revert")
        return ""


@dataclass
class Gate(FakeMember):
    """A head that lets new connections in, or does not."""

    wall: Wall = field(default_factory=Wall)

    def reconnect(self) -> None:
        self.wall.steps.append("reconnect")
        self.wall.time.at += self.wall.takes
        if not self.wall.lets_in:
            raise HeadLostError("no new connection", where=self.name)


def gate(wall: Wall) -> Gate:
    return Gate("head1", answer=wall.answer, wall=wall)


def test_rules_are_tried_confirmed_by_a_new_connection_and_kept_in_that_order() -> None:
    wall = Wall()
    member = gate(wall)
    firewall.settle(crew("infrastructure", member), member)
    assert wall.steps == ["try", "reconnect", "keep"]
    firewall.settle(crew("infrastructure", member), member)
    assert wall.steps == ["try", "reconnect", "keep"], "they were loaded again"


def test_rules_that_lock_out_are_taken_back_and_never_kept() -> None:
    wall = Wall(lets_in=False)
    member = gate(wall)
    with pytest.raises(PhaseError, match="lets no connection in"):
        firewall.settle(crew("infrastructure", member), member)
    assert wall.steps == ["try", "reconnect", "revert"]
    assert (wall.kept, wall.loaded) == ("old", "old")


def test_a_head_that_is_lost_keeps_its_timer_armed() -> None:
    wall = Wall(lets_in=False)
    member = gate(wall)

    def lost(argv: tuple[str, ...], text: str) -> Ended | str | None:
        if argv[2] == firewall.REVERT:
            raise HeadLostError("gone", where="head1")
        return wall.answer(argv, text)

    member.answer = lost
    with pytest.raises(PhaseError, match="lets no connection in"):
        firewall.settle(crew("infrastructure", member), member)
    assert wall.armed


def test_a_connection_that_the_rules_from_before_let_in_confirms_nothing() -> None:
    wall = Wall(takes=firewall.TRIAL_SECONDS + 1.0)
    member = gate(wall)
    with pytest.raises(PhaseError, match="while the firewall's new rules were on trial"):
        firewall.settle(crew("infrastructure", member), member)
    assert (wall.kept, wall.loaded) == ("old", "old")


def test_a_head_that_does_not_say_that_it_kept_the_rules_did_not() -> None:
    wall = Wall()
    member = gate(wall)

    def mute(argv: tuple[str, ...], text: str) -> Ended | str | None:
        return "" if argv[2] == firewall.KEEP else wall.answer(argv, text)

    member.answer = mute
    with pytest.raises(PhaseError, match="on trial"):
        firewall.settle(crew("infrastructure", member), member)
    assert (wall.kept, wall.loaded) == ("old", "old")


def test_a_trial_that_nobody_confirmed_is_made_again() -> None:
    wall = Wall(kept="new", loaded="new", until=1010.0)
    member = gate(wall)
    firewall.settle(crew("infrastructure", member), member)
    assert wall.steps == ["try", "reconnect", "keep"]


NFT = """\
#!/bin/sh
case "$*" in
  --check*) ;;
  "-f "*) cat "$2" >@table@ ;;
  *) cat @table@ ;;
esac
"""
SYSTEMCTL = """\
#!/bin/sh
case "$1" in
  show) cat @timer@ 2>/dev/null || echo dead ;;
  is-active) [ -e @timer@ ] ;;
  stop) rm -f @timer@ ;;
esac
"""
SYSTEMD_RUN = """\
#!/bin/sh
echo waiting >@timer@
"""


@dataclass
class Scripts:
    """The scripts as a head runs them, with a kernel and a systemd that are files."""

    folder: Path

    def __post_init__(self) -> None:
        self.state.mkdir()
        (self.folder / "bin").mkdir()
        for name, text in (("nft", NFT), ("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
            program = self.folder / "bin" / name
            for word in ("table", "timer"):
                text = text.replace(f"@{word}@", str(self.folder / word))  # noqa: PLW2901
            program.write_text(text)
            program.chmod(0o755)
        (self.folder / "table").write_text("old\n")
        (self.state / "rules.nft").write_text("old\n")
        (self.folder / "wanted").write_text("new\n")

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def loaded(self) -> str:
        return (self.folder / "table").read_text().strip()

    @property
    def kept(self) -> str:
        return (self.state / "rules.nft").read_text().strip()

    def fire(self, seen: str = "") -> None:
        """Let the timer put the confirmed rules back; `seen` is what systemd says of it then."""
        (self.folder / "table").write_text((self.state / "rules.nft").read_text())
        (self.folder / "timer").unlink()
        if seen:
            (self.folder / "timer").write_text(f"{seen}\n")

    def run(self, script: str, *args: str) -> str:
        script = script.replace("PATH=", f"PATH={self.folder}/bin:", 1)
        script = script.replace(firewall.STATE, str(self.state))
        script = script.replace(firewall.WANTED, str(self.folder / "wanted"))
        argv = ("sh", "-c", script, "sh", *args)
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()


def test_the_script_keeps_what_was_tried(tmp_path: Path) -> None:
    head = Scripts(tmp_path)
    head.run(firewall.TRY, "30")
    assert (head.loaded, head.kept) == ("new", "old")
    (tmp_path / "wanted").write_text("newer\n")
    assert head.run(firewall.KEEP) == firewall.KEPT
    assert (head.loaded, head.kept) == ("new", "new")
    assert not (tmp_path / "timer").exists()


@pytest.mark.parametrize("seen", ["", "elapsed", "running", "waiting"])
def test_the_script_keeps_nothing_that_the_timer_took_back(tmp_path: Path, seen: str) -> None:
    head = Scripts(tmp_path)
    head.run(firewall.TRY, "30")
    head.fire(seen)
    assert head.run(firewall.KEEP) == firewall.LATE
    assert (head.loaded, head.kept) == ("old", "old")


def test_the_script_keeps_nothing_while_its_timer_fires(tmp_path: Path) -> None:
    head = Scripts(tmp_path)
    head.run(firewall.TRY, "30")
    (tmp_path / "timer").write_text("running\n")
    assert head.run(firewall.KEEP) == firewall.LATE
    assert (head.loaded, head.kept) == ("old", "old")


def test_what_is_open_to_anyone_is_read_from_the_rules() -> None:
    assert firewall.closed([22, 2222, 8005], RULES) == (2222,)
    assert firewall.closed([53], RULES) == (53,), "a UDP port lets no TCP in"
    assert firewall.closed([2222], "table inet sealift\ndelete table inet sealift\n") == ()


def test_an_answer_that_is_none_is_refused() -> None:
    with pytest.raises(PhaseError, match="does not tell"):
        firewall.parse("sh: 1: nft: not found")
