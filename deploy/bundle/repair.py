"""Replacing damaged groups: the list that goes to the builder, and what it is answered with.

The answer is a bundle without paths: it holds the files that are in the damaged groups, signed
like any other, and says which bundle they are for. Received before that one, or along with it,
they lie there already when it is read, so that nobody looks at the damage again.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploy.bundle.base import Delta
from deploy.bundle.manifest import parse
from deploy.bundle.records import FOLDER
from deploy.bundle.write import Label
from store.amounts import counted
from store.errors import InputError
from store.hashes import SHA256
from store.manifest import File

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from deploy.bundle.check import Fault
    from deploy.bundle.manifest import Blob, BundleManifest, Patch
    from deploy.bundle.read import Bundle
    from store.local import LocalStore

LARGEST = 2 * 1024 * 1024
"""Bytes of a list."""
MOST = 25_000
"""Files of a list, or rather its commas and brackets: each costs the reader memory."""
_FORMAT = 1
_NAMED = 8
_KEYS = 8
"""Commas and brackets of a list besides those of its files."""


class BadRequestError(InputError):
    """A file that should list what is damaged, and does not."""

    slug = "bad-repair-request"


class LostFilesError(InputError):
    """Files that are asked for, and that this store does not have."""

    slug = "repair-impossible"


@dataclass(frozen=True, slots=True)
class Request:
    """Which files are wanted of which bundle; sizes in bytes, by SHA-256 in base 16."""

    site: str
    number: int
    bundle: str
    files: Mapping[str, int]

    def __str__(self) -> str:
        data = {
            "format": _FORMAT,
            "site": self.site,
            "number": self.number,
            "bundle": self.bundle,
            "files": dict(self.files),
        }
        return json.dumps(data, indent=1) + "\n"

    def among(self, documents: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return those of some documents that are wanted."""
        return {
            name: data
            for name, data in documents.items()
            if hashlib.sha256(data).hexdigest() in self.files
        }


def _too_long(where: str) -> BadRequestError:
    return BadRequestError(
        "the list of damaged files is too long",
        where=where,
        expected=f"{LARGEST:,} bytes and some {MOST:,} files at most",
        hint="with so much damage, bring the whole bundle again",
    )


def request(bundle: Bundle, damaged: Iterable[Fault]) -> Request:
    """Return the list of what is in damaged groups, also of what merely reaches into one.

    Raises:
        BadRequestError: it is more than a list may hold.
    """
    manifest = bundle.manifest
    bad = {fault.group for fault in damaged}
    files = {
        slot.sha256: slot.size
        for group, slots in manifest.layout().items()
        if not bad.isdisjoint(bundle.span(group))
        for slot in slots
    }
    if len(files) > MOST - _KEYS:
        raise _too_long(f"bundle {manifest.number} for {manifest.site}")
    return Request(manifest.site, manifest.number, manifest.digest, files)


def load(file: Path) -> Request:
    """Read what `str` wrote.

    Raises:
        BadRequestError: it is no such list.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        if len(data) > LARGEST or data.count(b",") + data.count(b"[") + data.count(b"{") > MOST:
            raise _too_long(str(file))
        return _parse(json.loads(data))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequestError(
            f"this is no list of damaged files: {error}",
            where=str(file),
            hint="sealift repair-request FILE… -o LIST, at the transfer host",
        ) from error


def _parse(data: dict[str, Any]) -> Request:
    found = Request(data["site"], data["number"], data["bundle"], data["files"])
    right = (
        data["format"] == _FORMAT
        and isinstance(found.site, str)
        and _is_count(found.number)
        and _is_hash(found.bundle)
        and all(_is_hash(key) and _is_count(size) for key, size in found.files.items())
        and found.files
    )
    if not right:
        raise ValueError("a value is of another kind")
    return found


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and SHA256.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 53


def recorded(var_dir: Path, wanted: Request) -> BundleManifest:
    """Return what the builder wrote down of the bundle that is damaged.

    Raises:
        BadRequestError: it made no such bundle, or knows it no more.
    """
    file = var_dir / FOLDER / f"{wanted.site}-{wanted.number}.json.zst"
    data = file.read_bytes() if "/" not in wanted.site and file.is_file() else b""
    if hashlib.sha256(data).hexdigest() != wanted.bundle:
        raise BadRequestError(
            f"bundle {wanted.number} for {wanted.site} was not made here, or is forgotten",
            expected=wanted.bundle,
            hint="ask where it was made; or bring the whole bundle again",
        )
    return parse(data)


def checked(wanted: Request, damaged: BundleManifest) -> Request:
    """Return a list of which nothing is believed but that it names files of that bundle.

    It is not signed: whatever else the store has is none of its business.

    Raises:
        BadRequestError: it names other files.
    """
    held: dict[str, Blob | Patch] = {**damaged.blobs, **damaged.patches}
    others = sorted(wanted.files.keys() - held.keys())
    if others:
        raise BadRequestError(
            f"the list has {counted(len(others), 'file')} that bundle {damaged.number} has not",
            got=others[0],
            hint="make the list anew: sealift repair-request",
        )
    return replace(wanted, files={sha256: held[sha256].size for sha256 in wanted.files})


def label(damaged: BundleManifest) -> Label:
    """Say what the answer is called: like the bundle of which it replaces groups."""
    return Label(
        site=damaged.site,
        number=damaged.number,
        created=damaged.created,
        top=damaged.top,
        root=damaged.root,
        release=damaged.release,
        repairs=damaged.digest,
    )


def content(store: LocalStore, wanted: Request, documents: Collection[str] = ()) -> Delta:
    """Return what the answer holds; `documents` are hashes of files that are not in the store.

    Raises:
        LostFilesError: some of it is here no more.
    """
    links = os.fsencode(store.links_dir) + b"/"
    lost = [
        sha256
        for sha256 in wanted.files
        if sha256 not in documents
        and not os.path.lexists(links + sha256.encode())
        and not os.path.lexists(links + sha256.encode() + b"-x")
    ]
    if lost:
        more = [f"and {len(lost) - _NAMED} more"] if len(lost) > _NAMED else []
        raise LostFilesError(
            f"this store no longer has {counted(len(lost), 'file')} of the bundle",
            where=str(store.store_dir),
            expected="\n".join([*lost[:_NAMED], *more]),
            hint="bring the bundle again, or build the same release: sealift build",
        )
    files = {
        sha256: File(b"", size, sha256, executable=False)
        for sha256, size in wanted.files.items()
        if sha256 not in documents
    }
    return Delta(manifests=(), base=None, whole=files)
