"""The accounts that services run as: made by systemd, and acted as where their files are touched.

What lies in a service's state belongs to it, links included; root would follow them anywhere.
"""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.command import run
from deploy.errors import SystemRefusedError
from deploy.programs import PATH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TIMEOUT = 30.0


def make(sysusers: Path) -> None:
    """Let systemd make the users of a `sysusers.conf` that are not there.

    Raises:
        SystemRefusedError: it does not.
    """
    ended = run(("systemd-sysusers", str(sysusers)), env={"PATH": PATH}, timeout=_TIMEOUT)
    if ended.status != 0:
        raise SystemRefusedError(
            "the users of the services cannot be made",
            where=str(sysusers),
            got=ended.output.strip(),
        )


def find(user: str) -> pwd.struct_passwd:
    """Return what the system knows of a user.

    Raises:
        SystemRefusedError: there is none of that name.
    """
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise SystemRefusedError("there is no such user", where=user) from None


@contextmanager
def acting_as(user: str) -> Iterator[None]:
    """Touch files as `user` during the block; only for root, and for one thread at a time."""
    account, groups = find(user), os.getgroups()
    os.setgroups([account.pw_gid])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def home(folder: Path, user: str, *, mode: int) -> None:
    """Make the folder of a user's state, below folders that are root's."""
    account = find(user)
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not folder.is_dir():
        folder.mkdir(mode=mode)
    if folder.stat().st_uid != account.pw_uid:
        os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)
