"""A site that nothing was built in yet, and sealift run in it as a user does."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

SEALIFT = Path(sys.executable).with_name("sealift")


@dataclass(frozen=True, slots=True)
class Folder:
    """A site folder; with `named`, commands are told where its settings lie."""

    root: Path
    named: bool = False

    @property
    def _argv(self) -> list[str | Path]:
        return [SEALIFT, *(("--config", "sealift.yaml") if self.named else ())]

    def recipe(self, name: str, text: str) -> None:
        """Write a recipe."""
        (self.root / "recipes" / f"{name}.yaml").write_text(text)

    def run(
        self, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run sealift."""
        return subprocess.run(
            [*self._argv, *words],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )

    def on_a_terminal(self, *words: str, input: bytes = b"") -> str:  # noqa: A002
        """Run sealift on a terminal of its own; give what stands there in the end."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*self._argv, *words], cwd=self.root, stdin=theirs, stdout=theirs, stderr=theirs
        ):
            os.close(theirs)
            os.write(ours, input)
            said = b""
            try:
                while chunk := os.read(ours, 4096):
                    said += chunk
            except OSError:  # how a terminal says that nobody is left to write to it
                pass
        os.close(ours)
        return said.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    root = tmp_path.resolve()
    for name in ("recipes", "sources"):
        (root / name).mkdir()
    (root / "sealift.yaml").write_text("store_dir: store\nstate_dir: state\nsources: sources\n")
    return Folder(root)
