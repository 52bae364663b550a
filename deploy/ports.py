"""Who listens on a TCP port of this machine, as the kernel tells in /proc.

A process of another user does not show its sockets; then the owner is unknown.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

LISTEN = {"tcp": "0A", "udp": "07"}
# 127.0.0.1, 0.0.0.0 and :: as /proc/net/tcp and tcp6 spell them on a little-endian machine.
CLASHING = frozenset({"0100007F", "00000000", "0" * 32})


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens on `port`; pid, group and command are empty where unknown."""

    port: int
    pid: int | None = None
    group: int | None = None
    command: str = ""

    def __str__(self) -> str:
        who = "a process of another user" if self.pid is None else f"pid {self.pid}"
        return f"port {self.port}: {who} {self.command}".rstrip()


def listeners(ports: Collection[int]) -> tuple[Listener, ...]:
    """Return who listens on `ports` at this machine's own address or at all addresses."""
    inodes = _inodes(ports)
    if not inodes:
        return ()
    known = {each.port: each for each in _owners(inodes)}
    return tuple(known.get(port, Listener(port)) for port in sorted(set(inodes.values())))


def owners(ports: Collection[int], udp: Collection[int] = ()) -> tuple[Listener, ...]:
    """Return all who listen on `ports`, at whatever address; several may hold one socket.

    Those of `udp` count if they wait there for whoever comes.
    """
    inodes = _inodes(ports, everywhere=True) | _inodes(udp, everywhere=True, protocol="udp")
    known = tuple(_owners(inodes))
    seen = {each.port for each in known}
    return (*known, *(Listener(port) for port in sorted(set(inodes.values()) - seen)))


def groups(ports: Collection[int]) -> dict[int, dict[int, Listener]]:
    """Return per port the process groups that hold its listening socket, as far as known."""
    found: dict[int, dict[int, Listener]] = {}
    for each in _owners(_inodes(ports)):
        if each.group is not None:
            found.setdefault(each.port, {})[each.group] = each
    return found


def parse(
    table: str, ports: Collection[int], *, everywhere: bool = False, protocol: str = "tcp"
) -> dict[str, int]:
    """Return inode → port of the sockets in the kernel's `table` that listen on `ports`.

    Those that clash with this machine's own address, or with `everywhere` those at any address.
    """
    found = {}
    for line in table.splitlines()[1:]:
        row = line.split()
        address, _, port = row[1].rpartition(":")
        counts = everywhere or address in CLASHING
        if row[3] == LISTEN[protocol] and counts and int(port, 16) in ports:
            found[row[9]] = int(port, 16)
    return found


def _inodes(
    ports: Collection[int], *, everywhere: bool = False, protocol: str = "tcp"
) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in (protocol, f"{protocol}6") if ports else ():
        with suppress(FileNotFoundError):
            table = Path("/proc/net", name).read_text("ascii")
            found.update(parse(table, ports, everywhere=everywhere, protocol=protocol))
    return found


def _owners(inodes: Mapping[str, int]) -> Iterator[Listener]:
    wanted = {f"socket:[{inode}]": port for inode, port in inodes.items()}
    for process in Path("/proc").glob("[1-9]*"):
        for port in _held(process, wanted):
            with suppress(OSError):
                pid = int(process.name)
                yield Listener(port, pid, os.getpgid(pid), command(pid))


def _held(process: Path, wanted: Mapping[str, int]) -> set[int]:
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                link = str(descriptor.readlink())
                if link in wanted:
                    found.add(wanted[link])
    return found


def command(pid: int) -> str:
    """Return the command line of a process, as far as it tells."""
    raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()
