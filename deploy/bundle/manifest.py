"""The manifest of a bundle: what it carries, what that is made of, and where each piece lies.

Pure. `parse` believes nothing that it can compute: the groups must hold exactly the files that
are listed, the files must be those that the paths need, and each path's name must follow from its
contents. Whether it was signed is for others to say, before they come here.

Files stand in the groups in the order in which the paths need them. A file of up to 4 MiB lies in
one group, maybe with others; a larger one has groups of its own, one after the other, full but
for the last. What differs of a file from an older one has a group of its own behind all of those.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from deploy.bundle.coherence import check
from deploy.bundle.format import (
    FORMAT,
    GROUP,
    LARGEST_GROUP,
    LARGEST_MANIFEST,
    MAGIC,
    MOST_PARTS,
    BadBundleError,
    bad,
    must,
)
from store import manifest as lists
from store.errors import Error
from store.frames import PATCH_LIMIT, FrameError, compress, decompress
from store.hashes import SHA256
from store.names import SITE
from store.nar import Limits
from store.path import StorePath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from store.manifest import Manifest

LARGEST_TEXT: Final = 256 * 1024 * 1024
"""Bytes of the JSON."""
MOST_VALUES: Final = 2_000_000
"""Commas in the JSON: each value costs the reader some hundred bytes of memory."""
MOST_PATHS: Final = 20_000
MOST_BLOBS: Final = 200_000
LIMITS: Final = Limits(entries=100_000)

_ROOT = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._+-]{0,127}")
_DOCUMENTS: Final = frozenset({"sbom", "provenance"})
_TRUST: Final = frozenset({"signers", "revoked"})
_NUMBER: Final = 2**53
"""Bound of numbers: what every reader of JSON takes for whole."""


class Blob(NamedTuple):
    """A file's size in bytes, and the group in which it begins."""

    size: int
    group: int

    @property
    def span(self) -> range:
        """The groups in which it lies."""
        return range(self.group, self.group + -(-self.size // GROUP))


class Patch(NamedTuple):
    """A file's size in bytes, the group that makes it, and the SHA-256 of what it is made from."""

    size: int
    group: int
    base: str


class Slot(NamedTuple):
    """A file in a group: bytes from the group's beginning; of a large one its first group says."""

    sha256: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Group:
    """One zstd frame: its part, from 1, and its place there; `size` and `raw` are bytes.

    `size` and `sha256` are of the frame as it is stored, `raw` is what it holds.
    """

    part: int
    offset: int
    size: int
    raw: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Base:
    """What a delta builds on: paths that the site told of in a receipt, sorted.

    `receipt` is the SHA-256 of that receipt, in base 16.
    """

    receipt: str
    paths: tuple[StorePath, ...]


@dataclass(frozen=True, slots=True)
class BundleManifest:
    """A bundle, described.

    Attributes:
        site: for which it was made.
        number: the how manieth for that site.
        created: seconds since the epoch.
        store: the store directory, which enters the name of each path.
        root: the name under which the receiver keeps the release.
        top: the release.
        release: what the builder says of it to people.
        base: what a delta builds on; None of a whole bundle.
        repairs: the digest of the bundle of which this one replaces damaged pieces, or None.
        paths: what it carries, references before referrers.
        parts: where the groups end in each part, in bytes.
        groups: in the order of the parts.
        blobs: files by SHA-256, in the order in which they stand in the groups.
        patches: files that are made of others, by SHA-256; one group each.
        documents: blobs that tell of the release: `sbom`, `provenance`.
        trust: blobs with the builder's keys: `signers`, `revoked`; empty if it sends none.
        digest: SHA-256 of the stored bytes, in base 16; empty before it is stored.
    """

    site: str
    number: int
    created: int
    store: str
    root: str
    top: StorePath
    release: Mapping[str, str]
    base: Base | None
    repairs: str | None
    paths: tuple[Manifest, ...]
    parts: tuple[int, ...]
    groups: tuple[Group, ...]
    blobs: Mapping[str, Blob]
    patches: Mapping[str, Patch]
    documents: Mapping[str, str]
    trust: Mapping[str, str]
    digest: str = ""

    def store_paths(self) -> tuple[StorePath, ...]:
        """Return the names of the paths, in their order."""
        return tuple(each.path(self.store) for each in self.paths)

    @property
    def raw(self) -> int:
        """Bytes that the groups hold."""
        return sum(each.raw for each in self.groups)

    @property
    def size(self) -> int:
        """Bytes of the groups as they are stored."""
        return sum(each.size for each in self.groups)

    def layout(self) -> dict[int, tuple[Slot, ...]]:
        """Return what begins in each group; in the later groups of a large file nothing does."""
        found: dict[int, list[Slot]] = {}
        offset = 0
        for sha256, blob in self.blobs.items():
            slots = found.setdefault(blob.group, [])
            offset = offset if slots else 0
            slots.append(Slot(sha256, offset, blob.size))
            offset += blob.size
        for sha256, patch in self.patches.items():
            found[patch.group] = [Slot(sha256, 0, patch.size)]
        return {group: tuple(slots) for group, slots in found.items()}


def dump(manifest: BundleManifest) -> bytes:
    """Spell a manifest as it is stored: canonical JSON in one zstd frame.

    Raises:
        BadBundleError: there is more in it than one bundle may carry.
    """
    _check_words(manifest)
    text = json.dumps(_to_data(manifest), sort_keys=True, separators=(",", ":")).encode()
    _check_values(text)
    data = compress(text)
    if len(text) > LARGEST_TEXT or len(data) > LARGEST_MANIFEST:
        raise BadBundleError(
            "the list of what the bundle holds is too long for a bundle",
            expected=f"{LARGEST_TEXT:,} bytes at most",
            got=f"{len(text):,}",
        )
    return data


def parse(data: bytes) -> BundleManifest:
    """Read what `dump` wrote, and see that it contradicts itself nowhere.

    Raises:
        BadBundleError: it is not the manifest of a bundle.
        BadManifestError: the list of a path's files is none.
    """
    text = _text(data)
    try:
        said = json.loads(text)
        manifest = _manifest(said, hashlib.sha256(data).hexdigest())
    except (BadBundleError, lists.BadManifestError):
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, Error) as error:
        raise bad(f"{error!r:.200}") from error
    check(manifest)
    return manifest


def _to_data(manifest: BundleManifest) -> dict[str, Any]:
    base = manifest.base
    return {
        "format": FORMAT,
        "site": manifest.site,
        "number": manifest.number,
        "created": manifest.created,
        "store": manifest.store,
        "root": manifest.root,
        "top": str(manifest.top),
        "release": dict(manifest.release),
        "base": base and {"receipt": base.receipt, "paths": [str(each) for each in base.paths]},
        "repairs": manifest.repairs,
        "paths": [each.to_data() for each in manifest.paths],
        "parts": list(_parts(manifest)),
        "blobs": [[sha256, *blob] for sha256, blob in manifest.blobs.items()],
        "patches": [[sha256, *patch] for sha256, patch in manifest.patches.items()],
        "documents": dict(manifest.documents),
        "trust": dict(manifest.trust) or None,
    }


def _parts(manifest: BundleManifest) -> Iterator[dict[str, Any]]:
    for number, end in enumerate(manifest.parts, 1):
        inside = (each for each in manifest.groups if each.part == number)
        yield {"size": end, "groups": [[each.size, each.raw, each.sha256] for each in inside]}


def _text(data: bytes) -> bytes:
    """Decompress a manifest; what it would take is looked at before it is taken."""
    import zstandard  # noqa: PLC0415 - as in store.frames

    try:
        size = zstandard.frame_content_size(data)
    except zstandard.ZstdError as error:
        raise bad(str(error)) from error
    if not 0 < size <= LARGEST_TEXT:
        raise bad(f"{size:,} bytes of text")
    try:
        text = decompress(data, size)
    except FrameError as error:
        raise bad(error.reason) from error
    _check_values(text)
    return text


def _check_values(text: bytes) -> None:
    must(text.count(b",") <= MOST_VALUES, "more values than a bundle can have")
    must(text.count(b"[") <= MOST_VALUES, "more values than a bundle can have")


def _check_words(manifest: BundleManifest) -> None:
    """Refuse what no reader would take of what is said in numbers and words, and too much of it."""
    _count(manifest.number, low=1)
    _count(manifest.created)
    _matching(manifest.site, SITE)
    _matching(manifest.root, _ROOT)
    for each in (manifest.store, *manifest.release.keys(), *manifest.release.values()):
        _words(each)
    must(len(manifest.paths) <= MOST_PATHS, "too many paths")
    must(len(manifest.blobs) + len(manifest.patches) <= MOST_BLOBS, "too many files")


def _manifest(said: Mapping[str, Any], digest: str) -> BundleManifest:
    must(said["format"] == FORMAT, "another format")
    must(len(said["paths"]) <= MOST_PATHS, "too many paths")
    must(len(said["blobs"]) + len(said["patches"]) <= MOST_BLOBS, "too many files")
    parts, groups = _groups(said["parts"])
    return BundleManifest(
        site=_matching(said["site"], SITE),
        number=_count(said["number"], low=1),
        created=_count(said["created"]),
        store=_words(said["store"]),
        root=_matching(said["root"], _ROOT),
        top=StorePath.parse(said["top"]),
        release={_words(key): _words(value) for key, value in said["release"].items()},
        base=_base(said["base"]),
        repairs=None if said["repairs"] is None else _matching(said["repairs"], SHA256),
        paths=tuple(lists.from_data(each, LIMITS) for each in said["paths"]),
        parts=parts,
        groups=groups,
        blobs=_once(_blob(each) for each in said["blobs"]),
        patches=_once(_patch(each) for each in said["patches"]),
        documents=_named(said["documents"], _DOCUMENTS),
        trust={} if said["trust"] is None else _named(said["trust"], _TRUST),
        digest=digest,
    )


def _groups(said: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, ...], tuple[Group, ...]]:
    must(1 <= len(said) <= MOST_PARTS, "too many parts")
    groups: list[Group] = []
    for number, part in enumerate(said, 1):
        offset = len(MAGIC)
        for size, raw, sha256 in part["groups"]:
            stored, held = _count(size, low=1, high=LARGEST_GROUP), _count(raw, low=1, high=GROUP)
            groups.append(Group(number, offset, stored, held, _matching(sha256, SHA256)))
            offset += stored
        must(part["size"] == offset, "the groups of a part do not add up to its size")
    return tuple(part["size"] for part in said), tuple(groups)


def _base(said: Mapping[str, Any] | None) -> Base | None:
    if said is None:
        return None
    paths = tuple(StorePath.parse(each) for each in said["paths"])
    must(list(paths) == sorted(set(paths)), "the paths of the base are out of order")
    return Base(_matching(said["receipt"], SHA256), paths)


def _blob(row: Sequence[Any]) -> tuple[str, Blob]:
    sha256, size, group = row
    return _matching(sha256, SHA256), Blob(_count(size, low=1), _count(group))


def _patch(row: Sequence[Any]) -> tuple[str, Patch]:
    sha256, size, group, base = row
    patch = Patch(_count(size, low=1, high=PATCH_LIMIT), _count(group), _matching(base, SHA256))
    return _matching(sha256, SHA256), patch


def _once(rows: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in rows:
        if key in found:
            raise bad(f"the file {key} is listed twice")
        found[key] = value
    return found


def _named(said: Mapping[str, Any], names: frozenset[str]) -> dict[str, str]:
    must(names.issuperset(said), "a document of an unknown kind")
    return {name: _matching(value, SHA256) for name, value in sorted(said.items())}


def _count(value: object, *, low: int = 0, high: int = _NUMBER) -> int:
    if type(value) is not int or not low <= value <= high:
        raise bad(f"{value!r:.80} is no number from {low} to {high}")
    return value


def _words(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > LIMITS.target:
        raise bad(f"{value!r:.80} is no text")
    return value


def _matching(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise bad(f"{value!r:.80} is not what stands there")
    return value
