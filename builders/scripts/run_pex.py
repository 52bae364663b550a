"""Run pex on what is at hand, with nothing of the machine's settings.

Used by scripts that run in the sandbox.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run_pex(words: Sequence[str], *, tools: str, python: str, root: Path) -> None:
    """Run pex of the environment `tools`, for the interpreter `python`; `root` is its cache."""
    argv = [f"{tools}/bin/python3", "-I", "-B", "-m", "pex", "--python", f"{python}/bin/python3"]
    ours = {
        "PEX_EMIT_WARNINGS": "false",
        "PEX_IGNORE_RCFILES": "true",
        "PEX_ROOT": str(root),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
    }
    command = [*argv, "--no-pypi", "--no-compile", *words]
    if subprocess.run(command, env={**os.environ, **ours}, check=False).returncode != 0:
        sys.exit("pex could not make a PEX of the locked wheels")
