"""What a cluster's own programs say of it, asked as root on one head; sealift has no part in it.

Every program has a limit of time: on a head that was cut off some would wait for ever.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from tests.lab.cluster import REDIS_PASSWORD
from tests.lab.shell import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.head import LabHead

LIMIT = "20"
"""Seconds."""


def says(head: LabHead, *argv: str, limit: str = LIMIT, given: bytes = b"") -> str:
    """Return what a program writes.

    Raises:
        LabError: it failed, or took too long.
    """
    return head.run("timeout", limit, *argv, input=given).stdout.decode()


def sql(head: LabHead, statement: str, *, limit: str = LIMIT) -> list[list[str]]:
    """Return the rows of a statement."""
    words = ("mariadb", "--batch", "--skip-column-names", "--execute", statement)
    return [line.split("\t") for line in says(head, *words, limit=limit).splitlines()]


@dataclass(frozen=True, slots=True)
class Galera:
    """A database server's view of its cluster: number of servers, identity, and its own state."""

    size: int
    uuid: str
    status: str
    state: str

    @property
    def well(self) -> bool:
        """Whether it takes part and is no step behind."""
        return (self.status, self.state) == ("Primary", "Synced")


def galera(head: LabHead) -> Galera | None:
    """Ask a head's database server; None if it does not answer."""
    try:
        said = dict(sql(head, "SHOW GLOBAL STATUS LIKE 'wsrep_%'", limit="5"))
    except (LabError, ValueError):
        return None
    return Galera(
        int(said["wsrep_cluster_size"]),
        said["wsrep_cluster_state_uuid"],
        said["wsrep_cluster_status"],
        said["wsrep_local_state_comment"],
    )


def one_galera(heads: Iterable[LabHead]) -> str:
    """Say why the servers of some heads are not one cluster of just these; nothing if they are."""
    asked = list(heads)
    found = {head.name: galera(head) for head in asked}
    if any(each is None or not each.well or each.size != len(asked) for each in found.values()):
        return str(found)
    histories = {each.uuid for each in found.values() if each is not None}
    return "" if len(histories) == 1 else f"several histories: {found}"


def bricks(head: LabHead, volume: str) -> list[str]:
    """List the hosts whose brick of a volume is online."""
    found = _gluster(head, "volume", "status", volume)
    nodes = found.iterfind("volStatus/volumes/volume/node")
    rows = [{part.tag: part.text or "" for part in node} for node in nodes]
    return sorted(
        row["hostname"] for row in rows if row["path"].startswith("/") and row["status"] == "1"
    )


def unhealed(head: LabHead, volume: str, *words: str) -> str:
    """Say what waits to be healed on a volume; with `split-brain` what cannot be.

    Nothing if there is nothing, and every brick could tell.
    """
    found = _gluster(head, "volume", "heal", volume, "info", *words)
    every = [_lacks(brick) for brick in found.iterfind("healInfo/bricks/brick")]
    assert every, "gluster tells of no brick"
    return "; ".join(filter(None, every))


def _lacks(brick: ET.Element) -> str:
    count = brick.findtext("numberOfEntries")
    files = [each.text or "?" for each in brick.iterfind("file")]
    told = f"{brick.findtext('name')} {brick.findtext('status')} {count} {' '.join(files)}"
    return "" if count == "0" else told


def _gluster(head: LabHead, *words: str) -> ET.Element:
    return ET.fromstring(says(head, "gluster", "--mode=script", "--xml", *words))  # noqa: S314 - our own program's


def redis(head: LabHead, *words: str, limit: str = LIMIT) -> str:
    """Say something to the primary, as clients do that know of one Redis on their own host."""
    return _redis(head, "6379", *words, limit=limit)


def redis_primary(head: LabHead) -> str:
    """Return the address of the primary as the head's Sentinel knows it."""
    words = ("sentinel", "get-master-addr-by-name", "mymaster")
    return _redis(head, "26379", *words, limit="5").splitlines()[0]


def sentinel(head: LabHead) -> dict[str, str]:
    """Return what the head's Sentinel knows of the primary."""
    said = _redis(head, "26379", "sentinel", "master", "mymaster", limit="5").splitlines()
    return dict(zip(said[::2], said[1::2], strict=True))


def _redis(head: LabHead, port: str, *words: str, limit: str) -> str:
    login = ("-h", "127.0.0.1", "-p", port, "--no-auth-warning", "-a", REDIS_PASSWORD)
    said = says(head, "redis-cli", *login, *words, limit=limit).strip()
    # It ends well where the server refuses.
    if said.startswith(("ERR", "NOREPLICAS", "READONLY", "LOADING", "MASTERDOWN", "NOAUTH")):
        raise LabError(said)
    return said


def jobs(head: LabHead) -> list[dict[str, Any]]:
    """List Slurm's jobs as `squeue --json` has them."""
    found = json.loads(says(head, "squeue", "--json"))["jobs"]
    assert isinstance(found, list)
    return found


def nodes(head: LabHead) -> dict[str, str]:
    """Return the state of each Slurm node."""
    said = says(head, "sinfo", "--noheader", "--Node", "--format=%N %t")
    return dict(line.split() for line in said.splitlines())


def controllers_down(head: LabHead) -> str:
    """Say which of Slurm's controllers do not answer; nothing if all do."""
    said = says(head, "scontrol", "ping", limit="40").splitlines()
    return "; ".join(line for line in said if "DOWN" in line)


def units(head: LabHead, *names: str) -> dict[str, str]:
    """Return each unit's invocation: another one means that it was started anew."""
    asked = ("systemctl", "show", "--property=Id", "--property=InvocationID", *names)
    blocks = says(head, *asked).strip().split("\n\n")
    rows = (dict(line.split("=", 1) for line in block.splitlines()) for block in blocks)
    return {row["Id"]: row["InvocationID"] for row in rows}
