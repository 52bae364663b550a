"""Files with secrets, or with an owner of their own: laid in memory, per phase a folder.

A folder is written whole, then takes the place of the one before by the renaming of a link, so its
files change all at once and never on a disk. It bears a keyed digest of all that is in it: what is
the same is not written again. A start of the machine lays the same again (`deploy.install.boot`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import HeadError
from deploy.install import markers, people
from deploy.install.copying import make_folders
from deploy.install.machine import INSTALLING, RELOAD, STALE
from deploy.laying import MEMORY, file_system
from store.lock import hold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from deploy.install.machine import Machine
    from deploy.phases.configuration import Configuration, File

KEY, LOCK = ".key", "memory.lock"
PASSABLE, PRIVATE = 0o711, 0o700
LOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Text:
    """A file as it will lie: its path in /etc, its bytes, and whose it is."""

    path: Path
    data: bytes = field(repr=False)
    owner: str
    group: str
    mode: int


def texts(configuration: Configuration, values: Mapping[str, bytes]) -> dict[Path, Text]:
    """Return what is to be laid in memory of a phase, by path, with the secrets filled in.

    Raises:
        BadMessageError: a marker is of no secret.
        BadSecretError: a secret cannot stand where it should.
        BadReleaseError: a text is not there.
    """
    files = [each for each in configuration.files if not each.plain]
    return {each.path: _text(configuration, each, values) for each in files}


def write(machine: Machine, phase: str, wanted: Iterable[Text]) -> str:
    """Write a folder of texts unless it is there, and return its name; nobody reads it yet.

    Raises:
        HeadError: the place is on a disk.
        SystemRefusedError: an owner is not there.
    """
    _make(machine.memory)
    ready = [(each, _ids(machine, each)) for each in wanted]
    name = f".{phase}-{_digest(_key(machine), ready)}"
    if (machine.memory / name).is_dir() and not _is_whole(machine, name, ready):
        # Somebody changed what is read there now.
        name = f"{name}-{secrets.token_hex(4)}"
    if not (machine.memory / name).is_dir():
        with _unfinished(machine.memory) as folder:
            for text, ids in ready:
                _put(folder / text.path.relative_to("/"), text, ids)
            folder.chmod(PASSABLE)
            folder.rename(machine.memory / name)
    return name


def switch(machine: Machine, phase: str, name: str) -> None:
    """Let the folder `name` be what the phase's files are read from."""
    link = machine.memory / phase
    if not link.is_symlink() or str(link.readlink()) != name:
        durable.link(link, name)


def collect(machine: Machine, keep: Collection[str]) -> None:
    """Remove what is of no phase in `keep`, and what earlier switches left."""
    place = machine.memory
    if not place.is_dir():
        return
    for link in place.iterdir():
        if link.is_symlink() and link.name not in keep:
            link.unlink()
    used = {str(each.readlink()) for each in place.iterdir() if each.is_symlink()}
    for each in place.iterdir():
        if not each.is_symlink() and each.name not in (*used, STALE, RELOAD, INSTALLING):
            shutil.rmtree(each)


@contextmanager
def alone(machine: Machine) -> Iterator[None]:
    """Be the only one who lays anything in memory: a session and a start of units may meet.

    Raises:
        LockedError: somebody else is for too long.
    """
    make_folders(machine.home)
    with hold(machine.home / LOCK, wait=LOCK_SECONDS):
        yield


def as_wanted(machine: Machine, place: Path, text: Text) -> bool:
    """Tell whether a file is as it is to be laid, with its owner and mode."""
    try:
        status = place.stat()
        same = place.read_bytes() == text.data
    except OSError:
        return False
    user, group = machine.people.user(text.owner), machine.people.group(text.group)
    wanted = (user.uid if user else None, group.gid if group else None, text.mode)
    return same and (status.st_uid, status.st_gid, status.st_mode & 0o7777) == wanted


def _text(configuration: Configuration, file: File, values: Mapping[str, bytes]) -> Text:
    if file.secret is not None:
        data = values[file.secret]
    else:
        own = {each.name: values[each.name] for each in file.markers}
        data = markers.fill(configuration.text(file), own, where=str(file.path))
    return Text(file.path, data, file.owner, file.group, file.mode)


def _ids(machine: Machine, text: Text) -> tuple[int, int]:
    return people.uid(machine, text.owner), people.gid(machine, text.group)


def _is_whole(machine: Machine, name: str, ready: Iterable[tuple[Text, tuple[int, int]]]) -> bool:
    folder = machine.memory / name
    return all(as_wanted(machine, folder / text.path.relative_to("/"), text) for text, _ in ready)


def _digest(key: bytes, ready: Iterable[tuple[Text, tuple[int, int]]]) -> str:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for text, ids in ready:
        mac.update(f"{text.path}\0{ids}\0{text.mode:o}\0{len(text.data)}\0".encode() + text.data)
    return mac.hexdigest()[:24]


def _key(machine: Machine) -> bytes:
    """Return the key of the digests; what loses it lays the same once more."""
    file = machine.home / KEY
    make_folders(machine.home)
    if not file.exists():
        durable.write(file, secrets.token_bytes(32), mode=0o600)
    return file.read_bytes()


def _make(place: Path) -> None:
    make_folders(place.parent)
    place.mkdir(mode=PASSABLE, exist_ok=True)
    found = file_system(place)
    if found not in MEMORY:
        raise HeadError(
            "open secrets would come to lie on a disk",
            where=str(place),
            expected=" or ".join(MEMORY),
            got=found,
            hint="mount a tmpfs at /run, as systemd does",
        )
    place.chmod(PASSABLE)


@contextmanager
def _unfinished(place: Path) -> Iterator[Path]:
    folder = place / f"{durable.TEMPORARY}{secrets.token_hex(6)}"
    folder.mkdir(mode=PRIVATE)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(file: Path, text: Text, ids: tuple[int, int]) -> None:
    for folder in reversed([each for each in file.parents if not each.exists()]):
        folder.mkdir(mode=PASSABLE)
        folder.chmod(PASSABLE)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(text.data)
        os.fchown(descriptor, *ids)
        os.fchmod(descriptor, text.mode)
