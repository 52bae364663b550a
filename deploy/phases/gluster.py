"""What GlusterFS says of itself, as its command line tells in XML: peers, a volume, its copies.

Text in, values out; nothing is run here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from deploy.phases.errors import PhaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IN_CLUSTER = 3
"""The state of a peer that all have agreed on."""
REPLICATE, PLAIN = "Replicate", "Distribute"
DIGITS = 18
"""Of a number of files; more are none."""
UNCOUNTED = "-"
"""What stands for a number where a brick does not answer."""


class GlusterError(PhaseError):
    """What GlusterFS refused, in its own words."""

    slug = "gluster-refused"


@dataclass(frozen=True, slots=True)
class Peer:
    """A member of a pool; `names` are what it is known by there, `localhost` for who was asked."""

    uuid: str
    names: tuple[str, ...]
    connected: bool
    agreed: bool = True


@dataclass(frozen=True, slots=True)
class Brick:
    """A copy of a volume: the host's name or address as the volume has it, and the folder."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}:{self.path}"


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as glusterd knows it."""

    name: str
    identity: str
    started: bool
    kind: str
    bricks: tuple[Brick, ...]
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def whole(self) -> bool:
        """Whether each of its bricks is a copy of all of it."""
        return self.kind == REPLICATE or (self.kind == PLAIN and len(self.bricks) == 1)


@dataclass(frozen=True, slots=True)
class Heal:
    """What a brick lacks: files to be healed, and files of which nobody knows which copy is right.

    `pending` is None where the brick does not answer.
    """

    brick: Brick
    pending: int | None
    split: int = 0


def pool(text: str) -> tuple[Peer, ...]:
    """Read `gluster --xml pool list`.

    Raises:
        GlusterError: gluster refused, or this is no such answer.
    """
    return tuple(
        Peer(
            uuid=_text(each, "uuid"),
            names=_names(each),
            connected=_text(each, "connected") == "1",
            agreed=_text(each, "state", str(IN_CLUSTER)) == str(IN_CLUSTER),
        )
        for each in _document(text, "peerStatus").iter("peer")
    )


def volumes(text: str) -> dict[str, Volume]:
    """Read `gluster --xml volume info`: the volumes, by name.

    Raises:
        GlusterError: see `pool`.
    """
    found = (_volume(each) for each in _document(text, "volInfo").iter("volume"))
    return {each.name: each for each in found}


def online(text: str) -> frozenset[Brick]:
    """Read `gluster --xml volume status NAME`: the bricks that are up.

    Raises:
        GlusterError: see `pool`.
    """
    return frozenset(
        Brick(_text(each, "hostname"), _text(each, "path"))
        for each in _document(text).iter("node")
        if _text(each, "status") == "1" and _text(each, "path").startswith("/")
    )


def heals(text: str) -> tuple[Heal, ...]:
    """Read `gluster --xml volume heal NAME info summary`.

    Raises:
        GlusterError: see `pool`.
    """
    return tuple(
        Heal(
            brick=_brick(_text(each, "name")),
            pending=_count(_text(each, "totalNumberOfEntries", UNCOUNTED)),
            split=_count(_text(each, "numberOfEntriesInSplitBrain", UNCOUNTED)) or 0,
        )
        for each in _document(text).iter("brick")
    )


def said(text: str) -> str:
    """Return what gluster refused with; nothing where it did what it was told.

    Raises:
        GlusterError: it is no answer.
    """
    return _refusal(_parsed(text))


def _document(text: str, has: str = "") -> ET.Element:
    """Return an answer that is no refusal and has what was asked for: silence is no `none`."""
    root = _parsed(text)
    refused = _refusal(root)
    if refused:
        raise GlusterError(f"gluster refuses: {refused}", got=refused)
    if has and root.find(has) is None:
        raise GlusterError("gluster answers something else", expected=has, got=text.strip()[-200:])
    return root


def _parsed(text: str) -> ET.Element:
    try:
        # It comes from a head of ours, which could do worse than to send hostile XML.
        return ET.fromstring(text.strip())  # noqa: S314
    except ET.ParseError as error:
        said = " ".join(text.split())[-200:]
        raise GlusterError("gluster does not answer in XML", got=said or str(error)) from error


def _refusal(root: ET.Element) -> str:
    if _text(root, "opRet", "0") == "0":
        return ""
    return _text(root, "opErrstr") or f"error {_text(root, 'opErrno', 'unknown')}"


def _names(peer: ET.Element) -> tuple[str, ...]:
    every = [each.text.strip() for each in peer.iter("hostname") if each.text]
    return tuple(dict.fromkeys(every)) or (_text(peer, "uuid", UNCOUNTED),)


def _volume(found: ET.Element) -> Volume:
    return Volume(
        name=_text(found, "name"),
        identity=_text(found, "id"),
        started=_text(found, "statusStr") == "Started",
        kind=_text(found, "typeStr"),
        bricks=tuple(_brick(_text(each, "name")) for each in found.iter("brick")),
        options=dict(_options(found)),
    )


def _options(found: ET.Element) -> Iterator[tuple[str, str]]:
    for each in found.iter("option"):
        yield _text(each, "name"), _text(each, "value")


def _brick(text: str) -> Brick:
    host, _, path = text.rpartition(":/")
    return Brick(host, f"/{path}")


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None


def _text(found: ET.Element, name: str, default: str = "") -> str:
    each = found.find(name)
    return default if each is None or each.text is None else each.text.strip()
