"""The native libraries that a wheel carries: those that it describes, and those that it does not.

A wheel may describe them itself (PEP 770), with package URLs or with names alone. What lies in its
`*.libs` folder and has no such description is a file whose hash is known, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name

from builders.parts import FILE, LIBRARY, Part, Whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_INNER = "*.dist-info/sboms/*.json"
_LIBRARIES = "*.libs/*.so*"
_MODULES = "*.so"
_CARRIED = {"carried": "inside of a wheel"}
_STEM = re.compile(r"(?:lib)?(.+?)(?:-[0-9a-f]{8,})?\.so(?:\.[\w.]+)?")
"""Of `libfoo-0123abcd.so.1.2`, as auditwheel names what it grafts, and as linkers do."""
_ALIASES = {
    "crypto": ("ssl", "openssl"),
    "exslt": ("xslt",),
    "lzma": ("xz",),
    "sharpyuv": ("webp",),
    "ssl": ("openssl",),
    "z": ("zlib",),
}
"""Stem of a library → what packages of it are called, where that begins in another way."""
_LEAST = 3
"""Letters that two names must share to mean one thing, if they are not equal."""


def carried(tree: Path, wheel: str) -> tuple[list[Part], Whole]:
    """List what an unpacked wheel carries, and tell whether that is all.

    It is not where a library has no description. Of compiled modules nobody knows what was
    linked into them, unless the wheel says.
    """
    described = list(_described(tree, wheel))
    files = list(_undescribed(tree, [part.name for part in described]))
    found = {part.ref: part for part in (*described, *files)}
    if files or any(part.purl is None for part in described):
        whole = Whole.INCOMPLETE
    elif any(tree.rglob(_MODULES)):
        whole = Whole.UNKNOWN
    else:
        whole = Whole.NOT_SAID
    return [found[ref] for ref in sorted(found)], whole


def _described(tree: Path, wheel: str) -> Iterator[Part]:
    for file in sorted(tree.glob(_INNER)):
        for component in _components(file):
            part = _part(component)
            if part is not None and canonicalize_name(part.name) != canonicalize_name(wheel):
                yield part


def _components(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        waiting = [json.loads(file.read_bytes())]
    except (ValueError, RecursionError):
        return
    while waiting:
        said = waiting.pop()
        listed = said.get("components") if isinstance(said, dict) else None
        listed = listed if isinstance(listed, list) else []
        inner = [each for each in listed if isinstance(each, dict)]
        yield from inner
        waiting += inner


def _part(component: Mapping[str, Any]) -> Part | None:
    """Take a component by its package URL, or else by its name."""
    try:
        purl = PackageURL.from_string(str(component.get("purl", "")))
    except ValueError:
        return _unnamed(component)
    if not purl.version:
        return _unnamed(component)
    return Part(
        type=purl.type,
        namespace=purl.namespace or "",
        name=purl.name,
        version=purl.version,
        qualifiers={str(key): str(value) for key, value in dict(purl.qualifiers or {}).items()},
        facts=_CARRIED,
    )


def _unnamed(component: Mapping[str, Any]) -> Part | None:
    name, version = component.get("name"), component.get("version")
    if not isinstance(name, str) or not name:
        return None
    return Part(LIBRARY, name, version if isinstance(version, str) else "", facts=_CARRIED)


def _undescribed(tree: Path, names: Iterable[str]) -> Iterator[Part]:
    known = [_core(name) for name in names]
    for file in sorted(tree.glob(_LIBRARIES)):
        if file.is_file() and not file.is_symlink() and not _is_one_of(file.name, known):
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
            sri = f"sha256-{base64.b64encode(digest).decode()}"
            yield Part(FILE, file.name, "", integrity=sri, facts=_CARRIED)


def _is_one_of(file: str, known: Iterable[str]) -> bool:
    found = _STEM.fullmatch(file)
    if found is None:
        return False
    stem = found[1].lower()
    stems = {_core(stem), stem, *_ALIASES.get(stem, ())}
    return any(_agree(one, other) for one in stems for other in known)


def _agree(one: str, other: str) -> bool:
    """Tell whether two names mean one library: `icudata` is a part of `icu`."""
    short, long = sorted((one, other), key=len)
    return one == other or (len(short) >= _LEAST and long.startswith(short))


def _core(name: str) -> str:
    """Give a name without `lib`, and without the version that Debian puts at its end."""
    return re.sub(r"[\d.\-]+\w?$", "", name.lower().removeprefix("lib")) or name.lower()
