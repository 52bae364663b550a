"""Heads in folders: one for each test, or as many as it makes."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from deploy import laying
from tests.deploy.install import bench as benches
from tests.deploy.install.bench import MEMORY, Bench
from tests.lab.fixtures import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Bench]:
    check()
    made = benches.make(tmp_path)
    yield made
    benches.remove(made)


@pytest.fixture
def make_head(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make one head after the other; `like` another it has the same paths, and that one ends."""
    check()
    with ExitStack() as stack:

        def make(like: Bench | None = None) -> Bench:
            if like is None:
                made = benches.make(tmp_path)
                stack.callback(benches.remove, made)
                return made
            sealed = (like.root / "sealed").read_bytes()
            shutil.rmtree(like.root)
            shutil.rmtree(like.memory, ignore_errors=True)
            made = like.again()
            (made.root / "sealed").write_bytes(sealed)
            return made

        yield make


def check() -> None:
    there = MEMORY.is_dir() and laying.file_system(MEMORY) in laying.MEMORY
    require(None if there else f"{MEMORY} is no tmpfs")
