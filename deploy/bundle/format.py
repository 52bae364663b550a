"""The frame of a bundle's file: its numbers, its limits, and what can be wrong with it.

A part is MAGIC, groups, the manifest, signatures, and a footer of 96 bytes; it is written from
front to back, and read from its end. Every part has the same manifest and the same signatures.
What the manifest says is `deploy.bundle.manifest`'s to know.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.sshsig import leading
from store.errors import Error, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC: Final = b"sealift-bundle\n\0"
FORMAT: Final = 1
GROUP: Final = 4 * 1024 * 1024
"""Bytes that one group holds at most, before compression; a larger file takes several."""
LARGEST_GROUP: Final = GROUP + GROUP // 128 + 4096
"""Bytes of a group as it is stored: zstd adds a little to what it cannot compress."""
LARGEST_MANIFEST: Final = 64 * 1024 * 1024
LARGEST_SIGNATURES: Final = 64 * 1024
MOST_PARTS: Final = 9999
MOST_SIGNATURES: Final = 16
SMALLEST_SPLIT: Final = 16 * 1024 * 1024
"""Bytes of the smallest part that can be asked for."""

_FOOTER = struct.Struct(">HHIIIQQQ32s8s16s")
FOOTER: Final = _FOOTER.size
_END: Final = MAGIC[::-1]


class BadBundleError(IntegrityError):
    """A file that is no part of a bundle, or one that contradicts itself."""

    slug = "bad-bundle"


class DamagedGroupError(IntegrityError):
    """A group, or another stretch of a part, that is not what was signed."""

    slug = "bundle-damaged"


class PartMissingError(Error):
    """A part of a bundle that is not at hand."""

    slug = "part-missing"
    exit_code = 4


class OtherPartError(IntegrityError):
    """Parts that do not belong together, or one of them twice."""

    slug = "part-other-bundle"


class MediumError(Error):
    """A medium that cannot be read, or cannot be written."""

    slug = "medium-failed"


@dataclass(frozen=True, slots=True)
class Footer:
    """The last 96 bytes of a part; sizes in bytes.

    Attributes:
        part: its number, from 1.
        parts: how many there are.
        groups_end: where the groups end and the manifest begins.
        manifest_size: of the manifest as it is stored.
        signatures_size: of all signatures.
        manifest_sha256: of the manifest as it is stored; the same in every part of a bundle.
    """

    part: int
    parts: int
    groups_end: int
    manifest_size: int
    signatures_size: int
    manifest_sha256: bytes

    def __bytes__(self) -> bytes:
        return _FOOTER.pack(
            FORMAT,
            0,
            self.part,
            self.parts,
            0,
            self.groups_end,
            self.manifest_size,
            self.signatures_size,
            self.manifest_sha256,
            bytes(8),
            _END,
        )

    @property
    def size(self) -> int:
        """Bytes of the whole part."""
        return self.groups_end + self.manifest_size + self.signatures_size + FOOTER


def parse(data: bytes, size: int) -> Footer:
    """Read the footer of a part of `size` bytes; its numbers are all that is believed of it.

    Raises:
        BadBundleError: it is none, of another version, or its numbers are not those of a part.
    """
    if len(data) != FOOTER or data[-len(_END) :] != _END:
        raise BadBundleError(
            "this is no part of a bundle, or not all of one",
            hint="copy it again; it ends with what says where all else lies",
        )
    version, zero, part, parts, nil, end, manifest, signatures, digest, spare, _ = _FOOTER.unpack(
        data
    )
    if version != FORMAT:
        raise BadBundleError(
            "the bundle was made by another version of sealift",
            expected=f"format {FORMAT}",
            got=f"format {version}",
        )
    footer = Footer(part, parts, end, manifest, signatures, digest)
    fits = (
        1 <= part <= parts <= MOST_PARTS
        and end >= len(MAGIC)
        and 0 < manifest <= LARGEST_MANIFEST
        and signatures <= LARGEST_SIGNATURES
    )
    if not fits or (zero, nil, spare) != (0, 0, bytes(8)):
        raise BadBundleError("the end of the file does not describe a part of a bundle")
    if footer.size != size:
        raise BadBundleError(
            "the file is not as long as its end says",
            expected=f"{footer.size:,} bytes",
            got=f"{size:,}",
            hint="copy it again",
        )
    return footer


def split_signatures(data: bytes) -> tuple[bytes, ...]:
    """Take armoured signatures that stand one after another apart.

    Raises:
        BadBundleError: something else stands there, or too many.
    """
    found, rest = leading(data, MOST_SIGNATURES)
    if rest:
        raise BadBundleError("what should be signatures is something else")
    return found


def join_signatures(signatures: Iterable[bytes]) -> bytes:
    """Return armoured signatures as they stand in a part, one after another.

    Raises:
        BadBundleError: they are none, or too many.
    """
    data = b"".join(each.rstrip(b"\n") + b"\n" for each in signatures)
    split_signatures(data)
    return data


def must(good: bool, reason: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Refuse a manifest of which this is not true.

    Raises:
        BadBundleError: it is not.
    """
    if not good:
        raise bad(reason)


def bad(reason: str) -> BadBundleError:
    """Return the error of a manifest that no bundle has."""
    return BadBundleError(
        f"the bundle does not describe itself as bundles do: {reason}",
        hint="have it made again: sealift bundle",
    )
