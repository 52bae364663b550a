"""The storage of a cluster in values: what is wanted, its heads, and the steps that lead there.

Which steps are to be taken is decided in `deploy.phases.storage_plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.phases.gluster import Brick, Volume
    from deploy.phases.storage_look import Seen


@dataclass(frozen=True, slots=True)
class Wish:
    """What the phase's parameters say."""

    volume: str
    mount: str
    brick: str
    on_root: bool
    options: Mapping[str, str]
    folders: tuple[str, ...] = ()
    """Folders that are made in the volume, by their paths in it."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head of the phase; `seen` is None of one that was not reached, a witness is not `ours`."""

    name: str
    address: str
    seen: Seen | None
    ours: bool = True

    def is_called(self, word: str) -> bool:
        """Tell whether a pool or a volume means this head by a word."""
        return word in (self.name, self.address)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why nothing is done; `head` is empty where it is about the cluster."""

    head: str
    reason: str
    slug: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.head}: {self.reason}" if self.head else self.reason


@dataclass(frozen=True, slots=True)
class Wake:
    """Start glusterd on a head, for what it keeps is not known otherwise."""

    head: str


@dataclass(frozen=True, slots=True)
class Invite:
    """Let `by`, which is in the pool, take a head into it."""

    by: str
    head: str
    address: str


@dataclass(frozen=True, slots=True)
class Await:
    """Wait: `by` has not agreed on a head yet, or has not told it of the volume.

    `peer` is as what `by` knows the head, where that is what they have not agreed on.
    """

    by: str
    head: str
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Create:
    """Make the volume, with a copy on each of these heads."""

    by: str
    bricks: tuple[Brick, ...]
    heads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grow:
    """Add a copy, which is then filled from the others; `copies` is how many there are then."""

    by: str
    head: str
    brick: Brick
    copies: int


@dataclass(frozen=True, slots=True)
class Refill:
    """Put an empty folder in the place of a copy that is gone, to be filled from the others."""

    by: str
    head: str
    brick: Brick


@dataclass(frozen=True, slots=True)
class Adopt:
    """Give a head that was installed anew the identity `uuid` by which the pool knows it."""

    by: str
    head: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Options:
    """Set options of the volume, all of them or none: pairs of a name and a value."""

    by: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Start the volume."""

    by: str


Step = Wake | Invite | Await | Create | Grow | Refill | Adopt | Options | Start


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, in order; with `objections`, nothing. `notes` are (head or empty, text)."""

    steps: tuple[Step, ...] = ()
    objections: tuple[Objection, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    volume: Volume | None = None
    by: str = ""
    """A head that knows the volume, or that is in the pool."""


def told(step: Step, wish: Wish) -> tuple[str, str, str]:  # noqa: PLR0911 - an arm for each kind of step
    """Return the head that a step is about (or nothing), what it is, and what it costs."""
    match step:
        case Wake(head):
            return (head, "start GlusterFS", "")
        case Invite(by, head, _):
            return (head, f"join the pool of {by}", "")
        case Await(_, head, _):
            return (head, "wait until the pool knows it", "")
        case Adopt(_, head, _):
            costs = "it was installed anew: takes its former place in the pool"
            return (head, "get back its identity in the pool", costs)
        case Create(_, bricks, _):
            what = f"make the volume {wish.volume} of {len(bricks)} copies at {wish.brick}"
            return ("", what, "")
        case Grow(_, head, _, copies):
            costs = "all of the volume is copied to it"
            return (head, f"get copy {copies} of {wish.volume}", costs)
        case Refill(_, head, _):
            costs = "all of the volume is copied to it"
            return (head, f"get its copy of {wish.volume} anew", costs)
        case Options(_, pairs):
            costs = ", ".join(f"{key} to {value}" for key, value in pairs)
            return ("", f"set of {wish.volume}: {costs}", "")
        case Start():
            return ("", f"start the volume {wish.volume}", "")
