"""A member of a cluster that is another machine: the words of its session.

`deploy.phases.session` has the line that they go over; `deploy.phases.muster` opens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import BadMessageError
from deploy.phases import configuration_file
from deploy.phases.errors import CommandError
from deploy.phases.member import COMMAND_SECONDS, Ended, Laid
from deploy.phases.state import HINT, State, units_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.phases.configuration import Configuration
    from deploy.phases.session import Session
    from deploy.phases.state import UnitState

CHECK_SECONDS = 300.0
LAY_SECONDS = 3600.0
"""How long a head may be at its packages; dpkg on a slow disk takes minutes."""
STEP_SECONDS = 300.0
MARGIN = 60.0
"""Seconds beyond a command's own limit until the head is given up."""


@dataclass(frozen=True, slots=True)
class RemoteMember:
    """One head over its session; `knock` opens a connection of its own, and ends it."""

    name: str
    address: str
    session: Session
    knock: Callable[[], None]

    def check(self, phases: Sequence[str]) -> Mapping[str, State]:
        """Look at phases, without a change."""
        found = _object(self.session.ask("check", CHECK_SECONDS, phases=list(phases)))
        return {phase: State.from_json(found.get(phase)) for phase in phases}

    def units(self, *names: str) -> Mapping[str, UnitState]:
        """Look at units now."""
        if not names:
            return {}
        found = units_from_json(_object(self.session.ask("units", STEP_SECONDS, names=list(names))))
        lacking = [name for name in names if name not in found]
        if lacking:
            reason = f"{self.name} does not tell of {', '.join(lacking)}"
            raise BadMessageError(reason, where=self.name, hint=HINT)
        return found

    def laid(self, phase: str) -> Configuration | None:
        """Return the configuration of a phase that is laid, if one is.

        Raises:
            BadMessageError: the head tells of none that can be used.
        """
        said = _object(self.session.ask("laid", STEP_SECONDS, phase=phase))
        if not said:
            return None
        path, text = said.get("path"), said.get("text")
        if not isinstance(path, str) or not path.startswith("/") or not isinstance(text, str):
            reason = f"{self.name} does not tell what is laid of {phase}"
            raise BadMessageError(reason, where=self.name, got=repr(said)[:80], hint=HINT)
        return _own(configuration_file.parse(text, Path(path)), phase, self.name)

    def lay(self, phase: str, ahead: Sequence[str] = ()) -> Laid:
        """Make packages, users, folders and files what the phase wants."""
        said = _object(self.session.ask("lay", LAY_SECONDS, phase=phase, ahead=list(ahead)))
        names, seconds = said.get("installed"), said.get("apt")
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise self._strange("what it installed", names)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise self._strange("how long apt took", seconds)
        return Laid(tuple(names), float(seconds))

    def run(
        self,
        *argv: str,
        input: str = "",  # noqa: A002 - as subprocess calls it
        timeout: float = COMMAND_SECONDS,
        secrets: Sequence[str] = (),
        check: bool = True,
    ) -> Ended:
        """Run a command as root.

        Raises:
            CommandError: its status is not 0, and `check` is on.
        """
        said = _object(
            self.session.ask(
                "run",
                timeout + MARGIN,
                argv=list(argv),
                input=input,
                timeout=timeout,
                secrets=list(secrets),
            )
        )
        ended = self._ended(said)
        if check and ended.status:
            raise CommandError(
                self.name, argv, status=ended.status, stdout=ended.stdout, stderr=ended.stderr
            )
        return ended

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
        """Write a file that its daemon writes on; tell whether it was written."""
        facts = {"path": path, "data": data, "owner": owner, "group": group, "mode": mode}
        said = self.session.ask(
            "put", STEP_SECONDS, secrets=list(secrets), replace=replace, **facts
        )
        written = _object(said).get("written")
        if not isinstance(written, bool):
            raise self._strange("whether it wrote a file", written)
        return written

    def enable(self, phase: str) -> None:
        """Let the units of the phase that say so start at boot, and the others not."""
        self.session.ask("enable", STEP_SECONDS, phase=phase)

    def verified(self, phase: str) -> None:
        """Write down that the phase works."""
        self.session.ask("verified", STEP_SECONDS, phase=phase)

    def unlay(self, phase: str) -> None:
        """Take back what laying the phase brought."""
        self.session.ask("unlay", LAY_SECONDS, phase=phase)

    def reconnect(self) -> None:
        """Make sure that a new connection of the operator is let in."""
        self.knock()

    def _ended(self, said: Mapping[str, Any]) -> Ended:
        """Read how a command ended: what is not told is no success."""
        status, stdout, stderr = (said.get(word) for word in ("status", "stdout", "stderr"))
        if isinstance(status, bool) or not isinstance(status, int):
            raise self._strange("with which status a command ended", status)
        if not isinstance(stdout, str) or not isinstance(stderr, str):
            raise self._strange("what a command wrote", stdout if stderr else stderr)
        return Ended(status, stdout, stderr)

    def _strange(self, what: str, got: object) -> BadMessageError:
        reason = f"{self.name} does not tell {what}"
        return BadMessageError(reason, where=self.name, got=repr(got)[:80], hint=HINT)


def _own(found: Configuration, phase: str, head: str) -> Configuration:
    """Return a configuration that a head tells of, if it is the one that was asked for."""
    if (found.phase, found.host) != (phase, head):
        reason = f"{head} tells of {found.phase} on {found.host}, not of its own {phase}"
        raise BadMessageError(reason, where=head, hint=HINT)
    return found


def _object(said: Any) -> Mapping[str, Any]:  # noqa: ANN401 - whatever a head says
    if not isinstance(said, dict):
        raise BadMessageError("an object is wanted here", got=repr(said)[:80], hint=HINT)
    return said
