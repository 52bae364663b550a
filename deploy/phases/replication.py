"""Redis with Sentinels: what each says of who is the primary, and what is wrong with that. Pure.

The Sentinels decide; nothing here ever names a primary. How they are asked is for
`deploy.phases.redis`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DIGITS = 20
"""Of the largest number of 64 bits."""
SERVICE = "mymaster"
"""What Sentinels call the primary; the name that all their clients take for granted."""


class Answer(Enum):
    """How somebody who was asked took it."""

    WELL = "well"
    SILENT = "silent"
    """Nobody is there."""
    LOCKED = "locked"
    """It wants another password."""
    LOADING = "loading"


@dataclass(frozen=True, slots=True)
class Server:
    """What a head's Redis says: whose replica it is, and how far it is with that.

    `replicas` are the addresses of those that follow it and are up to date.
    """

    head: str
    address: str
    answer: Answer = Answer.SILENT
    primary: bool = False
    of: str = ""
    linked: bool = False
    offset: int = 0
    replicas: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Watch:
    """What a head's Sentinel says: who is the primary, and how many others watch with it."""

    head: str
    answer: Answer = Answer.SILENT
    primary: str = ""
    down: bool = False
    others: int = 0
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """All that was heard of the heads that were reached; `expected` is how many there are."""

    servers: tuple[Server, ...]
    watches: tuple[Watch, ...] = ()
    expected: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    """Heads by address."""

    @property
    def primary(self) -> str:
        """The address that all Sentinels which answer agree on; nothing if they do not."""
        said = {each.primary for each in self.watches if each.answer is Answer.WELL}
        return said.pop() if len(said) == 1 else ""

    @property
    def locked(self) -> tuple[str, ...]:
        """Heads whose Redis or Sentinel wants another password."""
        every: tuple[Server | Watch, ...] = (*self.servers, *self.watches)
        return tuple(dict.fromkeys(each.head for each in every if each.answer is Answer.LOCKED))


def fault(view: View) -> str:
    """Say what is not as it should be; nothing if all is well."""
    return next((told for told in _faults(view) if told), "")


def _faults(view: View) -> Iterable[str]:
    yield from (_answers(each, "Redis") for each in view.servers)
    yield from (_answers(each, "Sentinel") for each in view.watches)
    yield _agreed(view)
    yield from (_follows(each, view) for each in view.servers)
    yield from (_watches(each, view) for each in view.watches)


def _answers(one: Server | Watch, what: str) -> str:
    match one.answer:
        case Answer.WELL:
            return ""
        case Answer.LOCKED:
            return f"{what} on {one.head} wants another password"
        case Answer.LOADING:
            return f"{what} on {one.head} still reads its data"
        case _:
            return f"{what} on {one.head} does not answer"


def _agreed(view: View) -> str:
    told = ", ".join(f"{each.head}: {_name(each.primary, view)}" for each in view.watches)
    if view.watches and not view.primary:
        return f"Sentinels do not agree on the primary ({told})"
    first = [each.head for each in view.servers if each.primary]
    if len(first) > 1:
        return f"{' and '.join(first)} both take themselves for the primary"
    if not first:
        return f"no head is the primary (Sentinels: {told})" if told else "no head is the primary"
    return ""


def _follows(one: Server, view: View) -> str:
    """Say what is wrong with a replica, or with the primary that it has."""
    if one.primary:
        named = view.primary
        return "" if named in ("", one.address) else f"{one.head} is not the primary any more"
    if view.primary and one.of != view.primary:
        return f"{one.head} follows {_name(one.of, view)}, which is not the primary"
    first = next((each for each in view.servers if each.primary), None)
    if not one.linked or (first is not None and one.address not in first.replicas):
        return f"{one.head} is not up to date with the primary yet"
    return ""


def _watches(one: Watch, view: View) -> str:
    if one.down:
        return f"the Sentinel on {one.head} takes the primary for down"
    lacking = view.expected - 1
    if view.expected and one.others < lacking:
        return f"the Sentinel on {one.head} knows {one.others} of {lacking} others"
    if view.expected and one.replicas < lacking:
        return f"the Sentinel on {one.head} knows {one.replicas} of {lacking} replicas"
    return ""


def _name(address: str, view: View) -> str:
    return view.names.get(address, address) or "nobody"


def behind(servers: Sequence[Server]) -> str:
    """Say which replica lacks something that the primary has; nothing if none does."""
    most = max((each.offset for each in servers if each.primary), default=0)
    late = [each.head for each in servers if not each.primary and each.offset < most]
    return f"{', '.join(late)} lacks what the primary has" if late else ""


def order(heads: Sequence[str], view: View) -> tuple[str, ...]:
    """Put heads in the order in which they are restarted: replicas, then the primary."""
    first = next((each.head for each in view.servers if each.primary), "")
    return tuple(sorted(heads, key=lambda head: head == first))


def server(head: str, address: str, said: str) -> Server:
    """Read what a Redis said to `INFO replication`."""
    answer = answered(said)
    facts = dict(line.strip().partition(":")[::2] for line in said.splitlines() if ":" in line)
    if answer is not Answer.WELL or "role" not in facts:
        return Server(head, address, Answer.SILENT if answer is Answer.WELL else answer)
    primary = facts["role"] == "master"
    return Server(
        head,
        address,
        answer,
        primary=primary,
        of="" if primary else facts.get("master_host", ""),
        linked=facts.get("master_link_status") == "up",
        offset=_count(facts.get("master_repl_offset" if primary else "slave_repl_offset")),
        replicas=frozenset(_replicas(facts)),
    )


def _replicas(facts: Mapping[str, str]) -> Iterable[str]:
    for key, value in facts.items():
        if key.removeprefix("slave").isdigit():
            said = dict(part.partition("=")[::2] for part in value.split(","))
            if said.get("state") == "online":
                yield said.get("ip", "")


def watch(head: str, said: str) -> Watch:
    """Read what a Sentinel said to `SENTINEL MASTER`: names and values, a line each."""
    answer = answered(said)
    lines = said.splitlines()
    # What was answered to the password stands before it.
    start = lines.index("name") if "name" in lines else len(lines)
    facts = dict(zip(lines[start::2], lines[start + 1 :: 2], strict=False))
    if answer is not Answer.WELL or "ip" not in facts:
        return Watch(head, Answer.SILENT if answer is Answer.WELL else answer)
    flags = facts.get("flags", "").split(",")
    return Watch(
        head,
        answer,
        facts["ip"],
        down="s_down" in flags or "o_down" in flags,
        others=_count(facts.get("num-other-sentinels")),
        replicas=_count(facts.get("num-slaves")),
    )


def answered(said: str) -> Answer:
    """Tell from what came back how somebody took being asked."""
    if "WRONGPASS" in said or "NOAUTH" in said or "without any password configured" in said:
        return Answer.LOCKED
    if "LOADING" in said:
        return Answer.LOADING
    return Answer.WELL if said.strip() and "Could not connect" not in said else Answer.SILENT


def whole(text: str) -> int | None:
    """Read a number as Redis writes one; nothing if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def _count(text: str | None) -> int:
    return whole(text or "") or 0
