"""A realisation as a shared cache tells it: which derivation gave which path, with signatures.

It lies at `realisations/<digest of the derivation>.json`, beside Nix's layout, which such a file
does not disturb. A path proves its own contents, but not that a derivation gave it: that is what
is signed, with the same keys that sign narinfos, whose signed text can never be one of these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from store.binary_cache import BadCacheError
from store.cache_keys import is_signature
from store.errors import InputError
from store.hashes import SHA256
from store.path import StorePath

if TYPE_CHECKING:
    from collections.abc import Collection

    from store.cache_keys import PublicKey, SecretKey

FORMAT = 1
FOLDER = "realisations/"
RECORD_LIMIT = 64 * 1024
"""Bytes of a record: room for its signatures, many times over."""
_KEYS = {"format", "derivation", "path", "store", "seconds", "signatures"}
_SIGNATURES = 64
_LONGEST = 10 * 24 * 3600.0
"""Seconds; what claims to have been built for longer was not."""


@dataclass(frozen=True, slots=True)
class Record:
    """A derivation, by its digest, and the path that it gave; `seconds` is how long that took.

    `store_dir` is where the store of the path lies. `signatures` are over `told`.
    """

    derivation: str
    path: StorePath
    store_dir: str
    seconds: float = 0.0
    signatures: tuple[str, ...] = ()

    @property
    def told(self) -> bytes:
        """What is signed: all but the signatures, as canonical JSON."""
        return _dump(self._facts())

    def signed(self, key: SecretKey) -> Record:
        """Add a signature, unless it is there."""
        mine = key.sign(self.told)
        if mine in self.signatures:
            return self
        return replace(self, signatures=(*self.signatures, mine))

    def signed_by(self, keys: Collection[PublicKey]) -> bool:
        """Tell whether one of the signatures is good and by one of `keys`."""
        told = self.told
        return any(key.verifies(each, told) for key in keys for each in self.signatures)

    def __str__(self) -> str:
        return _dump(self._facts() | {"signatures": list(self.signatures)}).decode() + "\n"

    def _facts(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "derivation": self.derivation,
            "path": str(self.path),
            "store": self.store_dir,
            "seconds": round(self.seconds, 3),
        }


def record_name(digest: str) -> str:
    """Name the file that tells of a derivation."""
    return f"{FOLDER}{digest}.json"


def parse(text: str, digest: str, store_dir: str) -> Record:
    """Read what `str` wrote, for a derivation and a store.

    Raises:
        BadCacheError: it is something else, or tells of another derivation or store.
    """
    try:
        return _parse(json.loads(text), digest, store_dir)
    except (InputError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        name = record_name(digest)
        raise BadCacheError(
            f"{name} does not tell what a derivation gave", where=name, got=str(error)[:300]
        ) from error


def _parse(data: dict[str, Any], digest: str, store_dir: str) -> Record:
    signatures = data["signatures"]
    if data.keys() != _KEYS or data["format"] != FORMAT:
        raise ValueError("its keys or its format are others")
    if not SHA256.fullmatch(digest) or data["derivation"] != digest:
        raise ValueError("it tells of another derivation")
    if data["store"] != store_dir:
        raise ValueError("its path lies in another store")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= _SIGNATURES:
        raise ValueError("it bears no signatures, or too many")
    if not all(isinstance(each, str) and is_signature(each) for each in signatures):
        raise ValueError("it bears a signature that is none")
    seconds = data["seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError("its seconds are no number")
    if not 0 <= seconds <= _LONGEST:
        raise ValueError("its seconds cannot be")
    path = StorePath.parse(data["path"])
    return Record(digest, path, store_dir, float(seconds), tuple(signatures))


def _dump(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
