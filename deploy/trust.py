"""Host keys that hosts say they have, beside those that are pinned for them.

A decision of a person: here is only what that person is shown, and what follows from a yes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from deploy.known_hosts import pin, pinned
from deploy.ssh_errors import HostKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from deploy.known_hosts import HostKey
    from deploy.route import Hop

    Ask = Callable[[Sequence[Hop]], tuple[HostKey, ...]]
    """Asks the last of some hops for its keys: `deploy.transport.host_keys`, and a fake's."""


class State(Enum):
    """How what a host says stands to what is pinned for it."""

    NEW = "new"
    KNOWN = "pinned"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Finding:
    """A host, the keys that it says it has, and those that are pinned."""

    name: str
    pin: str
    keys: tuple[HostKey, ...]
    known: tuple[HostKey, ...]

    @property
    def state(self) -> State:
        """Tell how the two stand to each other; a pinned key that is gone is a change."""
        if not self.known:
            return State.NEW
        return State.KNOWN if set(self.known) <= set(self.keys) else State.CHANGED


def levels(routes: Iterable[Sequence[Hop]]) -> list[list[tuple[Hop, ...]]]:
    """Return the hops to ask, gateways before what lies behind them, each once."""
    found: list[list[tuple[Hop, ...]]] = []
    seen: set[str] = set()
    ways = [tuple(route) for route in routes]
    for depth in range(1, max(map(len, ways), default=0) + 1):
        level = []
        for way in ways:
            if len(way) >= depth and way[depth - 1].pin not in seen:
                seen.add(way[depth - 1].pin)
                level.append(way[:depth])
        if level:
            found.append(level)
    return found


def look(file: Path, ways: Sequence[Sequence[Hop]], ask: Ask, *, parallel: int) -> list[Finding]:
    """Ask the last hop of each way for its keys, some at once.

    Raises:
        TransportError: one of them cannot be asked.
    """
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        answers = pool.map(ask, ways)
        return [
            Finding(way[-1].name, way[-1].pin, keys, pinned(file, way[-1].pin))
            for way, keys in zip(ways, answers, strict=True)
        ]


def check(findings: Iterable[Finding], *, replace: bool) -> None:
    """Refuse keys that have changed, unless they are to be replaced.

    Raises:
        HostKeyError: one has, and names it.
    """
    changed = [each for each in findings if each.state is State.CHANGED]
    if changed and not replace:
        first = changed[0]
        raise HostKeyError(
            "the host has another key than the one that is pinned",
            where=", ".join(each.name for each in changed),
            expected=spell(first.known),
            got=spell(first.keys),
            hint=f"find out why; if it was installed anew: sealift trust {first.name} --replace",
        )


def accept(file: Path, findings: Iterable[Finding]) -> None:
    """Pin what these hosts say, in place of what was pinned for them."""
    for each in findings:
        if each.state is not State.KNOWN:
            pin(file, each.pin, each.keys)


def spell(keys: Iterable[HostKey]) -> str:
    """Spell keys by type and fingerprint."""
    return ", ".join(f"{key.type} {key.fingerprint}" for key in keys)
