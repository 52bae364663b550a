"""In which order systemd hears of new units, of new instances, and of those that they relieve."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy.handover import Move, Plan
from deploy.relieve import relieve
from deploy.systemd import Systemd
from deploy.units import Unit

if TYPE_CHECKING:
    import re
    from pathlib import Path

NEW = "1" * 32
OLD = f"sealift-alpha@{'0' * 32}.service"
FRESH = f"sealift-alpha@{NEW}.service"
UNIT = Unit(
    name="alpha",
    instance=NEW,
    user="sealift-alpha",
    socket="sealift-alpha.socket",
    concurrent=True,
    digest="d",
    socket_digest="s",
    probe=None,
)


class Heard(Systemd):
    """systemd as far as what it is told goes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(links=folder / "links", notes=folder / "notes", stale=folder / "stale")
        self.words: list[str] = []
        self.loaded = ""

    def _tell(self, *words: str, timeout: float, gone: re.Pattern[str] | None = None) -> str:
        del timeout, gone
        if words[0] == "show":
            return self.loaded
        self.words.append(" ".join(words))
        return ""


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    made = Heard(tmp_path)
    file = tmp_path / "unit"
    file.write_text("[Unit]\n")
    made.link({FRESH: file}, wait=False)
    assert made.words == []
    return made


def told(heard: Heard, move: Move, unit: Unit = UNIT) -> list[str]:
    plan = Plan({"alpha": unit}, {"alpha": move}, {"alpha": (OLD,)})
    relieve(heard, plan, {}, lambda _: None)
    return heard.words


def test_a_joining_instance_starts_while_units_are_read_anew(heard: Heard) -> None:
    words = told(heard, Move.BESIDE)
    begun, read, done = (
        words.index(each)
        for each in (f"start --no-block {FRESH}", "daemon-reload", f"start {FRESH}")
    )
    assert begun < read < done < words.index(f"stop --no-block {OLD}")
    assert f"restart {FRESH}" not in words


def test_one_that_systemd_knows_is_read_anew_first(heard: Heard) -> None:
    heard.loaded = f"Id={FRESH}\nActiveState=deactivating\n"
    words = told(heard, Move.BESIDE)
    assert words.index("daemon-reload") < words.index(f"restart {FRESH}")
    assert f"start --no-block {FRESH}" not in words


@pytest.mark.parametrize("move", [Move.SWAP, Move.AGAIN, Move.REOPEN, Move.BEGIN])
def test_what_else_is_done_waits_for_the_reading(heard: Heard, move: Move) -> None:
    words = told(heard, move, replace(UNIT, concurrent=move is not Move.SWAP))
    assert words[0] == "daemon-reload"


def test_units_are_read_anew_once(heard: Heard) -> None:
    assert told(heard, Move.BESIDE).count("daemon-reload") == 1
    heard.words.clear()
    assert "daemon-reload" not in told(heard, Move.KEEP)
