"""What the engine's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from store.local import LocalStore
from tests.builders.workbench import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Bench]:
    """Give an empty store to build in."""
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        yield Bench(store)
