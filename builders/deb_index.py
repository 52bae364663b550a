"""A Debian mirror's indexes, believed only by signature: InRelease, then Packages, then stanza.

Which package of which suite is taken is for `builders.deb_lock` and `builders.apt_solver`.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tempfile
import zlib
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from builders.command import capture
from builders.debian import BadIndexError, parse_packages, parse_release
from builders.fetch import Fetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builders.debian import Release, Stanza

MAIN = ("main",)
AMD64 = "amd64"
_UNPACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
    "": bytes,
}
"""How an index may be packed, the smallest first."""
_LARGEST_RELEASE = 4 << 20
_LARGEST_INDEX = 64 << 20


class SignatureError(BadIndexError):
    """An index that nobody we trust has signed, or that cannot be checked."""

    slug = "bad-signature"


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite as its signed Release describes it, and the stanzas that were asked for."""

    name: str
    release: Release
    stanzas: tuple[Stanza, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """All that a suite says of its packages: the signed Release file, and the indexes it pins.

    `files` are as the mirror has them, `texts` unpacked; both by path below the suite's folder.
    """

    release: Release
    signed: bytes
    files: Mapping[str, bytes]
    texts: Mapping[str, str]


def read_suite(mirror: str, name: str, wanted: frozenset[str], *, keyring: Path) -> Suite:
    """Read the stanzas of the wanted packages from a suite of a mirror.

    Raises:
        FetchError: if the mirror does not answer.
        SignatureError: if the Release file is not signed by a key of the keyring.
        BadIndexError: if it is another suite's, has expired, or an index is not what it pins.
    """
    index = read_index(mirror, name, keyring=keyring)
    folder = f"{mirror}/dists/{name}"
    stanzas = (
        stanza
        for path, text in index.texts.items()
        for stanza in parse_packages(text, wanted, where=f"{folder}/{path}")
    )
    return Suite(name, index.release, tuple(stanzas))


def read_index(
    mirror: str,
    name: str,
    *,
    keyring: Path,
    components: tuple[str, ...] = MAIN,
    architecture: str = AMD64,
) -> Index:
    """Read the indexes of a suite's components.

    Raises:
        FetchError: if the mirror does not answer.
        SignatureError: if the Release file is not signed by a key of the keyring.
        BadIndexError: if it is another suite's, has expired, or an index is not what it pins.
    """
    folder = f"{mirror}/dists/{name}"
    url = f"{folder}/InRelease"
    signed = _get(url, _LARGEST_RELEASE)
    release = parse_release(verify(signed, keyring=keyring, where=url), where=url)
    _check(release, name, where=url)
    paths = [
        path
        for component in components
        for path in _paths(release, component, architecture, where=folder)
    ]
    files = {path: _file(folder, path, release) for path in paths}
    return Index(release, signed, files, {path: _unpacked(path, files[path]) for path in paths})


def verify(signed: bytes, *, keyring: Path, where: str) -> str:
    """Give the text that a key of the keyring has signed, and nothing around it.

    Raises:
        SignatureError: if there is none, or no gpgv or no keyring to tell.
    """
    if not keyring.is_file():
        hint = "apt-get install debian-archive-keyring, or set `keyring:` in sealift.yaml"
        raise SignatureError("there is no keyring to check with", where=str(keyring), hint=hint)
    with tempfile.TemporaryDirectory(prefix="sealift-") as folder:
        file, text = Path(folder, "InRelease"), Path(folder, "Release")
        file.write_bytes(signed)
        command = ["gpgv", "--keyring", str(keyring), "--status-fd", "1"]
        try:
            done = capture([*command, "--output", str(text), str(file)])
        except FileNotFoundError:
            hint = "apt-get install gpgv"
            raise SignatureError("gpgv is not installed", where=where, hint=hint) from None
        if not _is_good(done.stdout.decode(errors="replace")) or not text.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise SignatureError(
                "no key of the keyring has signed this", where=where, got=(said or [""])[-1]
            )
        return text.read_text(encoding="utf-8")


def _is_good(status: str) -> bool:
    """Tell whether one signature is good and none is bad, as apt asks for.

    Not the exit code: Debian signs with the keys of several releases, and gpgv fails if the
    keyring lacks one of them. Words as in GnuPG's doc/DETAILS; a signature by an expired or
    revoked key has another one than GOODSIG.
    """
    words = {line.split(" ")[1] for line in status.splitlines() if line.startswith("[GNUPG:] ")}
    return {"GOODSIG", "VALIDSIG"} <= words and "BADSIG" not in words


def _check(release: Release, name: str, *, where: str) -> None:
    if not _is_called(release, name):
        raise BadIndexError(
            "the mirror gives another suite", where=where, expected=name, got=release.codename
        )
    if release.valid_until is not None and release.valid_until < datetime.now(UTC):
        raise BadIndexError(
            "the index has expired: the mirror stands still",
            where=where,
            got=f"valid until {release.valid_until:%Y-%m-%d}",
            hint="bring the mirror up to date, and check this machine's clock",
        )


def _is_called(release: Release, name: str) -> bool:
    """Tell whether a suite bears a name: Ubuntu's `jammy-updates` has the codename `jammy` too."""
    if release.suite.startswith(f"{release.codename}-"):
        return release.suite == name
    return name in (release.codename, release.suite)


def _paths(release: Release, component: str, architecture: str, *, where: str) -> Iterator[str]:
    """Choose how each index of a component is read.

    Packages for all architectures have an index of their own in some archives, and stand in
    that of each architecture in the others.
    """
    own = [f"{component}/binary-{architecture}/Packages{end}" for end in _UNPACKERS]
    shared = [f"{component}/binary-all/Packages{end}" for end in _UNPACKERS]
    found = next((path for path in own if path in release.indexes), None)
    if found is None:
        raise BadIndexError(f"the Release file has no {own[0]}", where=where)
    yield found
    if release.separate_all:
        yield from [path for path in shared if path in release.indexes][:1]


def _file(folder: str, path: str, release: Release) -> bytes:
    sha256, size = release.indexes[path]
    # By hash, since the mirror may be renewed between the one request and the other.
    url = f"{folder}/{path}"
    if release.by_hash:
        url = f"{url.rpartition('/')[0]}/by-hash/SHA256/{sha256}"
    return _pinned(url, sha256, size)


@lru_cache(maxsize=8)
def _pinned(url: str, sha256: str, size: int) -> bytes:
    """Fetch an index; the hash is part of the question, so memory cannot go stale."""
    if size > _LARGEST_INDEX:
        raise BadIndexError(f"an index of {size} bytes", where=url)
    # An empty index is one that a suite may well have.
    data = _get(url, size) if size else b""
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise BadIndexError(
            "the index is not what its Release pins",
            where=url,
            expected=f"sha256 {sha256}, {size} bytes",
            got=f"sha256 {got}, {len(data)} bytes",
        )
    return data


@lru_cache(maxsize=8)
def _unpacked(path: str, data: bytes) -> str:
    unpack = next(unpack for end, unpack in _UNPACKERS.items() if path.endswith(end))
    try:
        return unpack(data).decode()
    except (lzma.LZMAError, zlib.error, OSError, EOFError, UnicodeDecodeError) as fault:
        raise BadIndexError(f"the index {path} is damaged: {fault}", where=path) from fault


def _get(url: str, limit: int) -> bytes:
    with closing(Fetcher(threads=1)) as fetcher:
        return fetcher.get(url, limit=limit)
