"""What lies on the media that somebody named: parts of one bundle, and replacements for damage.

Parts come in any order and from several media. Each file belongs to the bundle, or to a small one
that replaces groups of it; anything else is named and refused.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.bundle.format import BadBundleError, DamagedGroupError, OtherPartError
from deploy.bundle.part import Part
from deploy.bundle.read import Bundle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deploy.bundle.read import Check


@dataclass(frozen=True, slots=True)
class Delivery:
    """A bundle, some of whose parts may be missing, and what replaces groups of it.

    `bundle` is None where there are just replacements.
    """

    bundle: Bundle | None
    repairs: tuple[Bundle, ...]


@contextmanager
def opened(files: Sequence[Path], check: Check, *, strict: bool = True) -> Iterator[Delivery]:
    """Open what was named, verified; with `strict` every copy of the manifest must be whole.

    Raises:
        OtherPartError: a file belongs to another bundle, or is there twice.
        Error: as `Bundle.open`.
    """
    with ExitStack() as stack:
        bundles = [
            stack.enter_context(Bundle.open(group, check)) for group in _together(files).values()
        ]
        if strict:
            for bundle in bundles:
                _check_copies(bundle)
        yield _sorted(bundles)


def _together(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return which files say that they are parts of one bundle."""
    found: dict[str, list[Path]] = {}
    for file in files:
        with Part.open(file) as part:
            found.setdefault(part.id, []).append(file)
    return found


def _sorted(bundles: Sequence[Bundle]) -> Delivery:
    whole = [each for each in bundles if each.manifest.repairs is None]
    repairs = tuple(each for each in bundles if each.manifest.repairs is not None)
    if len(whole) > 1:
        fewest = min(whole, key=lambda each: len(each.parts))
        others = next(each for each in whole if each is not fewest)
        raise OtherPartError(
            "these are parts of different bundles",
            where=_named(fewest),
            expected=f"{_called(others)}, as {_named(others)}",
            got=_called(fewest),
            hint="name the parts of one bundle; each can be received by itself",
        )
    for each in repairs:
        if whole and each.manifest.repairs != whole[0].manifest.digest:
            raise OtherPartError(
                "this replaces groups of another bundle",
                where=_named(each),
                expected=whole[0].manifest.digest[:12],
                got=str(each.manifest.repairs)[:12],
            )
    return Delivery(whole[0] if whole else None, repairs)


def _check_copies(bundle: Bundle) -> None:
    """See that each part bears the manifest and the signatures, which were read from one.

    Raises:
        DamagedGroupError: one does not; names it.
    """
    signatures = None
    for part in bundle.parts.values():
        try:
            part.manifest_bytes()
            found = part.signatures()
        except BadBundleError as error:
            raise DamagedGroupError(error.reason, where=error.where) from error
        if signatures not in (None, found):
            raise DamagedGroupError(
                "the signatures of a part are not those of the others",
                where=str(part.file),
                hint="copy the file again",
            )
        signatures = found


def _called(bundle: Bundle) -> str:
    return f"bundle {bundle.manifest.number} for {bundle.manifest.site}"


def _named(bundle: Bundle) -> str:
    return ", ".join(str(part.file) for part in bundle.parts.values())
