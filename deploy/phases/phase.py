"""What a phase finds on its heads before it changes them, and what each phase's module offers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deploy.phases.crew import Crew


class Kind(Enum):
    """How much a finding weighs."""

    CHANGE = "change"
    REFUSAL = "refusal"
    NOTE = "note"
    IRREVERSIBLE = "irreversible"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a plan.

    `head` is empty where it is about the cluster. `what` says it in the present tense (`create
    the volume shared_data`), `consequence` what it costs (`restarts Galera, one head after the
    other`). A refusal has a `slug` and, where there is one, a `hint`.
    """

    head: str
    what: str
    kind: Kind
    consequence: str = ""
    slug: str = ""
    hint: str | None = None


class Phase(Protocol):
    """A phase's module; each function may be called again at any time."""

    def check(self, crew: Crew) -> Sequence[Finding]:
        """Say what `apply` would do and what stands against it; changes nothing.

        Its programs may not be installed yet: `crew.states[head].laid` tells.
        """
        ...

    def apply(self, crew: Crew) -> None:
        """Do what is not yet true; everything was laid on all members before.

        Raises:
            Error: it stops at the first failure.
        """
        ...

    def verify(self, crew: Crew) -> Sequence[str]:
        """Try whether the phase works; return what was tried, one line each.

        Raises:
            Error: it does not.
        """
        ...

    def undo(self, crew: Crew, destroy: Collection[str]) -> None:
        """Take back what can be taken back; of what cannot, only what `destroy` names.

        What was laid is taken back after it.

        Raises:
            Error: it stops at the first failure.
        """
        ...


@runtime_checkable
class Parting(Protocol):
    """What a phase's module offers besides, if undoing loses something or is not always let."""

    def before_undo(self, crew: Crew, destroy: Collection[str]) -> Sequence[Finding]:
        """Say what `undo` would destroy, and what stands against it; changes nothing.

        One `IRREVERSIBLE` for each path that goes, with its head; a refusal for what is not proven
        to be ours. The crew is that of `undo`.
        """
        ...


@runtime_checkable
class Rolling(Protocol):
    """What a phase's module offers besides, if its heads serve together."""

    def well(self, crew: Crew) -> str:
        """Return why the cluster could not do without one more head now; nothing if it could."""
        ...
