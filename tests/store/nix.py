"""Real Nix, on a store of its own, as the reference that our formats are held against."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Nix:
    """Nix with a store below `root`; nothing of it lies outside."""

    root: Path

    @property
    def store_dir(self) -> Path:
        """The directory that enters its digests."""
        return self.root / "store"

    def run(self, *arguments: str | bytes | Path, check: bool = True, data: bytes = b"") -> bytes:
        """Run one of Nix's commands and return what it prints."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "NIX_STORE_DIR": str(self.store_dir),
            "NIX_STATE_DIR": str(self.root / "var"),
            "NIX_LOG_DIR": str(self.root / "log"),
            "NIX_CONF_DIR": str(self.root / "conf"),
            "NIX_REMOTE": "",
            "NIX_CONFIG": "build-users-group =\nexperimental-features = nix-command\n",
        }
        done = subprocess.run(
            arguments, env=environment, input=data, capture_output=True, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(done.stderr.decode(errors="replace"))
        return done.stdout if done.returncode == 0 else b""


def fresh_nix(root: Path) -> Nix:
    """Give Nix an empty store below `root`, or skip."""
    if shutil.which("nix-store") is None:
        pytest.skip("nix-bin is not installed: nothing to compare with")
    (root / "store").mkdir(parents=True)
    (root / "home").mkdir()
    return Nix(root)
