"""Adding signatures to a bundle that is written: those of a second person, maybe elsewhere.

Signatures stand behind what they sign, in every part alike, so only the end of each file changes.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from deploy.bundle.format import (
    LARGEST_SIGNATURES,
    MediumError,
    PartMissingError,
    join_signatures,
)
from deploy.bundle.read import Bundle
from store.errors import InputError
from store.nar import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.bundle.manifest import BundleManifest
    from deploy.bundle.part import Part
    from deploy.bundle.read import Check
    from deploy.bundle.write import Sign


def countersign(files: Sequence[Path], check: Check, sign: Sign) -> BundleManifest:
    """Sign what `check` agrees to, and put that behind the signatures that are there.

    What was interrupted is finished when it is run again, but for a part whose end is damaged.

    Raises:
        PartMissingError: not all parts are there, and they have the same signatures.
        InputError: it was signed so already, or too often.
        MediumError: a part cannot be written.
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
    """Put signatures, and a footer that knows them, behind the manifest of a part."""
    footer = replace(part.footer, signatures_size=len(signatures))
    try:
        descriptor = os.open(part.file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.lseek(descriptor, footer.groups_end + footer.manifest_size, os.SEEK_SET)
            write_all(descriptor, signatures + bytes(footer))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as fault:
        reason = f"the bundle cannot be written: {fault.strerror}"
        raise MediumError(reason, where=str(part.file)) from fault
