"""What a volume is to have whatever a site says, and what no site can ask of it. Pure.

Quorum is not to be had off; who is let in, and how soon a copy is healed, is what it is by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.phases.storage_values import Objection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.phases.gluster import Volume
    from deploy.phases.storage_values import Head, Wish

QUORUM = {"cluster.quorum-type": "auto", "cluster.server-quorum-type": "server"}
"""Without these both halves of a cluster that fell apart would take writes."""
# A client that has not yet connected to a copy that is back goes on writing to the others alone;
# what the self-heal daemon so missed waits for its next look: ten minutes, if nobody says else.
LOOKS = {"cluster.heal-timeout": "30"}
# Only root of a head gets at a copy; who stands somewhere else, or is not root, is not let in.
ROOT_ALONE = {"server.allow-insecure": "off", "client.bind-insecure": "off"}
ALLOWED = "auth.allow"
SETTINGS = "cluster: phases: storage: in sealift.yaml"
SYSTEM = frozenset(
    ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin")
) | {"sys", "usr"}
"""Folders of `/` below which nobody's copy lies, for with a volume its copies are removed."""
STATE = "var"


def wanted_options(wish: Wish, heads: Sequence[Head]) -> dict[str, str]:
    """Return the options that the volume is to have."""
    allowed = {ALLOWED: ",".join(head.address for head in heads)}
    return {**LOOKS, **ROOT_ALONE, **allowed, **wish.options, **QUORUM}


def is_unfit(path: str) -> bool:
    """Tell whether a path may not be a head's copy: one of the system's own, or not plain."""
    parts = path.split("/")[1:]
    return _is_foreign(path) or len(parts) < (3 if parts[0] == STATE else 2)


def _is_foreign(path: str) -> bool:
    """Tell whether a path leads below what is the system's alone, or elsewhere than it seems."""
    root, *parts = path.split("/")
    plain = not root and bool(parts) and all(parts) and not {".", ".."} & set(parts)
    return not plain or parts[0] in SYSTEM


def contradictions(wish: Wish) -> Iterator[Objection]:
    """Refuse what no volume is made by."""
    for key in sorted(QUORUM.keys() & wish.options.keys()):
        if wish.options[key] != QUORUM[key]:
            yield Objection(
                "",
                f"the option {key} is {QUORUM[key]} always: else a cluster that falls apart "
                "has two truths",
                "quorum-option",
                f"take it out of options, at {SETTINGS}",
            )
    if is_unfit(wish.brick) or _lie_in_each_other(wish.brick, wish.mount):
        yield Objection(
            "",
            f"{wish.brick} can be no copy: it is the system's, no plain path, or lies about "
            f"{wish.mount}",
            "path-unfit",
            f"choose a folder of its own for brick, at {SETTINGS}",
        )
    if _is_foreign(wish.mount):
        yield Objection(
            "",
            f"nothing is mounted at {wish.mount}: it is the system's, or no plain path",
            "path-unfit",
            f"choose another mount, at {SETTINGS}",
        )
    for path in (each for each in wish.folders if ".." in each.split("/")):
        yield Objection(
            "",
            f"{path} is no folder of the volume",
            "path-unfit",
            f"say directories by their paths below its root, at {SETTINGS}",
        )


def _lie_in_each_other(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def wrong(wish: Wish, volume: Volume, heads: Sequence[Head]) -> tuple[tuple[str, str], ...]:
    """Return the options that the volume has not as they are wanted."""
    wanted = sorted(wanted_options(wish, heads).items())
    return tuple(each for each in wanted if volume.options.get(each[0]) != each[1])


def later(wish: Wish, volume: Volume, heads: Sequence[Head]) -> Iterator[tuple[str, str]]:
    """Tell of options for which whoever has mounted the volume would lose it at once."""
    for key, value in wrong(wish, volume, heads) if volume.started else ():
        if key in ROOT_ALONE:
            yield "", f"{key} becomes {value} when a run finds {volume.name} stopped and unmounted"
