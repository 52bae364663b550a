"""Reading all of a bundle and comparing it with what was signed, without writing a byte.

Groups are compared as they are stored, then each file in them. What is the difference to an older
file is compared as it is stored, as that file may not be here. Whether paths become what their
hashes say is seen when they are built.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.bundle.crew import Crew, hands
from deploy.bundle.format import DamagedGroupError, MediumError
from deploy.bundle.pieces import missing
from deploy.bundle.receive import DamagedBundleError, Progress
from store.amounts import counted
from store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deploy.bundle.manifest import Slot
    from deploy.bundle.read import Bundle
    from store.errors import Error

FEW = 4
"""Up to so many groups are read by one worker."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A group that is not what was signed, or cannot be read."""

    group: int
    error: Error


@dataclass(frozen=True, slots=True)
class Report:
    """What was found; `size` is in bytes of files, `missing` the parts that were not at hand.

    `groups` are those of the other parts.
    """

    files: int
    size: int
    groups: int
    parts: int
    damaged: tuple[Fault, ...]
    missing: tuple[int, ...]

    def record(self) -> dict[str, Any]:
        """Return the value as JSON data."""
        return {
            "files": self.files,
            "size": self.size,
            "groups": self.groups,
            "damaged": [
                {"group": each.group, "file": each.error.where, "reason": each.error.reason}
                for each in self.damaged
            ],
            "missing": list(self.missing),
        }

    def check(self) -> None:
        """Refuse what is not whole.

        Raises:
            DamagedBundleError: something is damaged.
            PartMissingError: parts are missing, and the others are in order.
        """
        if self.damaged:
            raise DamagedBundleError(
                f"the bundle is damaged, in {len(self.damaged)} of {counted(self.groups, 'group')}",
                where="\n".join(sorted({each.error.where or "" for each in self.damaged})),
                hint="copy the file again, or have just that replaced: sealift repair-request",
            )
        if self.missing:
            raise missing(self.missing, self.parts)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What became of one task: the files that begin in a group."""

    files: int
    size: int
    faults: tuple[Fault, ...]


def check(bundle: Bundle, observe: Callable[[Progress], None]) -> Report:
    """Read all groups whose parts are at hand, and tell what is wrong with them.

    Raises:
        WorkerError: a process that helped was ended.
    """
    manifest = bundle.manifest
    layout = manifest.layout()
    tasks = iter([group for group in layout if all(map(bundle.has, bundle.span(group)))])
    lone = [
        each
        for group in layout
        if not all(map(bundle.has, bundle.span(group)))
        for each in bundle.span(group)
        if bundle.has(each)
    ]
    seen: list[_Seen] = []
    total, done = sum(each.raw for each in manifest.groups), 0

    def note(found: _Seen) -> None:
        nonlocal done
        seen.append(found)
        done += found.size
        observe(Progress(done, total))

    with Crew[int, _Seen](
        lambda group: _group(bundle, group, layout[group]), hands() if len(layout) > FEW else 1
    ) as crew:
        crew.run(lambda: next(tasks, None), note)
    faults = [fault for each in seen for fault in each.faults]
    faults += [fault for each in lone for fault in _stored(bundle, each)]
    return Report(
        files=sum(each.files for each in seen),
        size=done,
        groups=sum(map(bundle.has, range(len(manifest.groups)))),
        parts=len(manifest.parts),
        damaged=tuple(sorted(faults, key=lambda fault: fault.group)),
        missing=bundle.missing_parts(),
    )


def _group(bundle: Bundle, group: int, slots: Sequence[Slot]) -> _Seen:
    """Compare a group, and those behind it into which its file reaches."""
    files, size = len(slots), sum(slot.size for slot in slots)
    if slots[0].sha256 in bundle.manifest.patches:
        return _Seen(files, size, tuple(_stored(bundle, group)))
    span = bundle.span(group)
    if len(span) == 1:
        return _Seen(files, size, tuple(_files(bundle, group, slots)))
    hasher, faults = hashlib.sha256(), []
    for each in span:
        try:
            hasher.update(bundle.contents(each))
        except (IntegrityError, MediumError) as error:
            faults.append(Fault(each, error))
    if not faults and hasher.hexdigest() != slots[0].sha256:
        faults.append(Fault(group, _other(bundle, group)))
    return _Seen(files, size, tuple(faults))


def _files(bundle: Bundle, group: int, slots: Sequence[Slot]) -> Iterator[Fault]:
    try:
        data = memoryview(bundle.contents(group))
    except (IntegrityError, MediumError) as error:
        yield Fault(group, error)
        return
    for slot in slots:
        found = hashlib.sha256(data[slot.offset : slot.offset + slot.size]).hexdigest()
        if found != slot.sha256:
            yield Fault(group, _other(bundle, group))
            return


def _stored(bundle: Bundle, group: int) -> Iterator[Fault]:
    found = bundle.manifest.groups[group]
    try:
        bundle.parts[found.part].group(found)
    except (IntegrityError, MediumError) as error:
        yield Fault(group, error)


def _other(bundle: Bundle, group: int) -> DamagedGroupError:
    part = bundle.parts[bundle.manifest.groups[group].part]
    return DamagedGroupError(
        "a file is not what its hash says, though it was signed so",
        where=str(part.file),
        hint="have the bundle made again: sealift bundle",
    )
