"""A site of its own for measuring: the example platform, a store and a head in one folder."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import run

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples" / "dashboard"
SEALIFT = Path(sys.executable).with_name("sealift")
PORT_OFFSET = 20_000


@dataclass(frozen=True, slots=True)
class Site:
    """A folder with settings, a copy of the example's sources, a store and a head."""

    root: Path

    @property
    def sources(self) -> Path:
        """The copy of the example's trees."""
        return self.root / "sources"

    @classmethod
    def make(cls, root: Path) -> Site:
        """Lay the folder out."""
        shutil.copytree(EXAMPLE, root / "sources")
        settings = (
            "store_dir: .sealift/store\n"
            "state_dir: .sealift/state\n"
            f"recipes: {REPOSITORY / 'recipes'}\n"
            "sources: sources\n"
            "hosts:\n"
            f"  local: {{port: {PORT_OFFSET + 8080}, port_offset: {PORT_OFFSET}}}\n"
        )
        (root / "sealift.yaml").write_text(settings)
        return cls(root)

    def sealift(self, *words: str) -> float:
        """Run one sealift command in this site; seconds."""
        return run([SEALIFT, *words], cwd=self.root)

    def path(self, name: str) -> Path:
        """Return the store path of a recipe's output, as last built."""
        links = (self.root / ".sealift" / "var" / "gcroots" / name).resolve()
        return Path(os.fspath(links))
