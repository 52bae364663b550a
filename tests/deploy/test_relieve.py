"""In which order systemd hears of new units, of new instances, and of those that they relieve."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy.handover import Move, Plan
from deploy.relieve import relieve
from deploy.systemd import FRESH as FRESHNESS
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


def test_what_is_asked_elsewhere_ends_when_the_web_server_knows(heard: Heard) -> None:
    web = replace(UNIT, name="nginx", socket="sealift-nginx.socket", probe="p")
    beta = f"sealift-beta@{'0' * 32}.service"
    plan = Plan(
        {"alpha": UNIT, "nginx": web},
        {"alpha": Move.REOPEN, "nginx": Move.RELOAD},
        {"alpha": (OLD,), "beta": (beta,)},
        ("sealift-beta.socket",),
    )
    heard.loaded = f"Id={web.service}\nActiveState=active\n"
    relieve(
        heard, plan, {}, lambda units: heard.words.extend(f"well {each.name}" for each in units)
    )
    words = heard.words
    last = next(each for each in words if each.startswith("stop") and beta in each)
    assert {beta, "sealift-beta.socket", f"sealift-beta-probe@{'0' * 32}.socket"} <= {*last.split()}
    order = [
        "stop sealift-alpha.socket",
        "start sealift-alpha.socket sealift-nginx.socket",
        f"restart {FRESH}",
        f"reload {web.service}",
        "well nginx",
        f"stop --no-block {OLD}",
        last,
    ]
    assert [each for each in words if each in order] == order


def test_a_link_stays_while_what_runs_needs_it(heard: Heard, tmp_path: Path) -> None:
    file, names = tmp_path / "unit", [FRESH, "sealift-alpha-probe@.socket", "sealift-beta.socket"]
    links = tmp_path / "links"
    heard.loaded = f"Id={FRESH}\nActiveState=active\n"
    heard.link(dict.fromkeys(names, file))
    heard.link({})
    assert {each.name for each in links.iterdir()} == {*names[:2]}
    heard.link({}, keep=False)
    assert {each.name for each in links.iterdir()} == {FRESH}
    heard.loaded = ""
    time.sleep(FRESHNESS)
    heard.link({})
    assert not [*links.iterdir()]


def test_units_are_read_anew_once(heard: Heard) -> None:
    assert told(heard, Move.BESIDE).count("daemon-reload") == 1
    heard.words.clear()
    assert "daemon-reload" not in told(heard, Move.KEEP)
