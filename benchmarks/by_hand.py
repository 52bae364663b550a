"""What a site does without sealift: venvs by pip, node_modules and dists by npm."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figure import run

if TYPE_CHECKING:
    from collections.abc import Mapping

_ELSEWHERE = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_NO_INDEX")


def pip_environment() -> dict[str, str]:
    """Let pip ask the public index alone, whatever this machine is told."""
    env = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    return {**env, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def npm_environment(cache: Path) -> Mapping[str, str]:
    """Let npm ask for nothing but packages, and keep them in `cache`."""
    quiet = {f"npm_config_{name}": "false" for name in ("audit", "fund", "update_notifier")}
    return {**os.environ, **quiet, "npm_config_cache": str(cache)}


def venv(folder: Path, python: str | Path) -> Path:
    """Make a venv with the newest pip in it, as `python -m venv` does; give its interpreter."""
    uv = Path(sys.executable).with_name("uv")
    run([uv, "venv", "-q", "--seed", "--no-config", "--python", python, folder])
    return folder / "bin" / "python"
