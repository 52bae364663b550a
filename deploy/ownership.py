"""Whether a head has room for a change, and its ports are free or ours.

A port is ours if systemd holds it by one of our sockets, or a process of one of our units does.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.command import run
from deploy.errors import PortTakenError
from deploy.ports import owners
from deploy.programs import PATH
from store.database import DiskFullError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.ports import Listener

ROOM = 16 * 1024 * 1024
"""Bytes that a change may need for records, links and the journal, and going back as well."""
INODES = 500
_TIMEOUT = 20.0
_UNIT = re.compile(r"/sealift-[^/]+@[0-9a-z]{32}(-[0-9a-f]{8})?\.service(/|$)", re.MULTILINE)
_LISTEN = re.compile(r"^Listen=(?:.*:)?(\d+) \(Stream\)$", re.MULTILINE)


def check_room(folder: Path) -> None:
    """Refuse a change for which there is no room: it could not be taken back either.

    Raises:
        DiskFullError: says how much there is.
    """
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < ROOM or (found.f_files and found.f_favail < INODES):
        raise DiskFullError(
            "the head has no room for a change",
            where=str(folder),
            expected=f"{ROOM:,} bytes and {INODES} inodes",
            got=f"{free:,} bytes and {found.f_favail} inodes",
            hint="make room on the head: sealift gc",
        )


def check_ports(wants: Mapping[int, tuple[str, str | None]], *, where: str) -> None:
    """Refuse ports that belong to somebody else; `wants` has service and socket unit by port.

    Raises:
        PortTakenError: says who has it.
    """
    held = _held_by_systemd()
    for found in owners(wants):
        service, _ = wants[found.port]
        if not _is_ours(found, held):
            raise PortTakenError(
                f"{service} needs port {found.port}, which is taken",
                where=where,
                got=str(found),
                hint="stop that process, or set another port in the recipe and build again",
            )


def _is_ours(found: Listener, held: frozenset[int]) -> bool:
    if found.pid == 1:
        return found.port in held
    if found.pid is None:
        return False
    with suppress(OSError):
        return _UNIT.search(Path(f"/proc/{found.pid}/cgroup").read_text("utf-8")) is not None
    return True


def _held_by_systemd() -> frozenset[int]:
    """Return the ports that our sockets, as far as they are open, listen on."""
    argv = ("systemctl", "show", "-p", "ActiveState,Listen", "--", "sealift-*.socket")
    ended = run(argv, env={"PATH": PATH, "LANG": "C.UTF-8"}, timeout=_TIMEOUT)
    blocks = (each for each in ended.output.split("\n\n") if "ActiveState=active" in each)
    return frozenset(int(port) for each in blocks for port in _LISTEN.findall(each))
