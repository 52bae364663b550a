"""Pytest's way to a lab: factories that take all of their labs down at the end.

    def test_something(make_lab: MakeLab) -> None:
        head = make_lab(1).heads[0]

`make_lab` lives as long as a test, `make_shared_lab` as long as a module. Where the machine cannot
have a lab the test is skipped with the reason; in CI it fails, since there it has to run.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.lab.lab import Lab, available

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MakeLab(Protocol):
    """Boots a lab that ends by itself."""

    def __call__(self, size: int = 3, *, tools: bool = False, disk_size: int = 8 << 30) -> Lab: ...


@pytest.fixture
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    with labs(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    with labs(tmp_path_factory) as make:
        yield make


@contextmanager
def labs(folders: pytest.TempPathFactory) -> Iterator[MakeLab]:
    """Hand out a factory of labs, for a fixture of any scope."""
    require(available())
    with ExitStack() as stack:

        def make(size: int = 3, *, tools: bool = False, disk_size: int = 8 << 30) -> Lab:
            folder: Path = folders.mktemp("lab")
            return stack.enter_context(Lab(size, folder=folder, tools=tools, disk_size=disk_size))

        yield make


def require(missing: str | None) -> None:
    """Skip with the reason why there can be no lab; fail where tests have to run."""
    if missing is not None and os.environ.get("CI"):
        pytest.fail(missing)
    if missing is not None:
        pytest.skip(missing)
