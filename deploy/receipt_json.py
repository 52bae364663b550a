"""The bytes of a receipt that are signed: JSON in a zstd frame, with its size before it.

`parse` is the inverse of `dump`, and believes no path whose name does not follow from what is told
of it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import BadReceiptError
from deploy.profile import Generation, Status
from deploy.receipt import Machine, Packages, Receipt, System
from store.errors import Error, InputError
from store.frames import compress, decompress
from store.info import PathInfo
from store.path import StorePath, fixed_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FORMAT = 1
_SIZE = struct.Struct(">Q")
_RAW = 32 << 20
"""Bytes of JSON."""
_MOST_PATHS = 100_000
_MOST_MACHINES = 1_000
_MOST_NUMBER = 2**53


def dump(receipt: Receipt) -> bytes:
    """Spell what is signed: the size of the JSON as eight bytes, and the JSON as a zstd frame."""
    text = json.dumps(record(receipt), separators=(",", ":"), sort_keys=True).encode()
    return _SIZE.pack(len(text)) + compress(text)


def record(receipt: Receipt) -> dict[str, Any]:
    """Return all that a receipt says, as JSON data; paths are told once, and then by number."""
    numbers = {info.path: number for number, info in enumerate(receipt.infos)}
    return {
        "format": _FORMAT,
        "site": receipt.site,
        "store_dir": receipt.store_dir,
        "created": receipt.created,
        "number": receipt.number,
        "roots": [[name, numbers[path]] for name, path in receipt.roots],
        "paths": rows(receipt.infos),
        "machines": [_machine_to_json(each, numbers) for each in receipt.machines],
    }


def parse(body: bytes) -> Receipt:
    """Read what `dump` wrote.

    Raises:
        BadReceiptError: a value is of another kind, or contradicts another.
    """
    try:
        (size,) = _SIZE.unpack_from(body)
        text = decompress(body[_SIZE.size :], _bounded(size))
        found = _receipt(json.loads(text))
    except BadReceiptError:
        raise
    except (ValueError, TypeError, LookupError, struct.error, RecursionError, Error) as fault:
        raise BadReceiptError(f"the receipt makes no sense: {fault}") from fault
    return replace(found, digest=hashlib.sha256(body).hexdigest())


def _bounded(size: int) -> int:
    if size > _RAW:
        raise BadReceiptError(f"the receipt would be {size} bytes", expected=f"{_RAW} at most")
    return size


def rows(infos: Iterable[PathInfo]) -> list[Any]:
    """Spell path infos, which stand references first, as JSON; references are row numbers."""
    numbers: dict[StorePath, int] = {}
    found = []
    for number, info in enumerate(infos):
        numbers[info.path] = number
        references = [numbers[each] for each in info.references]
        found.append([str(info.path), info.nar_sha256, info.nar_size, references])
    return found


def read_rows(said: object, store_dir: str) -> tuple[PathInfo, ...]:
    """Read what `rows` spelled; each path must be the one that its contents make.

    Raises:
        BadReceiptError: a row is not what it should be.
    """
    if not isinstance(said, list) or len(said) > _MOST_PATHS:
        raise BadReceiptError("a list of paths is wanted")
    found: list[PathInfo] = []
    for row in said:
        try:
            found.append(_proved(_info(row, found), store_dir))
        except (ValueError, TypeError, LookupError, InputError) as fault:
            reason = f"a path is not told as paths are: {fault}"
            raise BadReceiptError(reason, got=repr(row)[:80]) from fault
    return tuple(found)


def _info(row: object, before: Sequence[PathInfo]) -> PathInfo:
    match row:
        case [str(name), str(nar_sha256), int(nar_size), list(numbers)]:
            references = tuple(sorted(before[_count(each)].path for each in numbers))
            return PathInfo(StorePath.parse(name), nar_sha256, nar_size, references)
    raise ValueError("four values are wanted")


def _proved(info: PathInfo, store_dir: str) -> PathInfo:
    """Return the info of a path whose name follows from the rest of it."""
    made = fixed_path(
        store_dir=store_dir,
        name=info.path.name,
        nar_sha256=bytes.fromhex(info.checked().nar_sha256),
        references=info.references,
    )
    if made != info.path:
        raise BadReceiptError(
            "what is told of a path does not make its name", where=str(info.path), got=str(made)
        )
    return info


def _receipt(said: Mapping[str, Any]) -> Receipt:
    if not isinstance(said, dict) or said["format"] != _FORMAT:
        raise BadReceiptError(
            "the receipt is of another version of sealift", hint="use the same version on both"
        )
    store_dir = _text(said["store_dir"])
    infos = read_rows(said["paths"], store_dir)
    machines = [_machine(each, infos, store_dir) for each in _list(said["machines"])]
    if not 1 <= len(machines) <= _MOST_MACHINES or machines[0].paths is None:
        raise ValueError("it does not say what the transfer host holds")
    number = said["number"]
    return Receipt(
        site=_text(said["site"]),
        store_dir=store_dir,
        created=_count(said["created"]),
        number=None if number is None else _number(number),
        roots=tuple((_text(name), infos[_count(at)].path) for name, at in _list(said["roots"])),
        infos=infos,
        machines=tuple(machines),
    )


def _machine_to_json(machine: Machine, numbers: Mapping[StorePath, int]) -> dict[str, Any]:
    system, packages = machine.system, machine.packages
    held = machine.paths
    return {
        "name": machine.name,
        "system": None
        if system is None
        else {
            "title": system.title,
            "machine": system.machine,
            "glibc": system.glibc,
            "systemd": system.systemd,
            "flags": list(system.flags),
            "disk": system.disk,
        },
        "paths": None if held is None else sorted(numbers[path] for path in held),
        "generations": [
            [each.number, each.path.name, int(each.created), each.status.value, each.current]
            for each in machine.generations
        ],
        "packages": packages and {"title": packages.title, "status": packages.status},
    }


def _machine(said: Mapping[str, Any], infos: Sequence[PathInfo], store_dir: str) -> Machine:
    held, packages = said["paths"], said["packages"]
    return Machine(
        name=_text(said["name"]),
        system=None if said["system"] is None else _system(said["system"]),
        paths=None if held is None else tuple(infos[_count(at)].path for at in _list(held)),
        generations=tuple(_generation(each, store_dir) for each in _list(said["generations"])),
        packages=None
        if packages is None
        else Packages(_text(packages["title"]), _text(packages["status"], lines=True)),
    )


def _system(said: Mapping[str, Any]) -> System:
    glibc, systemd = said["glibc"], said["systemd"]
    return System(
        title=_text(said["title"]),
        machine=_text(said["machine"]),
        glibc=None if glibc is None else _text(glibc),
        systemd=None if systemd is None else _count(systemd),
        flags=tuple(_text(each) for each in _list(said["flags"])),
        disk=_count(said["disk"]),
    )


def _generation(said: object, store_dir: str) -> Generation:
    match said:
        case [int(number), str(name), int(created), str(status), bool(current)]:
            path = Path(store_dir, str(StorePath.parse(name)))
            return Generation(number, path, created, Status(status), "", current)
    raise ValueError(f"{said!r} is no generation")


def _text(value: object, *, lines: bool = False) -> str:
    """Return a text that can be shown; with `lines`, one of several."""
    good = isinstance(value, str) and (
        all(line.isprintable() for line in value.split("\n")) if lines else value.isprintable()
    )
    if not good:
        raise ValueError(f"{value!r:.80} is no text")
    return str(value)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.80} is no count")
    return value


def _number(value: object) -> int:
    if not 0 < _count(value) < _MOST_NUMBER:
        raise ValueError(f"{value!r:.80} is no bundle's number")
    return _count(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.80} is no list")
    return value
