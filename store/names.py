"""Names that store paths may carry, and the mapping of foreign names onto them.

Pure. The digest in front of a name is `store.path`'s business.
"""

from __future__ import annotations

import re

from store.errors import InputError

LONGEST = 211
"""Bytes in the longest name, as in Nix: with digest and dash it fits a file name with suffix."""

_NAME = re.compile(r"[0-9A-Za-z+\-_?=][0-9A-Za-z+\-._?=]{0,210}")
SITE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z")
"""What a site may be called: it names files, and it is what a bundle says for whom it is."""
_FOREIGN = re.compile(r"[^0-9A-Za-z+\-._?=]")
_MAPPED = {"/": "-", ":": "-", "!": "-", "@": "-", "~": "_"}


def is_name(name: str) -> bool:
    """Tell whether a store path may carry `name`."""
    return _NAME.fullmatch(name) is not None


def is_site(name: str) -> bool:
    """Tell whether a site may be called so."""
    return SITE.match(name) is not None


def check_name(name: str) -> str:
    """Return `name` if a store path may carry it.

    Raises:
        InputError: it is empty, too long, starts with a dot or holds a foreign character.
    """
    if is_name(name):
        return name
    raise InputError(
        f"{name!r} cannot be the name of a store path",
        expected=f"1 to {LONGEST} of 0-9 A-Z a-z + - . _ ? =, not starting with a dot",
        hint="store.names.store_name maps foreign names",
    )


def store_name(text: str) -> str:
    """Map a foreign name (a Debian version, an npm scope, a PEP 440 epoch) onto a legal one.

    A leading `@` goes; `/`, `:`, `!` and other `@` become `-`; `~` and all else that is foreign
    become `_`, as does a leading dot. A name ending in `.drv` gets `_drv`, because Nix parses
    such paths. What is too long loses its end. Two texts may meet in one name: the digest in
    front of it, not the name, tells paths apart.

    Raises:
        InputError: nothing is left.
    """
    mapped = _FOREIGN.sub(lambda found: _MAPPED.get(found[0], "_"), text.removeprefix("@"))
    if mapped.startswith("."):
        mapped = "_" + mapped[1:]
    if mapped.endswith(".drv"):
        mapped = mapped[:-4] + "_drv"
    return check_name(mapped[:LONGEST])
