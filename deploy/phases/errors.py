"""What can go wrong in a phase, in words an operator can act on.

Exit codes: 6 says that nothing was touched, 4 that some heads or phases were done. Phases are not
taken back by themselves, so 5 is never one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.errors import FleetError, HeadError
from deploy.node_sets import fold
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TAIL = 400
"""Characters of what a command wrote last that an error tells."""


SHOWN = 120
"""Characters of a command that an error tells; scripts are longer."""


def shortened(argv: Sequence[str]) -> str:
    """Return a command as it is told: one line, and not too long."""
    words = " ".join(" ".join(argv).split())
    return words if len(words) <= SHOWN else f"{words[: SHOWN - 1]}…"


def _lines(failures: Mapping[str, Error], done: Mapping[str, object]) -> Iterator[str]:
    """Say what became of each head; those of which the same is said share a line."""
    told: dict[str, list[str]] = {}
    for name, error in failures.items():
        reason = error.reason.replace(f" on {name}", "")
        why = (error.got or "").strip().partition("\n")[0]
        told.setdefault(f"{reason}: {why}" if why else reason, []).append(name)
    for text, heads in told.items():
        yield f"{fold(heads)}: {text}"
    if done:
        yield f"{fold(done)}: done"


class PhaseError(HeadError):
    """A step of a phase that does not come about."""

    slug = "phase-failed"


class PhaseTimeoutError(PhaseError):
    """Something that was waited for and did not come; `got` says why not, as seen last."""

    slug = "phase-timeout"


class QuorumError(PhaseError):
    """A head that may not be taken down, as another one is out."""

    slug = "phase-quorum"


class NotVerifiedError(PhaseError):
    """A phase that another one comes after, and that was not verified."""

    slug = "phase-not-verified"


class UnwellError(PhaseError):
    """A phase that another one comes after, that was verified, and that is not well any more."""

    slug = "phase-unwell"


class NeededError(PhaseError):
    """A phase that others stand on, which stay."""

    slug = "phase-needed"


class BehindError(PhaseError):
    """A phase that stands on one whose settings have changed, and that was not asked for."""

    slug = "phase-behind"


class UndoNeedsAllError(PhaseError):
    """A phase that is to be undone on some of its heads alone."""

    slug = "undo-needs-all"


class UndoUnequalError(PhaseError):
    """A phase that is to be undone, and that is not laid as one and the same on all its heads."""

    slug = "undo-unequal"


class DestroysNothingError(PhaseError):
    """What was named to be destroyed, and is not there to be."""

    slug = "undo-destroys-nothing"


class CommandError(PhaseError):
    """A command on a head that ended with another status than 0.

    Attributes:
        argv: the command's words.
        status: what it ended with; -1 where a signal or its time limit ended it.
        stdout: all that it wrote.
        stderr: all that it wrote there.
    """

    slug = "command-failed"

    def __init__(
        self, head: str, argv: Sequence[str], *, status: int, stdout: str = "", stderr: str = ""
    ) -> None:
        said = (stderr.strip() or stdout.strip())[-TAIL:]
        super().__init__(
            f"{argv[0]} failed on {head} with status {status}",
            where=head,
            expected=shortened(argv),
            got=said or None,
        )
        self.argv = tuple(argv)
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class CrewError(PhaseError):
    """What failed on some heads of a phase.

    Attributes:
        failures: the errors, by head.
        done: what the other heads gave, by head.
        cause: the first of the failures, by the order of the heads.
        lines: what became of each head, for people.
    """

    def __init__(self, failures: Mapping[str, Error], done: Mapping[str, object]) -> None:
        head, cause = next(iter(failures.items()))
        told = cause.reason if head in cause.reason else f"{head}: {cause.reason}"
        super().__init__(
            told,
            where=cause.where,
            expected=cause.expected,
            got=cause.got,
            hint=cause.hint,
        )
        self.failures = dict(failures)
        self.done = dict(done)
        self.cause = cause
        self.lines = tuple(_lines(self.failures, self.done))


class JobsAliveError(PhaseError):
    """A cluster that is to be stopped, and that has jobs which run or wait."""

    slug = "jobs-alive"


class JobsUnknownError(PhaseError):
    """A cluster that is to be stopped, and of which nobody knows whether it has jobs."""

    slug = "jobs-unknown"


class OtherStateError(PhaseError):
    """A state on the volume that is not that of this cluster."""

    slug = "state-other-cluster"


class WrongPasswordError(PhaseError):
    """Something that runs already and wants another password than the site's secret."""

    slug = "wrong-password"


class DatabaseRefusedError(PhaseError):
    """A database cluster of which it is in doubt who may begin it, or what would be lost."""

    slug = "database-refused"


class NoPhasesError(InputError):
    """A release that brings no phases."""

    slug = "no-phases"


class NoSuchPhaseError(InputError):
    """A phase that there is none of."""

    slug = "no-such-phase"


class PhasesRefusedError(FleetError):
    """Nothing was touched on any head."""

    slug = "phases-refused"
    exit_code = 6


class PhasesPartialError(FleetError):
    """Some phases were done, or begun, and the others not."""

    slug = "phases-partial"
    exit_code = 4


class PhasesStoppedError(FleetError):
    """The operator wanted no more of it; what was begun goes on with the next run."""

    slug = "stopped"
    exit_code = 130


class PhasesUnwellError(FleetError):
    """Phases that do not work as they should."""

    slug = "phases-unwell"
    exit_code = 7
