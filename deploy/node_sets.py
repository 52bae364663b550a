"""Sets of host names as operators write them: `head[1-3]`, `@heads`, `@heads!head2`.

ClusterShell reads them. It takes much for a name (`../x`, `$(id)`), takes a group that is not
there for an empty one, expands ranges of any size, and would ask its own configuration for
groups; so what goes in and what comes out is held to a grammar here.
"""

from __future__ import annotations

import re
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST = 10_000
"""Names in one set; a site has some hundreds."""

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,62})\Z")
_WRITTEN = re.compile(r"[a-zA-Z0-9.\-\[\],/@!&^_]{1,65536}\Z")
_OPERATORS = re.compile(r"[,!&^](?![^\[]*\])")
_GROUP = re.compile(r"@([A-Za-z0-9._-]*)")
_RANGES = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?:/([1-9][0-9]{0,8}))?)?\Z")
_NONE: Mapping[str, str] = MappingProxyType({})


def is_host_name(name: str) -> bool:
    """Tell whether a host may be called so."""
    return _NAME.match(name) is not None


def expand(text: str, groups: Mapping[str, str] = _NONE) -> tuple[str, ...]:
    """Return the names of a set, in the order of their numbers.

    `groups` are names of groups and the plain names in them, with commas between.

    Raises:
        InputError: it cannot be read, names a group that is not there, is too large, holds what
            is no host name, or is empty.
    """
    written = text.replace(" ", "")
    _check(text, written, groups)
    names = _names(text, written, groups)
    for name in names:
        if not is_host_name(name):
            raise _refuse(text, f"{name!r} is no host name")
    if not names:
        raise _refuse(text, "no host is in the set", hint="name at least one host")
    return names


def fold(names: Iterable[str]) -> str:
    """Spell names as one set: `head[1-3]`."""
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet  # noqa: PLC0415 - heads have none

    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))


def _names(text: str, written: str, groups: Mapping[str, str]) -> tuple[str, ...]:
    # Loaded here because heads have no ClusterShell, and know no other host.
    from ClusterShell.NodeSet import NodeSet, NodeSetException  # noqa: PLC0415
    from ClusterShell.NodeUtils import GroupResolver, GroupSource  # noqa: PLC0415
    from ClusterShell.RangeSet import RangeSetException  # noqa: PLC0415

    # Not the resolver that is the default: it runs what /etc/clustershell says.
    resolver = GroupResolver(GroupSource("sealift", dict(groups)))
    try:
        return tuple(NodeSet(written, resolver=resolver))
    except (NodeSetException, RangeSetException) as fault:
        raise _refuse(text, f"this is no set of hosts: {fault}") from fault


def _check(text: str, written: str, groups: Mapping[str, str]) -> None:
    if not written:
        raise _refuse(text, "no host is named", hint="name at least one host, or a @group")
    if not _WRITTEN.match(written):
        raise _refuse(text, "this is no set of hosts")
    for name in _GROUP.findall(written):
        if name not in groups:
            have = ", ".join(f"@{each}" for each in sorted(groups)) or "none"
            raise _refuse(text, f"there is no group @{name}", got=f"there are: {have}")
    ranges = [each for found in _RANGES.findall(written) for each in found.split(",")]
    if not all(map(_RANGE.match, ranges)):
        raise _refuse(text, "this is no set of hosts: a range is two numbers, as in [1-3]")
    if any(
        last and int(last) < int(first)
        for each in ranges
        for first, last, _ in _RANGE.findall(each)
    ):
        raise _refuse(text, "this is no set of hosts: a range begins with its smaller number")
    if sum(map(_size, _OPERATORS.split(written))) > MOST:
        raise _refuse(text, f"the set has more than {MOST} names")


def _size(pattern: str) -> int:
    """Count the names of one pattern, before anything expands it."""
    return prod(sum(map(_length, found.split(","))) for found in _RANGES.findall(pattern))


def _length(text: str) -> int:
    first, last, step = _RANGE.findall(text)[0]
    return max(1, (int(last or first) - int(first)) // int(step or 1) + 1)


def _refuse(
    text: str, reason: str, *, got: str | None = None, hint: str | None = None
) -> InputError:
    shown = text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - a line of a terminal
    return InputError(
        reason,
        where=repr(shown),
        got=got,
        hint=hint or "sealift inventory list; sets look like head[1-3], head1,head2 or @heads",
    )
