"""Where things lie on a head: its store, its own files, and the agent that it is looked after with.

Paths only; who asks there is for `deploy.remote`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import HeadError

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.release import Release

AGENT = "sealift"
"""What the agent is called among a release's tools."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie on every head of a site: the store's directory enters each path."""

    store_dir: Path

    @property
    def var_dir(self) -> Path:
        """The folder of profiles and of the head's own files."""
        return self.store_dir.parent / "var"

    @property
    def agent(self) -> str:
        """The program that a deployed head is looked after with."""
        return str(self.var_dir / "profiles" / "system" / "bin" / "sealift")


def agent_of(release: Release) -> str:
    """Return the executable of a release's own agent.

    Raises:
        HeadError: it brings none, so it can be run on this machine alone.
    """
    tool = release.tools.get(AGENT)
    if tool is None:
        raise HeadError(
            "the release brings no agent for heads",
            where=str(release.path),
            hint="add `sealift: NAME` of a recipe like recipes/tools/agent.yaml to the release",
        )
    return str(tool.executable)
