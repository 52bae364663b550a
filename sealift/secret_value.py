"""Where the value of a secret comes from: a file, standard input, a question, an editor.

It is never an argument, which every user of the machine could see, and never lies on a disk.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from store.errors import InputError

_PLACES = ("/dev/shm", "/run")  # noqa: S108 (a private folder is made there)


def value(name: str, file: Path | None, *, edit: bool) -> bytes:
    """Return the value that the user gives to the secret `name`.

    Raises:
        InputError: a file cannot be read, or the editor failed.
    """
    if edit:
        return _line(_edited(name))
    if file is not None and str(file) != "-":
        return _read(file)
    if sys.stdin.isatty():
        said: str = click.prompt(name, hide_input=True, confirmation_prompt=True, err=True)
        return said.encode()
    return _line(sys.stdin.buffer.read())


def _line(value: bytes) -> bytes:
    """Take the end off a value of one line: what wrote it put it there."""
    body = value.removesuffix(b"\n").removesuffix(b"\r")
    return body if b"\n" not in body else value


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as fault:
        raise InputError(f"it cannot be read: {fault.strerror}", where=str(file)) from fault


def _edited(name: str) -> bytes:
    """Return what the user writes in an editor, on a file system in memory."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="sealift-", dir=_in_memory()) as folder:
        file = Path(folder) / name
        file.touch(mode=0o600)
        try:
            ended = subprocess.run([*shlex.split(command), str(file)], check=False)
        except OSError as fault:
            reason = f"the editor cannot be started: {fault.strerror}"
            raise InputError(reason, where=command, hint="set EDITOR") from fault
        if ended.returncode != 0:
            raise InputError("the editor failed; nothing was sealed", where=command)
        return _read(file)


def _in_memory() -> Path:
    from deploy.laying import MEMORY, file_system

    places = (os.environ.get("XDG_RUNTIME_DIR"), *_PLACES)
    for folder in (Path(place) for place in places if place):
        if os.access(folder, os.W_OK) and file_system(folder) in MEMORY:
            return folder
    raise InputError(
        "there is no folder in memory to edit a secret in",
        expected="XDG_RUNTIME_DIR or /dev/shm on tmpfs",
        hint="sealift secret set NAME without --edit asks for the value",
    )
