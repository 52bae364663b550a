"""The lab's one door to other programs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class LabError(Exception):
    """What keeps the lab from doing as it was told."""


def run(
    *argv: str,
    input: bytes = b"",  # noqa: A002 - as subprocess calls it
    check: bool = True,
    timeout: float = 600.0,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run one program to its end and hand back what it wrote.

    Raises:
        LabError: with what it said, if `check` and its exit status is not 0.
    """
    done = subprocess.run(
        argv, input=input, capture_output=True, check=False, timeout=timeout, env=env
    )
    if check and done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"{' '.join(argv)}: exit status {done.returncode}: {said[-2000:]}")
    return done
