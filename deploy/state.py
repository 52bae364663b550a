"""State of services: folders and files outside the store that outlive every release.

A release links its state paths to here and may bring seeds, which are copied where nothing is
yet. What is there is never touched.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import BadReleaseError
from deploy.events import Event, Observe, What

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.layout import Layout
    from deploy.release import Service

SEEDS = ".seed"


def provide(layout: Layout, services: Iterable[Service], observe: Observe) -> None:
    """Make the state folders of `services` and lay their seeds.

    Raises:
        BadReleaseError: the release links its state to another folder than this head's.
    """
    for service in services:
        home = layout.state(service.name)
        home.mkdir(parents=True, exist_ok=True)
        for path in service.state:
            _check_link(service, path, home)
            folder = home / path if _is_folder(path) else (home / path).parent
            folder.mkdir(parents=True, exist_ok=True)
            _seed(service.path / SEEDS / path, home / path, service.name, observe)


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


def _seed(source: Path, target: Path, name: str, observe: Observe) -> None:
    if source.is_symlink():
        return
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for each in sorted(source.iterdir()):
            _seed(each, target / each.name, name, observe)
    elif source.is_file() and not os.path.lexists(target):
        mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
        durable.write(target, source.read_bytes(), mode=mode)
        observe(Event(What.SEEDED, name, str(target)))
