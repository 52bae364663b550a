"""Reading a bundle: parts that belong together, opened once their signatures are good.

Nothing but the footers' numbers is looked at before `check` has agreed to the manifest's bytes.
Parts may come in any order, and some may be missing: what those hold cannot be read, and all else
can. What is done with the contents is for others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from deploy.bundle.format import (
    BadBundleError,
    DamagedGroupError,
    OtherPartError,
    PartMissingError,
)
from deploy.bundle.manifest import BundleManifest, parse
from deploy.bundle.part import Part
from store.errors import Error
from store.frames import FrameError, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    Check = Callable[[bytes, Sequence[bytes]], object]
    """Agrees to the signatures of some bytes, or raises."""


class Bundle:
    """Parts of one bundle whose signatures were good.

    Several processes and threads may read from it at once.
    """

    def __init__(self, parts: Mapping[int, Part], manifest: BundleManifest, stored: bytes) -> None:
        self._parts = parts
        self._manifest = manifest
        self._stored = stored
        self._large = {
            blob.group: blob.span for blob in manifest.blobs.values() if len(blob.span) > 1
        }

    @classmethod
    def open(cls, files: Sequence[Path], check: Check) -> Bundle:
        """Open parts of one bundle, in any order.

        `check` gets the manifest as it is stored and its armoured signatures.

        Raises:
            OtherPartError: they are of two bundles, or one is there twice.
            BadBundleError: a file is no part of a bundle.
            DamagedGroupError: the manifest is damaged in all of them.
            MediumError: one cannot be read.
            Error: what `check` says of the signatures.
        """
        parts: dict[int, Part] = {}
        try:
            for file in files:
                part = Part.open(file)
                try:
                    _check_same(parts, part)
                except BaseException:
                    part.close()
                    raise
                parts[part.number] = part
            return cls._checked(parts, check)
        except BaseException:
            for part in parts.values():
                part.close()
            raise

    @classmethod
    def _checked(cls, parts: Mapping[int, Part], check: Check) -> Bundle:
        if not parts:
            raise BadBundleError("no file was named")
        stored, signatures = _signed(parts)
        try:
            check(stored, signatures)
        except Error as error:
            error.where = error.where or ", ".join(str(each.file) for each in parts.values())
            raise
        manifest = parse(stored)
        for number, part in parts.items():
            ends = manifest.parts
            if part.parts != len(ends) or part.footer.groups_end != ends[number - 1]:
                raise BadBundleError("the part is not as was signed", where=str(part.file))
        return cls(parts, manifest, stored)

    def close(self) -> None:
        """Close the files."""
        for part in self._parts.values():
            part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def manifest(self) -> BundleManifest:
        """What the bundle says of itself."""
        return self._manifest

    @property
    def stored(self) -> bytes:
        """The manifest as it is stored, which was signed."""
        return self._stored

    @property
    def parts(self) -> Mapping[int, Part]:
        """Those that are at hand, by number."""
        return self._parts

    @property
    def size(self) -> int:
        """Bytes of the files that are at hand."""
        return sum(part.size for part in self._parts.values())

    @property
    def whole_size(self) -> int:
        """Bytes of all parts, those that are not at hand as well."""
        footer = next(iter(self._parts.values())).footer
        behind = footer.size - footer.groups_end
        return sum(end + behind for end in self._manifest.parts)

    def missing_parts(self) -> tuple[int, ...]:
        """Return the numbers of the parts that are not at hand."""
        numbers = range(1, len(self._manifest.parts) + 1)
        return tuple(each for each in numbers if each not in self._parts)

    def has(self, group: int) -> bool:
        """Tell whether the part of a group is at hand."""
        return self._manifest.groups[group].part in self._parts

    def span(self, group: int) -> range:
        """Return the groups of the large file that begins in `group`, or just that one."""
        return self._large.get(group, range(group, group + 1))

    def contents(self, group: int) -> bytes:
        """Return what a group holds, at most 4 MiB; of a patch, see `patch`.

        Raises:
            PartMissingError: its part is not at hand.
            DamagedGroupError: it is not what was signed.
            MediumError: it cannot be read.
        """
        return self._open(group, b"")

    def pieces(self, group: int) -> Iterator[bytes]:
        """Yield what a group holds, and the rest of the large file that begins in it.

        Raises:
            Error: as `contents`.
        """
        for each in self.span(group):
            yield self.contents(each)

    def patch(self, group: int, base: bytes) -> bytes:
        """Return the file that a group makes of an older one.

        Raises:
            Error: as `contents`; also if `base` is not the file that it was made of.
        """
        return self._open(group, base)

    def document(self, sha256: str) -> bytes | None:
        """Return a small file of the bundle by its hash; None if it is not in it as a whole.

        Raises:
            Error: as `contents`.
        """
        blob = self._manifest.blobs.get(sha256)
        if blob is None:
            return None
        data = b"".join(self.pieces(blob.group))
        slots = self._manifest.layout()[blob.group]
        offset = next(each.offset for each in slots if each.sha256 == sha256)
        return data[offset : offset + blob.size]

    def _open(self, number: int, dictionary: bytes) -> bytes:
        group = self._manifest.groups[number]
        part = self._parts.get(group.part)
        if part is None:
            raise PartMissingError(
                f"part {group.part} of the bundle is not at hand",
                expected=f"{len(self._manifest.parts)} parts",
            )
        frame = part.group(group)
        try:
            return decompress(frame, group.raw, dictionary)
        except FrameError as error:
            where = str(part.file)
            raise DamagedGroupError(f"group {number}: {error.reason}", where=where) from error


def _check_same(parts: Mapping[int, Part], part: Part) -> None:
    """Refuse a part of another bundle, and one that is there already.

    Raises:
        OtherPartError: it is such a one.
    """
    first = next(iter(parts.values()), part)
    if (part.id, part.parts) != (first.id, first.parts):
        raise OtherPartError(
            "these are parts of different bundles",
            where=str(part.file),
            expected=f"bundle {first.id[:12]}, as {first.file} is",
            got=f"bundle {part.id[:12]}",
        )
    if part.number in parts:
        raise OtherPartError(
            f"part {part.number} is there twice",
            where=f"{parts[part.number].file} and {part.file}",
            hint="name each part once",
        )


def _signed(parts: Mapping[int, Part]) -> tuple[bytes, tuple[bytes, ...]]:
    """Read manifest and signatures from the first part in which both are whole."""
    fault: DamagedGroupError | BadBundleError | None = None
    for part in parts.values():
        try:
            return part.manifest_bytes(), part.signatures()
        except (DamagedGroupError, BadBundleError) as error:
            fault = fault or error
    if fault is None:
        raise BadBundleError("no file was named")
    raise fault
