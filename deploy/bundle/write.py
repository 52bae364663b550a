"""Writing a bundle: groups in one pass, then manifest, signatures and footer behind each part.

Which files it carries was decided before: see `deploy.bundle.base`. Where the bytes go is for
`deploy.bundle.parts`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from deploy.bundle.format import (
    FOOTER,
    LARGEST_GROUP,
    LARGEST_SIGNATURES,
    MAGIC,
    SMALLEST_SPLIT,
    join_signatures,
)
from deploy.bundle.groups import Difference, Files, Piece, Plan, Together, frames, plan
from deploy.bundle.manifest import Blob, BundleManifest, Group, Patch, dump
from deploy.bundle.parts import Parts
from store.errors import InputError
from store.manifest import File, blobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from deploy.bundle.base import Delta
    from store.local import LocalStore
    from store.path import StorePath

    Sign = Callable[[bytes], Sequence[bytes]]

_SPARE = 64 * 1024
"""Bytes that are left free in each part, lest the manifest become a little longer than thought."""
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Label:
    """What a bundle says of itself: as in `BundleManifest`."""

    site: str
    number: int
    created: int
    top: StorePath
    root: str = "release"
    release: Mapping[str, str] = field(default_factory=dict)
    repairs: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: bytes of files that are written, and of all files."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle that was written; `size` is that of its parts, `raw` that of the files in it.

    `stored` is the manifest as it was signed.
    """

    files: tuple[Path, ...]
    size: int
    raw: int
    manifest: BundleManifest
    stored: bytes


def write(
    store: LocalStore,
    content: Delta,
    out: Path,
    *,
    label: Label,
    sign: Sign,
    split: int | None = None,
    documents: Mapping[str, bytes] | None = None,
    trust: Mapping[str, bytes] | None = None,
    observe: Callable[[Progress], None] = lambda _: None,
    threads: int = 0,
    force: bool = False,
) -> Written:
    """Write what `content` says to `out`; with `split`, to `out.001` and so on, each smaller.

    `split` is in bytes. `sign` gets the stored manifest, and gives armoured signatures. Documents
    and trust are by the names that the manifest has for them. With `force` what lies there under
    the same name is replaced.

    Raises:
        InputError: something lies there already, or parts would be too small.
        IntegrityError: a file of the store is not what its hash says.
        DiskFullError: the medium is full.
        MediumError: it cannot be written.
        Error: what `sign` says.
    """
    draft = _Draft(store, content, label, documents or {}, trust or {})
    room = _room(draft.manifest, split)
    with store.session(), Parts(out, split, room, force=force) as parts:
        done, total = 0, draft.manifest.raw
        for frame in frames(draft.plans, draft.files, threads=threads):
            parts.add(frame)
            done += frame.raw
            observe(Progress(done, total))
        manifest = replace(draft.manifest, parts=parts.ends, groups=tuple(parts.groups))
        stored = dump(manifest)
        files = parts.finish(stored, join_signatures(sign(stored)))
    digest = hashlib.sha256(stored).hexdigest()
    return Written(files, parts.size, total, replace(manifest, digest=digest), stored)


class _Draft:
    """A bundle before it is written: its groups, and its manifest with groups of any hash."""

    def __init__(
        self,
        store: LocalStore,
        content: Delta,
        label: Label,
        documents: Mapping[str, bytes],
        trust: Mapping[str, bytes],
    ) -> None:
        extra = {_sha256(data): data for data in (*documents.values(), *trust.values()) if data}
        needed = blobs(content.manifests)
        own = [
            File(b"", len(data), sha256, executable=False)
            for sha256, data in extra.items()
            if sha256 not in needed
        ]
        files = (*content.whole.values(), *own)
        patched = {each: (needed[each], before) for each, before in content.patched.items()}
        self.files = Files(store, content.manifests, extra)
        self.plans = tuple(plan(files, patched))
        self.manifest = BundleManifest(
            site=label.site,
            number=label.number,
            created=label.created,
            store=str(store.store_dir),
            root=label.root,
            top=label.top,
            release=label.release,
            base=content.base,
            repairs=label.repairs,
            paths=content.manifests,
            parts=(),
            groups=tuple(_stand_in(number, each.raw) for number, each in enumerate(self.plans)),
            blobs=dict(_placed(self.plans)),
            patches=dict(_differing(self.plans)),
            documents={name: _sha256(data) for name, data in sorted(documents.items()) if data},
            trust={name: _sha256(data) for name, data in sorted(trust.items()) if data},
        )


def _placed(plans: Sequence[Plan]) -> Iterator[tuple[str, Blob]]:
    for number, each in enumerate(plans):
        if isinstance(each, Together):
            yield from ((file.sha256, Blob(file.size, number)) for file in each.files)
        elif isinstance(each, Piece) and each.offset == 0:
            yield each.file.sha256, Blob(each.file.size, number)


def _differing(plans: Sequence[Plan]) -> Iterator[tuple[str, Patch]]:
    for number, each in enumerate(plans):
        if isinstance(each, Difference):
            yield each.file.sha256, Patch(each.file.size, number, each.before.sha256)


def _stand_in(number: int, raw: int) -> Group:
    """Return a group that takes as much of a manifest as the real one will."""
    return Group(1, 0, LARGEST_GROUP, raw, _sha256(number.to_bytes(8, "big")))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _room(draft: BundleManifest, split: int | None) -> int | None:
    """Return how many bytes of a part are left for groups; None if that does not matter.

    Raises:
        InputError: none to speak of.
    """
    if split is None:
        return None
    behind = len(dump(replace(draft, parts=(0,)))) * 17 // 16 + LARGEST_SIGNATURES + FOOTER
    room = split - 1 - behind - _SPARE - len(MAGIC)
    if split < SMALLEST_SPLIT or room < LARGEST_GROUP:
        least = max(SMALLEST_SPLIT, split - room + LARGEST_GROUP)
        raise InputError(
            "parts so small have no room for what each of them must hold",
            expected=f"{least / _MEBIBYTE:.0f} MiB at least",
            got=f"{split / _MEBIBYTE:.0f} MiB",
            hint=f"--split {-(-least // _MEBIBYTE)}MiB",
        )
    return room
