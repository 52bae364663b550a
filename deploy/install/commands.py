"""Commands that a phase's module runs on this head, and files that daemons write on themselves."""

from __future__ import annotations

import os
import secrets as random
from typing import TYPE_CHECKING, Any

from deploy import durable
from deploy.errors import HeadError
from deploy.install import markers, people, sealed, stale, units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deploy.install.machine import Machine
    from deploy.install.words import Put, Run

LONGEST = 8 * 1024 * 1024
"""Bytes of what a command wrote that are told; the end of it."""
SYSTEMCTL = "systemctl"
READ_AGAIN = ("reload", "reload-or-restart", "try-reload-or-restart")
ETC = "/etc"


def run(machine: Machine, order: Run, sealed_secrets: Mapping[str, bytes]) -> dict[str, Any]:
    """Run a command, with secrets in its input; none comes back in what it wrote.

    Raises:
        BadMessageError: its input has a marker of another secret than those that it names.
        SecretMissingError: a secret is not there.
    """
    values = sealed.unseal(machine, sealed_secrets, order.secrets)
    given = markers.fill(order.input.encode(), values, where=order.argv[0])
    reading = _reloads(machine, order.argv)
    done = machine.run(order.argv, input=given, timeout=order.timeout)
    if done.status == 0:
        stale.read_again(machine, reading)
    # Of a secret that is cut in two, half would be told.
    told = (markers.hide(each, values) for each in (done.stdout, done.stderr.encode()))
    out, err = (each[-LONGEST:].decode("utf-8", "replace") for each in told)
    return {"status": done.status, "stdout": out, "stderr": err}


def put(machine: Machine, order: Put, sealed_secrets: Mapping[str, bytes]) -> bool:
    """Write a file that its daemon writes on, complete or not at all; tell whether it was.

    Raises:
        HeadError: it lies where files of phases do, or its folder is not there.
        SystemRefusedError: its owner is not there.
        BadMessageError: it has a marker of another secret than those that it names.
    """
    place = machine.at(order.path)
    if order.path.is_relative_to(ETC) or order.path.is_relative_to(machine.store_dir):
        hint = "name it under `files` of the phase's recipe"
        raise HeadError("no daemon writes here", where=str(order.path), hint=hint)
    if not place.parent.is_dir():
        raise HeadError("there is no such folder", where=str(order.path.parent))
    if os.path.lexists(place) and not order.replace:
        return False
    values = sealed.unseal(machine, sealed_secrets, order.secrets)
    data = markers.fill(order.data.encode(), values, where=str(order.path))
    owner = (people.uid(machine, order.owner), people.gid(machine, order.group))
    _write(place, data, owner, order.mode)
    return True


def _write(place: Path, data: bytes, owner: tuple[int, int], mode: int) -> None:
    """Replace a file by one of another owner; nobody else reads it at any time."""
    fresh = place.with_name(f"{durable.TEMPORARY}{place.name}-{random.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(fresh, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        fresh.replace(place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    durable.sync_folder(place.parent)


def _reloads(machine: Machine, argv: Sequence[str]) -> dict[str, str]:
    """Return which units a command lets read their files again, by what they run as now."""
    if argv[0].rpartition("/")[2] != SYSTEMCTL or not set(argv[1:]) & set(READ_AGAIN):
        return {}
    waiting = stale.reloads(machine)
    named = [name for name in waiting if name in argv or name.removesuffix(".service") in argv]
    shown = units.show(machine, named)
    return {n: waiting[n] for n in named if shown[n].get("InvocationID") == waiting[n]}
