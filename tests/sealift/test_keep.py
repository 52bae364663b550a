"""How many generations stay is said once, for heads and for this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealift import fleet
from sealift.site import Location

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("said", "kept"), [("", 5), ("keep: 7\n", 7)])
def test_heads_are_told_how_many_generations_stay(tmp_path: Path, said: str, kept: int) -> None:
    file = tmp_path / "sealift.yaml"
    file.write_text(f"store_dir: {tmp_path}/store\n{said}")
    with Location(config=file).open() as site:
        assert fleet.wish(site, (), None, {}).keep == kept
