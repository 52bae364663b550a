"""Receipts: what a site holds, as it tells the builder.

The value, its bytes, and the file in which they travel with their signatures. Names and contents of
secrets, addresses and people are no part of it. How it is found out is for `deploy.holding` and the
command line; what a bundle can leave out because of it, for `deploy.bundle.base`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import BadReceiptError
from deploy.profile import Generation, Status
from store.errors import Error
from store.frames import compress, decompress
from store.info import PathInfo
from store.path import StorePath, fixed_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from deploy.facts import Facts

LARGEST = 1_000_000
"""Bytes of a file."""

_MAGIC = b"sealift-receipt 1\n"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
_FORMAT = 1
_SIZE = struct.Struct(">Q")
_RAW = 32 << 20
"""Bytes of JSON."""
_MOST_PATHS = 100_000
_MOST_MACHINES = 1_000
_MOST_SIGNATURES = 16


@dataclass(frozen=True, slots=True)
class System:
    """What a machine's operating system is; `disk` in bytes, free where the store is."""

    title: str
    machine: str
    glibc: str | None
    systemd: int | None
    flags: tuple[str, ...]
    disk: int

    @classmethod
    def of(cls, facts: Facts) -> System:
        """Keep of a machine's facts what the builder can use, and nothing that names anybody."""
        return cls(
            title=facts.system,
            machine=facts.machine,
            glibc=facts.glibc,
            systemd=facts.systemd,
            flags=tuple(sorted(facts.flags)),
            disk=facts.disk,
        )


@dataclass(frozen=True, slots=True)
class Packages:
    """What dpkg has installed: how the system calls itself, and the reduced status file."""

    title: str
    status: str


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of the site.

    Attributes:
        name: in the inventory.
        system: None where it was not told.
        paths: what its store holds for good; None where its agent is too old to tell.
        generations: oldest first, without who made them.
        packages: None where there is no dpkg.
    """

    name: str
    system: System | None
    paths: tuple[StorePath, ...] | None
    generations: tuple[Generation, ...] = ()
    packages: Packages | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a site holds at one moment.

    Attributes:
        site: its name, as bundles have it.
        store_dir: where its stores lie, which enters the name of each path.
        created: seconds since the epoch.
        number: the highest bundle that was received; None before the first.
        roots: of the transfer host's store, newest first: what its closures are there for.
        infos: every path that a machine holds, references before referrers.
        machines: the transfer host first, then heads.
        digest: SHA-256 of the signed bytes, in base 16; empty where there are none yet.
    """

    site: str
    store_dir: str
    created: int
    number: int | None
    roots: tuple[tuple[str, StorePath], ...]
    infos: tuple[PathInfo, ...]
    machines: tuple[Machine, ...]
    digest: str = field(default="", compare=False)

    @property
    def heads(self) -> tuple[Machine, ...]:
        """The heads that it tells of; without any, the transfer host, which then is the head."""
        return self.machines[1:] or self.machines

    @property
    def held(self) -> tuple[PathInfo, ...]:
        """What the transfer host's store holds; only that can a bundle build on."""
        here = set(self.machines[0].paths or ())
        return tuple(info for info in self.infos if info.path in here)


@dataclass(frozen=True, slots=True)
class Sealed:
    """The bytes of a receipt, and what was signed over them."""

    body: bytes
    signatures: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """What deltas name it by: SHA-256 of what is signed, in base 16."""
        return hashlib.sha256(self.body).hexdigest()

    def __bytes__(self) -> bytes:
        return b"".join((_MAGIC, *self.signatures, self.body))


def seal(receipt: Receipt, sign: Callable[[bytes], Sequence[bytes]]) -> Sealed:
    """Spell a receipt and sign it; `sign` gives armoured signatures.

    Raises:
        BadReceiptError: it is too large to be carried about.
    """
    body = dump(receipt)
    sealed = Sealed(body, tuple(sign(body)))
    if len(bytes(sealed)) > LARGEST:
        raise BadReceiptError(
            "the receipt is larger than a receipt may be",
            expected=f"{LARGEST:,} bytes at most",
            got=f"{len(bytes(sealed)):,}",
            hint="forget old releases: sealift gc; or tell of fewer heads: --host",
        )
    return sealed


def load(file: Path, check: Callable[[bytes, Sequence[bytes]], object]) -> Receipt:
    """Read a receipt whose signatures `check` agrees to; nothing is parsed before.

    Raises:
        BadReceiptError: it cannot be read, or is none.
        SignatureError: what `check` says of its signatures.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as fault:
        reason = f"the receipt cannot be read: {fault.strerror}"
        raise BadReceiptError(reason, where=str(file)) from fault
    try:
        sealed = unseal(data)
        check(sealed.body, sealed.signatures)
        return parse(sealed.body)
    except Error as error:
        error.where = error.where or str(file)
        raise


def is_receipt(file: Path) -> bool:
    """Tell whether a file begins as receipts do."""
    with suppress(OSError), file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC
    return False


def unseal(data: bytes) -> Sealed:
    """Take signatures and what they sign apart.

    Raises:
        BadReceiptError: it is no receipt.
    """
    if not data.startswith(_MAGIC):
        raise BadReceiptError(
            "this is no receipt", expected=f"a file that begins with {_MAGIC.decode().strip()!r}"
        )
    if len(data) > LARGEST:
        raise BadReceiptError("this is too large for a receipt")
    signatures: list[bytes] = []
    rest = data[len(_MAGIC) :]
    while rest.startswith(_BEGIN) and len(signatures) < _MOST_SIGNATURES:
        armoured, end, rest = rest.partition(_END)
        signatures.append(armoured + end)
    return Sealed(rest, tuple(signatures))


def dump(receipt: Receipt) -> bytes:
    """Spell what is signed: the size of the JSON as eight bytes, and the JSON as a zstd frame."""
    numbers = {info.path: number for number, info in enumerate(receipt.infos)}
    record = {
        "format": _FORMAT,
        "site": receipt.site,
        "store_dir": receipt.store_dir,
        "created": receipt.created,
        "number": receipt.number,
        "roots": [[name, numbers[path]] for name, path in receipt.roots],
        "paths": rows(receipt.infos),
        "machines": [_machine_to_json(each, numbers) for each in receipt.machines],
    }
    text = json.dumps(record, separators=(",", ":"), sort_keys=True).encode()
    return _SIZE.pack(len(text)) + compress(text)


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
        match row:
            case [str(name), str(nar_sha256), int(nar_size), list(numbers)]:
                known = tuple(sorted(found[_index(n, len(found))].path for n in numbers))
                info = PathInfo(StorePath.parse(name), nar_sha256, nar_size, known)
                found.append(_proved(info, store_dir))
            case _:
                raise BadReceiptError("a path is not told as paths are", got=repr(row)[:80])
    return tuple(found)


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
        number=None if number is None else _count(number),
        roots=tuple(
            (_text(name), infos[_index(at, len(infos))].path) for name, at in _list(said["roots"])
        ),
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
        paths=None
        if held is None
        else tuple(infos[_index(at, len(infos))].path for at in _list(held)),
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


def _index(value: object, length: int) -> int:
    number = _count(value)
    if number >= length:
        raise ValueError(f"there is no path {number}")
    return number


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.80} is no list")
    return value
