"""A narinfo: what a binary cache says of one store path, as text; pure.

Nix manual, "Store Path Info"; its reader takes `Key: value` lines that each end with a newline, and
passes over keys that it does not know. Ours is stricter where Nix is careless: nothing twice, no
number in two spellings, nothing that leads out of the cache. Whether what is said is true is
checked in `store.cache_read`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from store.binary_cache import BadCacheError, is_plain, narinfo_name
from store.cache_keys import is_signature
from store.errors import InputError
from store.hashes import SHA256, nix32_decode, nix32_encode, parse_sri
from store.info import PathInfo
from store.path import StorePath, fixed_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from store.cache_keys import PublicKey, SecretKey

LARGEST: Final = 1 << 40
"""Bytes of a NAR, as `store.nar.Limits` has it."""

OLD_DEFAULT: Final = "bzip2"
"""How a NAR is compressed whose narinfo does not say."""

_REQUIRED = ("StorePath", "URL", "NarHash", "NarSize")
_KNOWN = {*_REQUIRED, "Compression", "FileHash", "FileSize", "References", "Deriver", "CA"}
_REPEATED = "Sig"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
_NIX32 = 52
_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class NarInfo:
    """A path, and where in the cache its NAR lies.

    Attributes:
        info: what is known of the path.
        store_dir: where the store of the path lies; part of its digest.
        url: the NAR's name in the cache.
        compression: how it is compressed; "none" too is a word.
        file_sha256: of what lies there, in base 16; not signed, so it proves nothing.
        file_size: bytes of what lies there; not signed either.
        deriver: the derivation that Nix built it from; we know none.
        signatures: `name:<base 64>`, each over `fingerprint`.
        address: the content address (`CA`), if it says one.
    """

    info: PathInfo
    store_dir: str
    url: str
    compression: str
    file_sha256: str | None = None
    file_size: int | None = None
    deriver: str | None = None
    signatures: tuple[str, ...] = ()
    address: str | None = None

    @property
    def fingerprint(self) -> bytes:
        """What is signed: path, hash, size and references, but neither place nor compression."""
        references = ",".join(f"{self.store_dir}/{each}" for each in self.info.references)
        nar = f"{_spell(self.info.nar_sha256)};{self.info.nar_size}"
        return f"1;{self.store_dir}/{self.info.path};{nar};{references}".encode()

    def signed(self, key: SecretKey) -> NarInfo:
        """Add a signature, unless it is there."""
        mine = key.sign(self.fingerprint)
        if mine in self.signatures:
            return self
        return replace(self, signatures=(*self.signatures, mine))

    def signed_by(self, keys: Iterable[PublicKey]) -> bool:
        """Tell whether one of the signatures is good and by one of `keys`."""
        told = self.fingerprint
        return any(key.verifies(each, told) for key in keys for each in self.signatures)

    def is_own_address(self) -> bool:
        """Tell whether hash and references alone make the path: then nothing else can bear it.

        A path that refers to itself cannot be made so.
        """
        info = self.info
        return info.path == fixed_path(
            store_dir=self.store_dir,
            name=info.path.name,
            nar_sha256=bytes.fromhex(info.nar_sha256),
            references=info.references,
        )

    def __str__(self) -> str:
        rows = [
            f"StorePath: {self.store_dir}/{self.info.path}",
            f"URL: {self.url}",
            f"Compression: {self.compression}",
        ]
        if self.file_sha256 is not None:
            rows.append(f"FileHash: {_spell(self.file_sha256)}")
        if self.file_size is not None:
            rows.append(f"FileSize: {self.file_size}")
        rows += [
            f"NarHash: {_spell(self.info.nar_sha256)}",
            f"NarSize: {self.info.nar_size}",
            f"References: {' '.join(map(str, self.info.references))}",
        ]
        rows += [f"Deriver: {self.deriver}"] if self.deriver else []
        rows += [f"Sig: {each}" for each in self.signatures]
        rows += [f"CA: {self.address}"] if self.address else []
        return "\n".join(rows) + "\n"


def describe(
    info: PathInfo, store_dir: str, *, url: str, compression: str, file_sha256: str, file_size: int
) -> NarInfo:
    """Make the narinfo of a content-addressed path."""
    return NarInfo(
        info=replace(info, registered=0.0),
        store_dir=store_dir,
        url=url,
        compression=compression,
        file_sha256=file_sha256,
        file_size=file_size,
        address=content_address(info),
    )


def content_address(info: PathInfo) -> str:
    """Spell how the path comes from its contents (Nix: recursive, SHA-256)."""
    return f"fixed:r:{_spell(info.nar_sha256)}"


def parse(text: str, store_dir: str, digest: str) -> NarInfo:
    """Read the narinfo that lies under `digest`, for a store at `store_dir`.

    Raises:
        BadCacheError: a line, number, hash or name is not as it must be, something is there twice
            or lacks, it tells of another path or store, or it leads out of the cache.
    """
    where = narinfo_name(StorePath(digest, "any"))
    try:
        return _parse(text, store_dir, digest)
    except InputError as error:
        raise BadCacheError(
            f"{where} is no description of a path: {error.reason}",
            where=where,
            expected=error.expected,
            got=error.got,
        ) from error


def _parse(text: str, store_dir: str, digest: str) -> NarInfo:
    values, signatures = _values(text)
    for key in _REQUIRED:
        if key not in values:
            raise InputError(f"it has no {key}")
    path = _path(values["StorePath"], store_dir)
    if path.digest != digest:
        raise InputError(f"it tells of {path}")
    file_size = values.get("FileSize")
    file_hash = values.get("FileHash")
    return NarInfo(
        info=PathInfo(
            path=path,
            nar_sha256=_hash(values["NarHash"]),
            nar_size=_number(values["NarSize"]),
            references=_references(values.get("References", "")),
        ).checked(),
        store_dir=store_dir,
        url=_url(values["URL"]),
        compression=values.get("Compression") or OLD_DEFAULT,
        file_sha256=None if file_hash is None else _hash(file_hash),
        file_size=None if file_size is None else _number(file_size),
        deriver=_deriver(values),
        signatures=signatures,
        address=values.get("CA"),
    )


def _values(text: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    if not text.endswith("\n"):
        raise InputError("its last line is cut off")
    values: dict[str, str] = {}
    signatures = []
    for line in text[:-1].split("\n"):
        key, _, value = line.partition(":")
        if not line.isprintable() or not (value.startswith(" ") or line == "References:"):
            raise InputError(f"{line[:80]!r} is no line of it")
        if key == _REPEATED:
            signatures.append(_signature(value[1:]))
        elif key in values:
            raise InputError(f"it has {key} twice")
        elif key in _KNOWN:
            values[key] = value[1:]
    if len(signatures) > _SIGNATURES:
        raise InputError(f"it has {len(signatures)} signatures")
    return values, tuple(dict.fromkeys(signatures))


def _path(text: str, store_dir: str) -> StorePath:
    prefix = f"{store_dir}/"
    if not text.startswith(prefix):
        raise InputError(
            "its path lies in another store", expected=f"{prefix}…", got=repr(text[:300])
        )
    return StorePath.parse(text[len(prefix) :])


def _references(text: str) -> tuple[StorePath, ...]:
    found = [StorePath.parse(each) for each in text.split(" ")] if text else []
    return tuple(sorted(found))


def _url(text: str) -> str:
    if not is_plain(text):
        raise InputError(
            "its NAR lies outside the cache", expected="nar/<name>", got=repr(text[:300])
        )
    return text


def _deriver(values: Mapping[str, str]) -> str | None:
    told = values.get("Deriver", "")
    return None if told in {"", "unknown-deriver"} else str(StorePath.parse(told))


def _signature(text: str) -> str:
    if not is_signature(text):
        raise InputError("it has a signature that is none", got=repr(text[:200]))
    return text


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST:
        raise InputError(f"{text[:40]!r} is no size", expected=f"bytes, at most {LARGEST}")
    return int(text)


def _hash(text: str) -> str:
    """Read a SHA-256 in any of the spellings that Nix has used here."""
    kind, _, spelled = text.partition(":")
    if kind != "sha256":
        digest = parse_sri(text)
        if digest.algorithm == "sha256" and text.startswith("sha256-"):
            return digest.base16
    elif SHA256.fullmatch(spelled):
        return spelled
    elif len(spelled) == _NIX32:
        return nix32_decode(spelled).hex()
    raise InputError(f"{text[:100]!r} is no SHA-256")


def _spell(sha256: str) -> str:
    return f"sha256:{nix32_encode(bytes.fromhex(sha256))}"
