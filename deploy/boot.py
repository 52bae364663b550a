"""What a head does for itself: after a start of the machine, and when nobody ends a change.

`boot` runs once, before anything of ours does: what was cut off is put right, then systemd starts
the current generation. `recover` runs every few seconds while a change is under way, and takes over
when whoever began it is no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.activate import current_release, repair
from deploy.errors import HeadLockedError
from deploy.events import Observe, ignore

if TYPE_CHECKING:
    from deploy.systemd_head import SystemdHead

WHO = "the head itself"


def boot(head: SystemdHead, observe: Observe = ignore) -> None:
    """Put right what the last power cut left, and let systemd start what is current.

    Raises:
        Error: of what was put right or started not all is well; the rest starts all the same.
    """
    with head.lock.hold(WHO, "boot"), head.session():
        repair(head, observe)
        if head.profile.current() is not None:
            head.boot(current_release(head), observe)


def recover(head: SystemdHead, observe: Observe = ignore) -> bool:
    """Finish or take back a change whose process is gone; tell whether there was one.

    A change that somebody is at is left to them. When nothing is unfinished, nobody looks again.
    """
    try:
        with head.lock.hold(WHO, "recover"), head.session():
            found = repair(head, observe)
            head.unguard()
    except HeadLockedError:
        return False
    return found is not None
