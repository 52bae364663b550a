"""Asking and telling GlusterFS, through one head that speaks for the pool.

One head at a time, since a pool takes one order at a time. What the answers mean is for
`deploy.phases.gluster`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.phases import gluster
from deploy.phases.gluster import GlusterError

if TYPE_CHECKING:
    from deploy.phases.crew import Crew
    from deploy.phases.gluster import Brick, Heal, Peer, Volume
    from deploy.phases.member import Member

GLUSTER = ("gluster", "--mode=script", "--xml")
BUSY = ("Another transaction is in progress", "Locking failed", "is being held", "in progress for")
"""What gluster says while it does something else."""
BUSY_SECONDS = 60.0
ORDER_SECONDS = 180.0
"""What one order may take: gluster itself gives up after two minutes."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A head of the pool that orders are given to."""

    crew: Crew
    member: Member

    def order(self, *words: str, fine: tuple[str, ...] = ()) -> str:
        """Let the pool do something, and wait while it is busy; return the answer.

        A refusal that has one of the texts in `fine` says that it was done before.

        Raises:
            GlusterError: it refuses.
            PhaseTimeoutError: it is busy all the time.
        """
        answer: list[str] = []

        def ready() -> str:
            text = self.member.run(*GLUSTER, *words, timeout=ORDER_SECONDS, check=False)
            answer[:] = [text.stdout or text.stderr]
            refused = gluster.said(answer[0])
            return refused if any(each in refused for each in BUSY) else ""

        self.crew.wait(f"gluster {' '.join(words[:2])}", ready, BUSY_SECONDS, every=0.5)
        refused = gluster.said(answer[0])
        if refused and not any(each in refused for each in fine):
            raise GlusterError(
                f"gluster on {self.member.name} refuses: {refused}",
                where=self.member.name,
                expected=f"gluster {' '.join(words)}",
                got=refused,
            )
        return answer[0]

    def heal_all(self, volume: str) -> None:
        """Let all files be compared, besides those that are known not to be equal.

        It says so in no XML, and where it fails, what is known is healed all the same.
        """
        argv = (*GLUSTER, "volume", "heal", volume, "full")
        self.member.run(*argv, timeout=ORDER_SECONDS, check=False)

    def pool(self) -> tuple[Peer, ...]:
        """Return who is in the pool."""
        return gluster.pool(self.order("pool", "list"))

    def volume(self, name: str) -> Volume | None:
        """Return the volume; None where there is none of this name."""
        return gluster.volumes(self.order("volume", "info")).get(name)

    def online(self, name: str) -> frozenset[Brick]:
        """Return the bricks of a volume that are up."""
        return gluster.online(self.order("volume", "status", name))

    def heals(self, name: str) -> tuple[Heal, ...]:
        """Return what each brick of a volume lacks."""
        return gluster.heals(self.order("volume", "heal", name, "info", "summary"))
