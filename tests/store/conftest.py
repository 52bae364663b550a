"""What the store's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from store.local import LocalStore
from tests.store.nix import Nix, fresh_nix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    """Give an empty store."""
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as opened:
        yield opened


@pytest.fixture
def nix(tmp_path: Path) -> Nix:
    """Give real Nix with an empty store."""
    return fresh_nix(tmp_path.resolve() / "nix")
