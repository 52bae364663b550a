"""What counts as not there on a head: only what the head itself says is not there.

A disk that hangs or has errors, and a command that was cut off, say nothing about that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.phases.errors import TAIL, PhaseError, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.member import Ended, Member

_ABSENT = "No such file or directory"
"""As the C library says it: commands of a head run with its locale."""


def absent(ended: Ended) -> bool:
    """Tell whether a command found nothing wrong but that something is not there."""
    lines = ended.stderr.splitlines()
    return ended.status == 1 and bool(lines) and all(each.endswith(_ABSENT) for each in lines)


def look(member: Member, place: str, argv: Sequence[str]) -> str:
    """Return what a command writes that looks at a place; what is not there, it may leave out.

    Raises:
        PhaseError: it could not look.
    """
    ended = member.run(*argv, check=False)
    if ended.status and not absent(ended):
        raise PhaseError(
            f"{place} on {member.name} cannot be looked at",
            where=member.name,
            expected=shortened(argv),
            got=ended.stderr.strip()[-TAIL:] or f"status {ended.status}",
            hint="see whether the disk it lies on answers, then run it again",
        )
    return ended.stdout


def there(member: Member, path: str) -> bool:
    """Tell whether a file or folder is on a head.

    Raises:
        PhaseError: that is not known.
    """
    return bool(look(member, path, ("find", path, "-maxdepth", "0")))
