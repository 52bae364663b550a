"""What tests of every package may use, and how they are shared out among processes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer

pytest_plugins = ("tests.lab.fixtures",)

_LONGEST_FIRST = (
    "tests/e2e/test_phases.py",
    "tests/faults/test_phases.py",
    "tests/phases/",
    "tests/faults/",
    "tests/deploy/test_systemd_head.py",
    "tests/e2e/test_heads.py",
    "tests/e2e/test_heads_secrets.py",
    "tests/e2e/test_gap.py",
    "tests/e2e/",
)
"""Starts of names of tests that share what a session makes, or that take long.

Each is the work of one process, and begun before the modules that are named nowhere: else one
process would be left alone with it at the end.
"""


class _Modules(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """One process runs all tests of a module, or of a place named above."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_configure() -> None:
    """Let tests interrupt: what a shell runs in the background begins with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Share tests out by what they have in common."""
    return _Modules(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first; no order is promised otherwise."""
    items.sort(key=lambda item: _turn(_group(item.nodeid)))


def _group(nodeid: str) -> str:
    module = nodeid.partition("::")[0]
    return next((start for start in _LONGEST_FIRST if module.startswith(start)), module)


def _turn(group: str) -> int:
    return _LONGEST_FIRST.index(group) if group in _LONGEST_FIRST else len(_LONGEST_FIRST)
