"""State of services: folders and files outside the store that outlive every release.

A release links its state paths to here and may bring seeds, which are copied where nothing is
yet. What is there is never touched.
"""

from __future__ import annotations

import errno
import filecmp
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import BadReleaseError, StateError
from deploy.events import Event, Observe, What
from store.database import DiskFullError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from deploy.layout import Layout
    from deploy.release import Service
    from store.errors import Error

SEEDS = ".seed"
NAMED = 3
"""How many files an event names; of more it gives the number."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
IN_THE_WAY = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR})


def provide(
    layout: Layout, services: Iterable[Service], observe: Observe, *, told: Collection[Path] = ()
) -> None:
    """Make the state folders of `services` and lay their seeds.

    A seed that is not what lies in the state already is named, but for services whose store path
    is in `told`: theirs were named when they came.

    Raises:
        BadReleaseError: the release links its state to another folder than this head's.
        StateError: the folders cannot be made.
        DiskFullError: there is no room for them.
    """
    for service in services:
        home = layout.state(service.name)
        try:
            kept = _provide(service, home, observe)
        except OSError as error:
            raise _unusable(service, error, home) from error
        if kept and service.path not in told:
            observe(Event(What.KEPT, service.name, f"differs from the release: {_listed(kept)}"))


def _provide(service: Service, home: Path, observe: Observe) -> list[str]:
    """Provide the state of one service; return the files that are not as their seeds."""
    home.mkdir(parents=True, exist_ok=True)
    kept: list[Path] = []
    for path in service.state:
        _check_link(service, path, home)
        folder = home / path if _is_folder(path) else (home / path).parent
        folder.mkdir(parents=True, exist_ok=True)
        kept += _seed(service.path / SEEDS / path, home / path, service.name, observe)
    return [str(each.relative_to(home)) for each in kept]


def _listed(files: list[str]) -> str:
    rest = len(files) - NAMED
    return ", ".join(files[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _unusable(service: Service, error: OSError, home: Path) -> Error:
    if error.errno in FULL:
        return DiskFullError("no room for the state of a service", where=str(home))
    if error.errno in IN_THE_WAY:
        hint = "something else is where the recipe wants a folder (or a file): move it away"
    else:
        hint = "let the user who deploys write there, or set another state_dir and build again"
    return StateError(
        f"the state of {service.name} cannot be provided",
        where=str(error.filename or home),
        got=str(error.strerror),
        hint=hint,
    )


def _is_folder(path: str) -> bool:
    return path.endswith("/") or not PurePosixPath(path).suffix


def _check_link(service: Service, path: str, home: Path) -> None:
    place = service.path / path.rstrip("/")
    if not place.is_symlink():
        return
    target = place.readlink()
    if target != home / path:
        raise BadReleaseError(
            f"the state of {service.name} is linked to another folder than this head's",
            where=str(place),
            expected=str(home / path),
            got=str(target),
            hint="build the release with this head's state_dir",
        )


def _seed(source: Path, target: Path, name: str, observe: Observe) -> list[Path]:
    """Copy a seed to where nothing is; return the files that were there and differ."""
    if source.is_symlink() or not source.exists():
        return []
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        found = [_seed(e, target / e.name, name, observe) for e in sorted(source.iterdir())]
        return [each for part in found for each in part]
    if os.path.lexists(target):
        same = target.is_file() and filecmp.cmp(source, target, shallow=False)
        return [] if same else [target]
    mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
    durable.write(target, source.read_bytes(), mode=mode)
    observe(Event(What.SEEDED, name, str(target)))
    return []
