"""What a head keeps of its inventory's settings: those that hold, and those of a change under way.

As with secrets, what a change brings counts from `settle` on, and `drop` forgets it; a power cut
leaves the one or the other.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from deploy import durable
from deploy.orders import HeadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.layout import Layout


def load(layout: Layout) -> HeadSettings:
    """Return what will hold when the change under way is done; what holds, if there is none."""
    for file in (_next(layout), layout.head_settings):
        try:
            return HeadSettings.from_json(json.loads(file.read_text("utf-8")))
        except FileNotFoundError:
            continue
    return HeadSettings(_name())


def keep(layout: Layout, settings: HeadSettings) -> None:
    """Keep settings for the change that begins."""
    durable.write(_next(layout), json.dumps(settings.to_json(), sort_keys=True).encode() + b"\n")


def settle(layout: Layout) -> None:
    """Let what the change brought be what holds. Nothing is done twice."""
    fresh = _next(layout)
    if fresh.exists():
        fresh.replace(layout.head_settings)
        durable.sync_folder(fresh.parent)


def drop(layout: Layout) -> bool:
    """Forget what an unfinished change brought; tell whether that was anything new."""
    fresh = _next(layout)
    if not fresh.exists():
        return False
    old = layout.head_settings
    same = old.exists() and old.read_bytes() == fresh.read_bytes()
    durable.remove(fresh)
    return not same


def _next(layout: Layout) -> Path:
    return layout.head_settings.with_suffix(".next.json")


def _name() -> str:
    """Return what the machine calls itself, as far as that is a host's name."""
    plain = socket.gethostname().split(".")[0]
    return plain if plain.replace("-", "").isalnum() and plain.isascii() else "head"
