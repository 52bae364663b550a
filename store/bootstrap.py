"""Bringing the first paths to a machine that has nothing but a shell.

The other end of a push is a program that lies in the store, so it cannot be pushed itself. It
goes as a tar archive, and sh, tar and sha256sum put it in place: whole and checked, but neither
registered nor shared. The first push finds it there and takes its files instead of sending them.
"""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING

from store.manifest import Enter, File, Leave, Link, Shared, describe
from store.nar import contents, open_file
from store.seal import DIRECTORY, FILE, PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store.info import PathInfo
    from store.local import LocalStore
    from store.manifest import Manifest
    from store.path import StorePath

SCRIPT = r"""
set -eu
umask 022
store=$1
mkdir -p "$store/.links"
place=$store/.tmp-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
mkdir -m 700 "$place"
trap 'chmod -R u+w "$place"; rm -rf "$place"' EXIT
trap 'exit 1' HUP INT TERM
tar -x -o -p -f - -C "$place"
check() {
    if [ -s "$place/sums/$2" ]; then
        (cd "$1" && sha256sum --check --quiet --strict) <"$place/sums/$2"
    else
        [ -d "$1/$2" ] || [ -L "$1/$2" ] || [ -f "$1/$2" ]
    fi
}
while read -r path; do
    check "$place/paths" "$path"
done <"$place/order"
sync -f "$place" 2>/dev/null || sync
while read -r path; do
    if check "$store" "$path" >/dev/null 2>&1; then continue; fi
    mkdir -p "$place/old"
    if [ -e "$store/$path" ] || [ -L "$store/$path" ]; then
        mv "$store/$path" "$place/old/$path"
    fi
    mv "$place/paths/$path" "$store/$path"
    if [ -d "$store/$path" ] && [ ! -L "$store/$path" ]; then chmod 555 "$store/$path"; fi
done <"$place/order"
sync -f "$store" 2>/dev/null || sync
echo ready
"""
"""For `sh -c SCRIPT sh STORE_DIR`, with what `stream` yields on its input; says `ready`.

Nothing is moved into place before all of it was checked and is on the disk. What lies there
already and is right stays, as services may be running from it.
"""

_BLOCK = tarfile.BLOCKSIZE


def stream(store: LocalStore, tops: Sequence[StorePath]) -> Iterator[bytes]:
    """Yield the closure of `tops` as the archive that the script reads.

    Raises:
        MissingReferenceError: a path is not valid.
    """
    with store.session():
        infos = store.closure(tops)
        shared = Shared(store.links_dir)
        yield from _text("order", "".join(f"{info.path}\n" for info in infos).encode())
        manifests = [describe(info, store.real(info.path), shared) for info in infos]
        for info, manifest in zip(infos, manifests, strict=True):
            yield from _text(f"sums/{info.path}", _sums(info, manifest))
        for info, manifest in zip(infos, manifests, strict=True):
            yield from _tree(store, info, manifest)
        yield bytes(2 * _BLOCK)


def _tree(store: LocalStore, info: PathInfo, manifest: Manifest) -> Iterator[bytes]:
    """Yield one path; its outermost directory stays writable until it is in place."""
    folders: list[bytes] = []
    name = f"paths/{info.path}".encode()
    place = os.fsencode(store.real(info.path))
    for row in manifest.rows:
        match row:
            case Enter(entered):
                folders.append(entered)
                mode = DIRECTORY if len(folders) > 1 else 0o755
                yield _header(_inside(name, folders, b""), tarfile.DIRTYPE, mode=mode)
            case Leave():
                folders.pop()
            case Link(linked, target):
                where = _inside(name, folders, linked)
                yield _header(where, tarfile.SYMTYPE, mode=0o777, target=target)
            case File(named, size, _, executable):
                mode = PROGRAM if executable else FILE
                where = _inside(name, folders, named)
                yield _header(where, tarfile.REGTYPE, mode=mode, size=size)
                yield from _contents(_inside(place, folders, named), size)


def _inside(root: bytes, folders: Sequence[bytes], name: bytes) -> bytes:
    """Join what has a name; the outermost node has none."""
    return b"/".join(each for each in (root, *folders, name) if each)


def _contents(place: bytes, size: int) -> Iterator[bytes]:
    descriptor = open_file(place)
    try:
        for piece in contents(descriptor, place, size, os.read):
            yield bytes(piece)
    finally:
        os.close(descriptor)
    yield bytes(-size % _BLOCK)


def _text(name: str, text: bytes) -> Iterator[bytes]:
    yield _header(name.encode(), tarfile.REGTYPE, mode=FILE, size=len(text))
    yield text + bytes(-len(text) % _BLOCK)


def _header(name: bytes, kind: bytes, *, mode: int, size: int = 0, target: bytes = b"") -> bytes:
    """Make a header in GNU's format, which takes names of any length and any bytes."""
    entry = tarfile.TarInfo(os.fsdecode(name))
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, 1
    entry.linkname = os.fsdecode(target)
    return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _sums(info: PathInfo, manifest: Manifest) -> bytes:
    """List the files of a path as sha256sum does: odd names are escaped, and the line says so."""
    lines = []
    for inside, file in manifest.files():
        name = _inside(str(info.path).encode(), (), inside)
        escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        mark = b"\\" if escaped != name else b""
        lines.append(b"%b%b  %b\n" % (mark, file.sha256.encode(), escaped))
    return b"".join(lines)
