"""One part of a bundle, as a file that is open for reading.

Opening reads the footer, and nothing else is looked at until it is asked for. Whether the
signatures are good is for others to say.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Self

from deploy.bundle.format import (
    FOOTER,
    MAGIC,
    BadBundleError,
    DamagedGroupError,
    Footer,
    MediumError,
    parse,
    split_signatures,
)
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.bundle.manifest import Group

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Part:
    """An open part. Reads say where they read, so processes and threads may share it."""

    __slots__ = ("_descriptor", "_file", "_footer")

    def __init__(self, file: Path, descriptor: int, footer: Footer) -> None:
        self._file = file
        self._descriptor = descriptor
        self._footer = footer

    @classmethod
    def open(cls, file: Path) -> Part:
        """Open the part that lies at `file`.

        Raises:
            InputError: it is not there.
            MediumError: it cannot be read.
            BadBundleError: it is no part of a bundle.
        """
        try:
            descriptor = os.open(file, _OPEN)
        except FileNotFoundError as fault:
            hint = "is the name right, and the medium in place?"
            raise InputError("there is no such file", where=str(file), hint=hint) from fault
        except OSError as fault:
            raise _unreadable(file, fault) from fault
        try:
            return cls(file, descriptor, _footer(file, descriptor))
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def file(self) -> Path:
        """Where it lies."""
        return self._file

    @property
    def footer(self) -> Footer:
        """Its numbers."""
        return self._footer

    @property
    def number(self) -> int:
        """Which part it is, from 1."""
        return self._footer.part

    @property
    def parts(self) -> int:
        """How many parts the bundle has."""
        return self._footer.parts

    @property
    def id(self) -> str:
        """What the footer says of the manifest: its SHA-256, which parts of a bundle share."""
        return self._footer.manifest_sha256.hex()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._footer.size

    def is_still(self, descriptor: int) -> bool:
        """Tell whether an open file is the one that was read, not another that took its place."""
        ours, other = os.fstat(self._descriptor), os.fstat(descriptor)
        return (ours.st_dev, ours.st_ino) == (other.st_dev, other.st_ino)

    def manifest_bytes(self) -> bytes:
        """Return the manifest as it is stored, which is what was signed.

        Raises:
            DamagedGroupError: it is not what the footer says.
            MediumError: it cannot be read.
        """
        footer = self._footer
        data = self._read(footer.groups_end, footer.manifest_size)
        if hashlib.sha256(data).digest() != footer.manifest_sha256:
            raise DamagedGroupError(
                "the manifest of the bundle is damaged",
                where=str(self._file),
                hint="copy the file again",
            )
        return data

    def signatures(self) -> tuple[bytes, ...]:
        """Return the armoured signatures.

        Raises:
            BadBundleError: what stands there is something else.
            MediumError: they cannot be read.
        """
        footer = self._footer
        offset = footer.groups_end + footer.manifest_size
        try:
            return split_signatures(self._read(offset, footer.signatures_size))
        except BadBundleError as error:
            raise BadBundleError(error.reason, where=str(self._file)) from error

    def group(self, group: Group) -> bytes:
        """Return a group of this part as it is stored, after a look at its hash.

        Raises:
            DamagedGroupError: it is not what was signed.
            MediumError: it cannot be read.
        """
        if group.offset + group.size > self._footer.groups_end:
            raise DamagedGroupError("the part is shorter than was signed", where=str(self._file))
        data = self._read(group.offset, group.size)
        found = hashlib.sha256(data).hexdigest()
        if found != group.sha256:
            raise DamagedGroupError(
                f"{group.size:,} bytes at {group.offset:,} are not what was signed",
                where=str(self._file),
                expected=group.sha256,
                got=found,
                hint="copy the file again, or have just that replaced: sealift repair-request",
            )
        return data

    def _read(self, offset: int, size: int) -> bytes:
        return _read(self._file, self._descriptor, offset, size)


def _footer(file: Path, descriptor: int) -> Footer:
    size = os.fstat(descriptor).st_size
    try:
        _check_kind(file, descriptor)
        return parse(_read(file, descriptor, size - FOOTER, FOOTER), size)
    except BadBundleError as error:
        facts = {"expected": error.expected, "got": error.got, "hint": error.hint}
        raise BadBundleError(error.reason, where=str(file), **facts) from None


def _check_kind(file: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise BadBundleError("a bundle is a file, which this is not")
    long_enough = status.st_size >= len(MAGIC) + FOOTER
    if not long_enough or _read(file, descriptor, 0, len(MAGIC)) != MAGIC:
        raise BadBundleError(
            "this is no part of a bundle",
            hint="if it should be one, copy it again; sealift bundle -o FILE makes one",
        )


def _read(file: Path, descriptor: int, offset: int, size: int) -> bytes:
    """Read exactly `size` bytes.

    Raises:
        MediumError: the medium does not give them.
        DamagedGroupError: the file ends before.
    """
    pieces: list[bytes] = []
    while size:
        try:
            piece = os.pread(descriptor, size, offset)
        except OSError as fault:
            raise _unreadable(file, fault) from fault
        if not piece:
            raise DamagedGroupError(
                "the file has become shorter", where=str(file), hint="copy it again"
            )
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _unreadable(file: Path, fault: OSError) -> MediumError:
    return MediumError(
        f"the bundle cannot be read: {fault.strerror}",
        where=str(file),
        hint="see that the medium is in place, and run it again; receive goes on where it was",
    )
