"""Adding signatures to a bundle that is written: those of a second person, maybe elsewhere.

Signatures stand behind what they sign, in every part alike, so only the end of each file changes.
One part after another is replaced, so at every moment each is whole.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from deploy.bundle.format import (
    LARGEST_SIGNATURES,
    DamagedGroupError,
    MediumError,
    PartMissingError,
    join_signatures,
)
from deploy.bundle.parts import beside
from deploy.bundle.read import Bundle
from deploy.durable import sync_folder
from store.database import DiskFullError
from store.errors import InputError
from store.nar import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.part import Part
    from deploy.bundle.read import Check
    from deploy.bundle.write import Sign

_STEP = 1024 * 1024
_CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP})


def countersign(files: Sequence[Path], check: Check, sign: Sign) -> BundleManifest:
    """Sign what `check` agrees to, and put that behind the signatures that are there.

    What was interrupted is finished when it is run again.

    Raises:
        PartMissingError: not all parts are there, and they have the same signatures.
        InputError: it was signed so already, or too often.
        MediumError: a part cannot be written.
        DiskFullError: there is no room for a copy of one.
        Error: as `Bundle.open`, and what `sign` says.
    """
    with Bundle.open(files, check) as bundle:
        _check_whole(bundle)
        stands = [part.signatures() for part in bundle.parts.values()]
        before = dict.fromkeys(each for signatures in stands for each in signatures)
        wanted = tuple(before | dict.fromkeys(sign(bundle.stored)))
        if all(signatures == wanted for signatures in stands):
            raise InputError("this key has signed it already", where=str(files[0]))
        joined = join_signatures(wanted)
        if len(joined) > LARGEST_SIGNATURES:
            raise InputError("there is no room for one more signature", where=str(files[0]))
        for part in bundle.parts.values():
            _write(part, joined)
        return bundle.manifest


def _check_whole(bundle: Bundle) -> None:
    missing = bundle.missing_parts()
    if missing:
        raise PartMissingError(
            "all parts of a bundle are signed together",
            expected=f"{len(bundle.manifest.parts)} parts",
            got=f"no part {', '.join(map(str, missing))}",
        )


def _write(part: Part, signatures: bytes) -> None:
    """Put signatures, and a footer that knows them, behind the manifest of a part.

    Its end cannot be changed where it lies: who is interrupted then leaves a part that cannot be
    opened, maybe after days of carrying. So a copy takes its place, for which file systems that
    can share blocks (Btrfs, XFS) need neither time nor room.
    """
    footer = replace(part.footer, signatures_size=len(signatures))
    file = part.file.resolve()  # a link stays one
    try:
        with beside(file) as (descriptor, spare):
            _copy(part, file, descriptor, footer.groups_end + footer.manifest_size)
            write_all(descriptor, signatures + bytes(footer))
            with suppress(PermissionError):  # a file system without modes
                os.fchmod(descriptor, stat.S_IMODE(file.stat().st_mode))
            os.fsync(descriptor)
            spare.replace(file)
            sync_folder(file.parent)
    except DiskFullError as error:
        error.hint = (
            "a copy of each part is signed before it takes its place: sign where there is room, "
            "then copy the parts onto the medium"
        )
        raise


def _copy(part: Part, file: Path, target: int, size: int) -> None:
    """Copy the first bytes of a file, within the kernel where that can."""
    source = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not part.is_still(source):
            raise MediumError("another file took the place of this one", where=str(file))
        left = size
        while left and (count := _shared(source, target, left)):
            left -= count
        while left:
            data = os.read(source, min(left, _STEP))
            if not data:
                raise DamagedGroupError("the file has become shorter", where=str(file))
            write_all(target, data)
            left -= len(data)
    finally:
        os.close(source)


def _shared(source: int, target: int, size: int) -> int:
    """Have the kernel copy some bytes; return how many, which is 0 where it cannot."""
    try:
        return os.copy_file_range(source, target, size)
    except OSError as fault:
        if fault.errno in _CANNOT:
            return 0
        raise
