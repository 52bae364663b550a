"""One head as a phase sees it: what it can be asked and told. A protocol.

The one over SSH is in `deploy.phases.session`; tests have another, which is the head itself. What
several heads do together is for `deploy.phases.crew`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.phases.configuration import Configuration
    from deploy.phases.state import State, UnitState

COMMAND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its status (-1: by a signal or the time limit), what it wrote."""

    status: int
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class Laid:
    """What laying a phase did with packages: their names, and how many seconds apt took."""

    installed: tuple[str, ...] = ()
    seconds: float = 0.0


class Member(Protocol):
    """A head within the cluster.

    Every method raises `Error`: what the head refuses, as it says it, or `HeadLostError` where it
    does not answer any more.
    """

    @property
    def name(self) -> str:
        """What the inventory calls it."""
        ...

    @property
    def address(self) -> str:
        """Its IP within the cluster."""
        ...

    def check(self, phases: Sequence[str]) -> Mapping[str, State]:
        """Look at phases, without a change; the states by phase."""
        ...

    def units(self, *names: str) -> Mapping[str, UnitState]:
        """Look at units now; one that is not there is `inactive`, `sub` being `not-found`."""
        ...

    def laid(self, phase: str) -> Configuration | None:
        """Return the configuration of a phase that is laid, if one is."""
        ...

    def lay(self, phase: str, ahead: Sequence[str] = ()) -> Laid:
        """Make packages, users, folders and files what the phase wants.

        Packages and users of the phases `ahead` come along, as one call of apt is quicker than
        five. Units whose files change are made stale; none is started or stopped.
        """
        ...

    def run(
        self,
        *argv: str,
        input: str = "",  # noqa: A002 - as subprocess calls it
        timeout: float = COMMAND_SECONDS,
        secrets: Sequence[str] = (),
        check: bool = True,
    ) -> Ended:
        """Run a command as root.

        Markers of the named secrets are filled in in `input`, never in `argv`, and their values
        are `***` in what comes back. After `timeout` seconds the command is ended.

        Raises:
            CommandError: its status is not 0, and `check` is on.
        """
        ...

    def put(
        self,
        path: str,
        data: str,
        *,
        owner: str = "root",
        group: str = "root",
        mode: str = "0644",
        secrets: Sequence[str] = (),
        replace: bool = False,
    ) -> bool:
        """Write a file that its daemon writes on; only where none is, unless it is to `replace`.

        Returns whether it was written.
        """
        ...

    def enable(self, phase: str) -> None:
        """Let the units of the phase that say so start at boot, and the others not."""
        ...

    def verified(self, phase: str) -> None:
        """Write down that the phase works."""
        ...

    def unlay(self, phase: str) -> None:
        """Take back what laying the phase brought, and give back what was kept aside."""
        ...

    def reconnect(self) -> None:
        """Make sure that a new connection of the operator is let in."""
        ...
