"""The groups of a bundle as what they hold: from the parts at hand, else from the quarantine.

Each is compared with what was signed before it is decompressed, and takes no more memory than
was signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.bundle.format import GROUP, PartMissingError
from store.frames import decompress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.part import Part
    from deploy.bundle.quarantine import Quarantine


class Pieces:
    """What can be read of one bundle."""

    def __init__(
        self, manifest: BundleManifest, parts: Mapping[int, Part], quarantine: Quarantine | None
    ) -> None:
        self._manifest = manifest
        self._parts = parts
        self._quarantine = quarantine

    def on_medium(self, group: int) -> bool:
        """Tell whether the part of a group is at hand."""
        return self._manifest.groups[group].part in self._parts

    def is_kept(self, group: int) -> bool:
        """Tell whether a group waits in the quarantine."""
        kept = self._quarantine
        return kept is not None and kept.has(group, self._manifest.groups[group])

    def part(self, group: int) -> int:
        """Return the number of the part that holds a group."""
        return self._manifest.groups[group].part

    def at_hand(self, group: int) -> bool:
        """Tell whether a group can be read: from a part, or because it was kept."""
        return self.on_medium(group) or self.is_kept(group)

    def stored(self, group: int) -> bytes:
        """Return a group as it is stored.

        Raises:
            DamagedGroupError: it is not what was signed.
            MediumError: it cannot be read.
            PartMissingError: its part is not at hand.
        """
        found = self._manifest.groups[group]
        if found.part in self._parts:
            return self._parts[found.part].group(found)
        data = self._quarantine.take(group, found) if self._quarantine else None
        if data is None:
            raise missing([found.part], len(self._manifest.parts))
        return data

    def contents(self, group: int) -> bytes:
        """Return what a group holds.

        Raises:
            Error: as `stored`.
            FrameError: it does not hold what was signed.
        """
        return decompress(self.stored(group), self._manifest.groups[group].raw)

    def patched(self, group: int, before: bytes) -> bytes:
        """Return the file that a group makes of an older one.

        Raises:
            Error: as `contents`.
        """
        return decompress(self.stored(group), self._manifest.groups[group].raw, before)

    def file(self, sha256: str) -> bytes:
        """Return a whole file, which is small enough for memory.

        Raises:
            Error: as `contents`.
        """
        blob = self._manifest.blobs.get(sha256)
        if blob is None:
            raise PartMissingError("a file is not in the bundle as a whole", where=sha256)
        offset = 0
        for slot in self._manifest.layout()[blob.group]:
            offset = slot.offset if slot.sha256 == sha256 else offset
        data = b"".join(self.contents(each) for each in blob.span)
        return data[offset : offset + blob.size]


def span(group: int, size: int) -> range:
    """Return the groups in which a file lies that begins in one."""
    return range(group, group + -(-size // GROUP))


def missing(parts: Iterable[int], of: int) -> PartMissingError:
    """Make the error that names parts which are not at hand."""
    numbers: Sequence[int] = sorted(parts)
    said = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    what = f"part {said}" if len(numbers) == 1 else f"parts {said}{more}"
    return PartMissingError(
        f"{what} of {of} {'is' if len(numbers) == 1 else 'are'} still to come",
        hint="sealift receive with the others, all at once or one after another: what came stays",
    )


_NAMED = 12
