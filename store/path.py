"""A store path: digest and name, without the directory it is mounted under.

Pure. Nix manual, "Store Path Specification". Where the store lies, and what is in it, is
`store.local`'s to know.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.errors import InputError
from store.hashes import ALPHABET, nix32_encode, xor_fold
from store.names import check_name, is_name

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST_LENGTH = 32
"""Base-32 characters that spell 160 bits."""

_DIGEST = re.compile(f"[{ALPHABET}]{{{DIGEST_LENGTH}}}")


class NotAStorePathError(InputError):
    """A text that should name a store path and does not."""

    slug = "not-a-store-path"


@dataclass(frozen=True, slots=True, order=True)
class StorePath:
    """`<digest>-<name>`: 32 characters of base 32 that depend on contents, references and name."""

    digest: str
    name: str

    @classmethod
    def parse(cls, basename: str) -> StorePath:
        """Read what `str` wrote.

        Raises:
            NotAStorePathError: it is not a digest, a dash and a legal name.
        """
        digest, _, name = basename.partition("-")
        if not _DIGEST.fullmatch(digest) or not is_name(name):
            raise NotAStorePathError(
                f"{basename!r} is not a store path", expected="<32 characters>-<name>"
            )
        return cls(digest, name)

    def __str__(self) -> str:
        return f"{self.digest}-{self.name}"


def fixed_path(
    *, store_dir: str, name: str, nar_sha256: bytes, references: Iterable[StorePath]
) -> StorePath:
    """Compute the path of a tree from its NAR hash, as Nix does for `fixed:r:sha256`.

    `store_dir` enters the digest, so equal trees in two stores have two paths.

    Raises:
        InputError: the name is not legal.
    """
    check_name(name)
    full = [f"{store_dir}/{reference}" for reference in sorted(set(references))]
    fingerprint = ":".join(["source", *full, "sha256", nar_sha256.hex(), store_dir, name])
    folded = xor_fold(hashlib.sha256(fingerprint.encode()).digest(), 20)
    return StorePath(nix32_encode(folded), name)
