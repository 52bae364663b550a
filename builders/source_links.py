"""Check the symbolic links of a source against what goes in with them.

That a link stays inside of the source is for `builders.source_walk`; here, that it leads to
something that goes in, and that whoever follows links comes to an end.
"""

from __future__ import annotations

import os
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from builders.source_errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HINT = "put the file itself in, or name the link under `exclude`"


def check_links(root: str, files: Iterable[str], links: Mapping[str, str]) -> None:
    """Refuse links that lead nowhere or round in a circle; `links` are path → target.

    Raises:
        SourceError: there is such a link.
    """
    if not links:
        return
    known = {*files, *links}
    folders = {str(parent) for path in known for parent in PurePosixPath(path).parents}
    leads = {link: _end(root, link, target) for link, target in links.items()}
    for link, end in leads.items():
        if end not in known and end not in folders:
            raise _error(
                f"symbolic link {link!r} leads to {end!r}, which does not go in",
                f"{root}/{link}",
                links[link],
                f"name {end} under `include`, or the link under `exclude`",
            )
    _check_circles(root, folders, {link: end for link, end in leads.items() if end in folders})


def _end(root: str, link: str, target: str) -> str:
    """Return where a link leads at last, relative to the source."""
    full = f"{root}/{link}"
    end = os.path.realpath(full)
    if not os.path.lexists(end):
        raise _error(f"symbolic link {link!r} leads nowhere", full, target, _HINT)
    if not os.path.exists(full):  # noqa: PTH110 - a Path raises where links go round
        raise _circle(link, full, target)
    return os.path.relpath(end, root)


def _check_circles(root: str, folders: Iterable[str], leads: Mapping[str, str]) -> None:
    """Refuse folders that hold a link to a folder that holds them, by however many steps."""
    inside: dict[str, set[str]] = {_folder(link): set() for link in leads}
    for link, end in leads.items():
        inside[_folder(link)].add(end)
    for folder in folders:
        if folder != ".":
            inside.setdefault(_folder(folder), set()).add(folder)
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as fault:
        circle = set(fault.args[1])
        link = min(link for link, end in leads.items() if {_folder(link), end} <= circle)
        raise _circle(link, f"{root}/{link}", leads[link]) from None


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _circle(link: str, full: str, target: str) -> SourceError:
    return _error(f"symbolic link {link!r} leads round in a circle", full, target, _HINT)


def _error(reason: str, where: str, got: str, hint: str) -> SourceError:
    return SourceError(reason, where=where, got=got, hint=hint)
