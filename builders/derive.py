"""From a step with resolved inputs to its derivation.

A script enters by its bytes and those of the modules beside it that it imports.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from store.derivation import Derivation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.step import Step

SCRIPTS = Path(__file__).resolve().parent / "scripts"
FETCH = "fetch"
PLATFORM = f"{os.uname().machine}-{os.uname().sysname.lower()}"
BARE_PLATFORM = f"{PLATFORM}-bare"
"""Of builds without a sandbox: what they give never passes for what one in a sandbox gives."""
ANY_PLATFORM = "any"
"""Of a download: its bytes are the same everywhere."""

_IMPORT = re.compile(r"^\s*(?:from|import)\s+(?:builders\.scripts\.)?(\w+)", re.MULTILINE)


def platform_of(*, bare: bool) -> str:
    """Name the platform of builds that run here, in a sandbox or without one."""
    return BARE_PLATFORM if bare else PLATFORM


def derive(step: Step, inputs: Mapping[str, str], platform: str = PLATFORM) -> Derivation:
    """Make the derivation of a step; `inputs` maps its roles to full store paths."""
    if step.download is not None:
        return Derivation(
            name=step.name,
            builder=FETCH,
            platform=ANY_PLATFORM,
            fixed=step.download.integrity,
        )
    return Derivation(
        name=step.name,
        builder=step.builder,
        platform=platform,
        inputs=inputs,
        arguments=step.arguments,
        source=step.source.digest if step.source is not None else None,
        version=step.version,
        script=step.script and script_digest(step.script),
        runtime=step.runtime,
    )


@lru_cache
def script_files(name: str) -> tuple[Path, ...]:
    """Give a script's file, and after it those of all modules beside it that it imports."""
    found = [SCRIPTS / name]
    for file in found:
        for module in _IMPORT.findall(file.read_text(encoding="utf-8")):
            beside = SCRIPTS / f"{module}.py"
            if beside not in found and beside.is_file():
                found.append(beside)
    return tuple(found)


@lru_cache
def script_digest(name: str) -> str:
    """Give the base-16 SHA-256 over a script and the modules it comes with."""
    hasher = hashlib.sha256()
    for file in script_files(name):
        contents = file.read_bytes()
        hasher.update(f"{file.name}:{len(contents)}:".encode())
        hasher.update(contents)
    return hasher.hexdigest()
