"""How long a process that answers is watched: for a while, or until it is of an age."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from deploy import health
from deploy.health import Watch
from deploy.services import Phase, Process
from deploy.settings import Settings

QUICK = Settings(settle_seconds=0.4, grown_seconds=1.0)


class One:
    """A service manager with one process, up since some seconds."""

    def __init__(self, age: float) -> None:
        self.found = {"alpha": Process("alpha", Phase.RUNNING, 7, time.time() - age, "")}

    def processes(self) -> dict[str, Process]:
        return self.found


def test_the_age_of_a_process_is_that_of_its_start() -> None:
    assert Watch(One(3.0), "alpha").age() == pytest.approx(3.0, abs=0.5)
    assert Watch(One(3.0), "beta").age() == 0.0


@pytest.mark.parametrize(
    ("settings", "age", "seconds"),
    [
        (QUICK, 0.0, 0.4),
        (QUICK, 0.8, 0.2),
        (QUICK, 2.0, 0.0),
        (replace(QUICK, grown_seconds=Settings().grown_seconds), 2.0, 0.4),
    ],
)
def test_a_process_is_watched_as_long_as_it_is_young(
    settings: Settings, age: float, seconds: float
) -> None:
    assert health.watched(Watch(One(age), "alpha"), settings) == pytest.approx(seconds, abs=0.15)
