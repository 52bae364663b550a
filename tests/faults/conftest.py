"""One lab with the small platform for all faults; each leaves it as it found it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.bench import Bench
from tests.lab.fixtures import require
from tests.lab.lab import Lab, available
from tests.lab.platform import Site, kept_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def bench(folder: Path) -> Iterator[Bench]:
    require(available())
    with kept_store("small") as store, Lab(3, folder=folder / "lab") as lab:
        yield Bench.make(Site.small(folder / "site", store), lab)
