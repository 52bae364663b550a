"""Which sealift this is; answered without loading anything else."""

from __future__ import annotations

WORDS = ["--version"]


def text() -> str:
    """Spell the version as `--version` shows it."""
    from importlib.metadata import version

    return f"sealift {version('sealift')}"
