"""Secrets of a head: one file each, and per service a folder with copies of just its own.

A folder's name is a keyed digest of what it holds. So a service whose secret was changed has
another folder, hence another program, and is restarted; and configuration that names the folder
tells nothing about the secret. Values never leave these two places.

A secret is generated once in the life of a head. That it had one is on record beside, so that one
which was lost is asked for: another value in its place would lock everybody out.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import HeadError, SecretMissingError
from deploy.events import Event, Observe, What

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from deploy.layout import Layout
    from deploy.release import Service

KEY = ".key"
PRIVATE = 0o700


def provide(layout: Layout, services: Iterable[Service], observe: Observe) -> dict[str, Path]:
    """Return the folder of each service that has secrets; generate what the head never had.

    Raises:
        HeadError: a secret is there but empty.
        SecretMissingError: one that the head had is gone.
    """
    key = _secret(layout.secrets_dir / KEY)[0]
    return {
        service.name: _folder(layout, service, key, observe)
        for service in services
        if service.secrets
    }


def collect(layout: Layout, used: Collection[Path]) -> None:
    """Remove the folders that no program names any more."""
    for service in layout.credentials_dir.iterdir():
        for folder in service.iterdir():
            if folder not in used:
                shutil.rmtree(folder)


def _folder(layout: Layout, service: Service, key: bytes, observe: Observe) -> Path:
    values = {name: _value(layout, name, observe) for name in sorted(service.secrets)}
    folder = layout.credentials_dir / service.name / _digest(key, values)
    if not folder.is_dir():
        _lay(folder, values)
    return folder


def _value(layout: Layout, name: str, observe: Observe) -> bytes:
    file, record = layout.secrets_dir / name, layout.known_dir / name
    known = record.exists()
    if known and not file.exists():
        raise SecretMissingError(
            f"the secret {name}, which this head had, is gone",
            where=str(file),
            hint=f"put it back there; to have a new one generated: rm {record}",
        )
    value, generated = _secret(file)
    if not known:
        durable.write(record, b"", mode=0o600)
    if generated:
        observe(Event(What.GENERATED, name, str(file)))
    if not value:
        raise HeadError(f"the secret {name} is empty", where=str(file), hint="write its value")
    return value


def _secret(file: Path) -> tuple[bytes, bool]:
    """Return a secret and whether it had to be generated."""
    try:
        value = file.read_bytes()
    except FileNotFoundError:
        durable.write(file, secrets.token_urlsafe(32).encode(), mode=0o600)
        return file.read_bytes(), True
    file.chmod(0o600)
    return value, False


def _digest(key: bytes, values: Mapping[str, bytes]) -> str:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for name, value in values.items():
        mac.update(f"{name}:{len(value)}:".encode() + value)
    return mac.hexdigest()[:24]


def _lay(folder: Path, values: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(mode=PRIVATE, exist_ok=True)
    unfinished = folder.with_name(f"{durable.TEMPORARY}{secrets.token_hex(6)}")
    unfinished.mkdir(mode=PRIVATE)
    for name, value in values.items():
        durable.write(unfinished / name, value, mode=0o600)
    os.rename(unfinished, folder)  # noqa: PTH104 (a folder that is there is an error)
    durable.sync_folder(folder.parent)
