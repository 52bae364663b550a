"""Who listens on ports of this machine, and of which unit of systemd they are."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SYSTEMD = "name=systemd"


@dataclass(frozen=True, slots=True)
class Listening:
    """A process that listens; `unit` is empty where it is of none, or where that is not known."""

    process: str
    unit: str

    def __str__(self) -> str:
        return f"{self.unit}: {self.process}" if self.unit else self.process


def listening(tcp: Collection[int], udp: Collection[int]) -> Mapping[int, Listening]:
    """Return by port who listens on TCP or UDP, at whatever address."""
    found = {}
    for each in ports.owners(tcp, udp):
        process = each.command or "a process that hides itself"
        said = process if each.pid is None else f"{process} (pid {each.pid})"
        found[each.port] = Listening(said, "" if each.pid is None else unit_of(each.pid))
    return found


def unit_of(pid: int, proc: Path = Path("/proc")) -> str:
    """Return the unit that a process is of."""
    with suppress(OSError):
        return parse((proc / str(pid) / "cgroup").read_text("utf-8"))
    return ""


def parse(text: str) -> str:
    """Return the unit that `/proc/PID/cgroup` names: the last word that is a service or scope.

    Both the unified hierarchy (number 0) and systemd's own of old know it.
    """
    for line in text.splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" or controllers == SYSTEMD:
            for word in reversed(path.split("/")):
                if word.endswith(".service"):
                    return word
    return ""
