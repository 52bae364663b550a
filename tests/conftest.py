"""What tests of every package may use, and how they are shared out among processes."""

from __future__ import annotations

import pytest

pytest_plugins = ("tests.lab.fixtures",)

_LONGEST_FIRST = (
    "tests/faults/",
    "tests/deploy/test_systemd_head.py",
    "tests/e2e/test_heads.py",
    "tests/e2e/test_heads_secrets.py",
    "tests/e2e/",
)
"""Starts of names of tests that share what a session makes, or that take long.

Each is the work of one process, and begun before the modules that are named nowhere: else one
process would be left alone with it at the end.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group and sort the tests for processes side by side; no order is promised otherwise."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: _turn(_group(item)))


def _group(item: pytest.Item) -> str:
    module = item.nodeid.partition("::")[0]
    return next((start for start in _LONGEST_FIRST if module.startswith(start)), module)


def _turn(group: str) -> int:
    return _LONGEST_FIRST.index(group) if group in _LONGEST_FIRST else len(_LONGEST_FIRST)
