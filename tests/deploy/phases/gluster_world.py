"""GlusterFS as heads of a cluster know it, without any: what they answer, in its own XML.

Heads can be cut off, emptied or switched off, and an order can be the last thing that a head does.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.errors import HeadLostError
from deploy.phases import storage, storage_look, storage_mount, storage_removal, storage_steps
from deploy.phases.crew import Crew
from deploy.phases.member import Ended
from deploy.phases.state import Record, State, UnitState
from tests.deploy.phases.fakes import FakeMember, Time, configuration

if TYPE_CHECKING:
    from tests.deploy.phases.fakes import Answer

REFUSED = "<cliOutput><opRet>-1</opRet><opErrno>0</opErrno><opErrstr>{}</opErrstr></cliOutput>"
OK = "<cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr/>{}</cliOutput>"
OWN = "localhost:/shared"
PARAMETERS = {
    "volume": "shared",
    "mount": "/mnt/gluster",
    "brick": "/srv/gluster/brick",
    "on_root": True,
    "options": {},
    "ping_timeout": 5,
    "directories": {},
    "heal_seconds": 30,
}


class PowerCutError(Exception):
    """The operator is gone in the middle of something."""


@dataclass(frozen=True)
class Host:
    name: str
    address: str


@dataclass
class Disk:
    """One head: what its disk has, and what runs on it."""

    name: str
    address: str
    uuid: str
    peers: set[str] = field(default_factory=set)
    """Addresses of those that its pool has besides itself."""
    knows: dict[str, str] = field(default_factory=dict)
    """Identities of them, by address."""
    volume: Volume | None = None
    brick: str = storage_look.ABSENT
    identity: str = ""
    """Of the volume that the folder of the brick belongs to."""
    misses: str = ""
    """Where its copy's disk is to be mounted, and is not."""
    mark: str = ""
    """What its folder bears since it is to be removed."""
    runs: bool = False
    up: bool = True
    mounted: str = ""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """What else is mounted by GlusterFS, by place."""
    moving: bool = False
    """Whether its mount runs with what the phase had before."""
    busy: bool = False
    """Whether its client is ended before it has unmounted."""
    lost: bool = False
    """Whether its session broke."""
    text: dict[str, str] = field(default_factory=dict)
    record: Record | None = None
    member: FakeMember = field(init=False)

    @property
    def words(self) -> list[str]:
        """All commands that it ran."""
        return [" ".join(each) for each in self.member.ran]


@dataclass
class Volume:
    """The volume: one value that all heads of the pool share."""

    identity: str
    bricks: list[str]
    options: dict[str, str] = field(default_factory=dict)
    started: bool = False
    files: dict[str, str] = field(default_factory=dict)
    pending: int = 0
    mute: bool = False
    """Whether its copies do not say what they lack."""


@dataclass
class World:
    """Heads by name; `left` orders may be given before the operator is gone."""

    heads: dict[str, Disk]
    left: int = 10**6
    made: int = 0
    """Volumes that were ever created."""

    @classmethod
    def of(cls, count: int) -> World:
        names = [f"head{number}" for number in range(1, count + 1)]
        heads = {
            name: Disk(name, f"10.0.0.{at}", str(uuid.UUID(int=at)))
            for at, name in enumerate(names, 11)
        }
        world = cls(heads)
        for disk in heads.values():
            disk.member = FakeMember(disk.name, disk.address, world.answering(disk))
        return world

    def lays(self, before: str, *, state: str = "verified") -> None:
        """Let a configuration be laid on all heads whose mount is at `before`."""
        for disk in self.heads.values():
            disk.text["/store/now/phase.json"] = before
            disk.text["/store/before/phase.json"] = "/mnt/older"
            disk.record = Record("/store/now", state, 1.0, "me", before="/store/before")

    def moves(self, before: str, **verified: str) -> None:
        """Let the volume be mounted where the phase had it until its parameter was changed."""
        self.lays(before, **verified)
        for disk in self.heads.values():
            disk.mounted, disk.elsewhere, disk.moving = "", {before: OWN}, True

    def crew(self, *names: str, laid: bool = False, **parameters: object) -> Crew:
        """Return the heads as a phase has them: of `names` those that are up are members."""
        for disk in self.heads.values():
            disk.member.unit = {
                storage_look.GLUSTERD: _unit(runs=disk.runs),
                storage_mount.MOUNT: _unit(
                    runs=bool(disk.mounted) or disk.moving, stale="restart" * disk.moving
                ),
            }
            state = State(disk.record, laid=laid, units=disk.member.unit)
            disk.member.found = {"storage": state}
        hosts = tuple(Host(each.name, each.address) for each in self.heads.values())
        wanted = configuration(**{**PARAMETERS, **parameters})
        vars(wanted)["hosts"] = hosts
        there = [each for each in self.heads.values() if each.up]
        chosen = names or tuple(self.heads)
        return Crew(
            "storage",
            tuple(each.member for each in there if each.name in chosen),
            tuple(each.member for each in there if each.name not in chosen),
            tuple(each.name for each in self.heads.values() if not each.up),
            configurations=dict.fromkeys(self.heads, wanted),
            states={each.name: each.member.found["storage"] for each in there},
            clock=Time().clock,
            parallel=1,
        )

    def answering(self, disk: Disk) -> Answer:
        """Return what answers the commands of one head."""

        def answer(argv: tuple[str, ...], _input: str) -> Ended | str | None:
            if disk.lost:
                raise HeadLostError("the connection broke", where=disk.name)
            match argv:
                case ("sh", "-c", script, *words):
                    return self._script(disk, script, words)
                case ("systemctl", word, *units):
                    self._spend()
                    return self._systemctl(disk, word, units)
                case ("gluster", "--mode=script", "--xml", *words):
                    return self._gluster(disk, tuple(words))
            return self._tool(disk, argv)

        return answer

    def _script(self, disk: Disk, script: str, words: list[str]) -> Ended | str:
        if script == storage_look.SCRIPT:
            return self._seen(disk)
        if script == storage_steps.FRESH:
            return self._fresh(disk)
        if script in (storage_removal.PROVE, storage_removal.MARK, storage_removal.REMOVE):
            return self._removal(disk, script, words)
        if script == storage.WRITE:
            _, path, text = words
            self._mounted(disk).files[path] = text
        return ""

    def _removal(self, disk: Disk, script: str, words: list[str]) -> Ended | str:
        _, volume, brick, *_ = words
        known = disk.volume is not None and f"{disk.address}:{brick}" in disk.volume.bricks
        proven = known and disk.identity == (disk.volume.identity if disk.volume else None)
        form = disk.brick if disk.brick != storage_look.FULL else "foreign it is somebody's"
        if form.startswith("foreign") and (proven or disk.mark == volume):
            form = "ours"
        if script == storage_removal.PROVE:
            return f"{form}\n"
        self._spend()
        if script == storage_removal.MARK:
            disk.mark = volume if form == "ours" else disk.mark
        elif form.startswith("foreign"):
            return Ended(1, "", form)
        else:
            disk.brick, disk.identity, disk.mark = storage_look.ABSENT, "", ""
        return ""

    def _tool(self, disk: Disk, argv: tuple[str, ...]) -> str | None:
        match argv:
            case ("umount", "--lazy", place):
                del disk.elsewhere[place]
            case ("cat", path) if path.startswith("/store/"):
                return json.dumps({"parameters": {"mount": disk.text[path]}})
            case ("cat", *paths):
                return "".join(self._mounted(disk).files.get(each, "") for each in paths)
            case ("rm", "-f", *paths):
                for each in paths:
                    self._mounted(disk).files.pop(each, None)
            case ("sed", _, _, text, _):
                disk.uuid = text[-37:-1]
        return None

    def lose(self, name: str) -> None:
        """Take a head's power."""
        disk = self.heads[name]
        disk.up, disk.runs, disk.mounted = False, False, ""

    def wipe(self, name: str) -> None:
        """Install a head anew."""
        disk = self.heads[name]
        self.lose(name)
        disk.uuid, disk.up, disk.volume = str(uuid.uuid4()), True, None
        disk.peers, disk.knows = set(), {}
        disk.brick, disk.identity = storage_look.ABSENT, ""

    @property
    def volumes(self) -> list[Volume]:
        """All different volumes that heads know."""
        found: list[Volume] = []
        for disk in self.heads.values():
            if disk.volume is not None and all(disk.volume is not each for each in found):
                found.append(disk.volume)
        return found

    def _spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError

    def _mounted(self, disk: Disk) -> Volume:
        assert disk.mounted
        assert disk.volume is not None
        return disk.volume

    def _systemctl(self, disk: Disk, word: str, units: list[str]) -> str | None:
        starts = word in ("start", "restart")
        if storage_look.GLUSTERD in units and word in ("start", "stop", "restart"):
            disk.runs = starts
            if starts:
                self._learn(disk)
        if storage_mount.MOUNT in units and word in ("start", "stop", "restart"):
            disk.mounted, disk.moving = "", False
            if not disk.busy:
                disk.elsewhere = {at: of for at, of in disk.elsewhere.items() if of != OWN}
            if starts:
                assert disk.volume is not None
                assert disk.volume.started, "nothing can be mounted"
                disk.mounted = f"fuse.glusterfs {OWN}"
        return None

    def _learn(self, disk: Disk) -> None:
        """Hear of volume and peers from those that know this head by the identity it has."""
        for other in self.heads.values():
            if other.runs and other.knows.get(disk.address) == disk.uuid:
                disk.volume = other.volume
                disk.peers = (other.peers | {other.address}) - {disk.address}
                disk.knows = {**other.knows, other.address: other.uuid}
                disk.knows.pop(disk.address, None)
        if disk.volume is not None:
            self._fill(disk.volume)

    def _by_address(self, address: str) -> Disk:
        return next(each for each in self.heads.values() if each.address == address)

    def _seen(self, disk: Disk) -> str:
        lines = [f"brick {disk.brick}", "root yes"]
        if disk.mounted:
            lines.append(f"mounted {disk.mounted}")
        lines += [f"stood {each}" for each in disk.elsewhere if disk.moving]
        lines += [f"other {of} {place}" for place, of in disk.elsewhere.items()]
        if disk.misses:
            lines.append(f"misses {disk.misses}")
        if disk.volume is not None:
            lines.append("keeps shared")
        lines += [f"knows {each}" for each in sorted(disk.peers)]
        if disk.runs:
            for words in ("pool list", "volume info"):
                text = self._gluster(disk, tuple(words.split()))
                lines += [f"xml {words}", text, f"done {words}"]
        return "\n".join([*lines, "end here", ""])

    def _fresh(self, disk: Disk) -> Ended | str:
        self._spend()
        if disk.brick == storage_look.FULL:
            return Ended(1, "", "rmdir: failed to remove: Directory not empty")
        disk.brick, disk.identity = storage_look.EMPTY, ""
        return ""

    def _gluster(self, disk: Disk, words: tuple[str, ...]) -> str:
        if not disk.runs:
            return "Connection failed. Please check if gluster daemon is operational."
        if words[:2] == ("volume", "heal") and words[-1] == "full":
            return "Launching heal operation to perform full self heal"
        told = self._told(disk, words)
        if told is not None:
            return OK.format(told)
        self._spend()
        match words:
            case ("peer", "probe", address):
                return self._probe(disk, self._by_address(address))
            case ("peer", "detach", address):
                disk.peers.discard(address)
                return OK.format("")
            case ("volume", word, _, *rest):
                return self._volume(disk, word, tuple(rest))
        raise AssertionError(words)

    def _told(self, disk: Disk, words: tuple[str, ...]) -> str | None:
        """Answer a question; None if it is an order."""
        match words:
            case ("pool", "list"):
                return f"<peerStatus>{self._pool(disk)}</peerStatus>"
            case ("volume", "info"):
                return f"<volInfo><volumes>{_info(disk.volume)}</volumes></volInfo>"
            case ("volume", "status", _):
                return f"<volStatus>{self._status(disk)}</volStatus>"
            case ("volume", "heal", _, "info", "summary"):
                return f"<healInfo><bricks>{self._heal(disk)}</bricks></healInfo>"
        return None

    def _pool(self, disk: Disk) -> str:
        rows = [_peer(disk.uuid, "localhost", connected=True)]
        for address in sorted(disk.peers):
            other = self._by_address(address)
            known = disk.knows[address]
            there = other.up and other.runs and other.uuid == known
            rows.append(_peer(known, address, connected=there))
        return "".join(rows)

    def _probe(self, disk: Disk, other: Disk) -> str:
        if not (other.up and other.runs):
            return REFUSED.format("Probe returned with Transport endpoint is not connected")
        if other.peers and disk.address not in other.peers:
            return REFUSED.format(f"{other.address} is already part of another cluster")
        pool = {disk.address, *disk.peers, other.address}
        knows = {**disk.knows, disk.address: disk.uuid, other.address: other.uuid}
        for address in pool:
            each = self._by_address(address)
            if each.up and each.runs:
                each.peers = pool - {address}
                each.knows = {key: value for key, value in knows.items() if key != address}
                each.volume = disk.volume
        return OK.format("")

    def _volume(  # noqa: C901 - an arm for each order
        self, disk: Disk, word: str, rest: tuple[str, ...]
    ) -> str:
        pool = [disk, *(self._by_address(each) for each in disk.peers)]
        if word == "create":
            return self._create(disk, pool, [each for each in rest if ":/" in each])
        volume = disk.volume
        if volume is None:
            return REFUSED.format("Volume shared does not exist")
        match word, rest:
            case "set", _:
                volume.options |= dict(zip(rest[::2], rest[1::2], strict=True))
            case "start", _:
                if volume.started and "force" not in rest:
                    return REFUSED.format("Volume shared already started")
                volume.started = True
                self._fill(volume)
            case "add-brick", ("replica", _, brick, "force"):
                volume.bricks.append(brick)
                self._owned(brick, volume)
                self._fill(volume)
            case "reset-brick", (brick, *more):
                if more[-1:] == ["force"]:
                    self._owned(brick, volume)
                    self._fill(volume)
            case "stop", _:
                volume.started = False
            case "delete", _:
                for each in pool:
                    each.volume = None
        return OK.format("")

    def _create(self, disk: Disk, pool: list[Disk], bricks: list[str]) -> str:
        if disk.volume is not None:
            return REFUSED.format("Volume shared already exists")
        assert {each.partition(":")[0] for each in bricks} <= {each.address for each in pool}
        volume = Volume(str(uuid.uuid4()), bricks)
        self.made += 1
        for each in pool:
            if each.up and each.runs:
                each.volume = volume
        for brick in bricks:
            self._owned(brick, volume)
        return OK.format("")

    def _owned(self, brick: str, volume: Volume) -> None:
        disk = self._by_address(brick.partition(":")[0])
        assert disk.brick == storage_look.EMPTY, "a folder with files was taken for a brick"
        assert not disk.identity, "the folder is part of another volume"
        disk.identity = volume.identity

    def _fill(self, volume: Volume) -> None:
        for brick in volume.bricks if volume.started else ():
            disk = self._by_address(brick.partition(":")[0])
            if disk.runs and disk.identity == volume.identity:
                disk.brick = storage_look.FULL

    def _status(self, disk: Disk) -> str:
        rows = []
        for brick in disk.volume.bricks if disk.volume else ():
            host, _, path = brick.partition(":")
            there = self._by_address(host)
            up = there.up and there.runs and there.identity == disk.volume.identity  # type: ignore[union-attr]
            rows.append(
                f"<node><hostname>{host}</hostname><path>{path}</path>"
                f"<status>{int(up)}</status></node>"
            )
        return "".join(rows)

    def _heal(self, disk: Disk) -> str:
        volume = disk.volume
        assert volume is not None
        rows = []
        for brick in volume.bricks:
            there = self._by_address(brick.partition(":")[0]).up and not volume.mute
            count = str(volume.pending) if there else "-"
            rows.append(
                f"<brick><name>{brick}</name>"
                f"<totalNumberOfEntries>{count}</totalNumberOfEntries></brick>"
            )
        volume.pending = max(0, volume.pending - 1)
        return "".join(rows)


def _unit(*, runs: bool, stale: str = "") -> UnitState:
    return UnitState("active", "running", stale=stale) if runs else UnitState("inactive", "dead")


def _peer(identity: str, host: str, *, connected: bool) -> str:
    return (
        f"<peer><uuid>{identity}</uuid><hostname>{host}</hostname><hostnames>"
        f"<hostname>{host}</hostname></hostnames><connected>{int(connected)}</connected>"
        "<state>3</state><stateStr>Peer in Cluster</stateStr></peer>"
    )


def _info(volume: Volume | None) -> str:
    if volume is None:
        return ""
    bricks = "".join(f"<brick>{each}<name>{each}</name></brick>" for each in volume.bricks)
    options = "".join(
        f"<option><name>{key}</name><value>{value}</value></option>"
        for key, value in volume.options.items()
    )
    kind = "Replicate" if len(volume.bricks) > 1 else "Distribute"
    return (
        f"<volume><name>shared</name><id>{volume.identity}</id>"
        f"<statusStr>{'Started' if volume.started else 'Created'}</statusStr>"
        f"<typeStr>{kind}</typeStr><bricks>{bricks}</bricks><options>{options}</options></volume>"
    )
