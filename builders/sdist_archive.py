"""What an sdist says of itself, read from its archive: nothing of it is run.

Names and versions, what it needs to be built (PEP 517, PEP 518) and to run (PEP 643, or what
setuptools wrote beside it). Choosing packages that answer is for `builders.sdist_lock`.
"""

from __future__ import annotations

import email.parser
import gzip
import re
import tomllib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from builders.archive import reading
from builders.requirements import normalise
from builders.scripts.extract import FILE, BadArchiveError, Tar
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from email.message import Message
    from pathlib import Path

SUFFIX = ".tar.gz"
"""The one kind of archive that an sdist has by PEP 625."""
LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
LEGACY_REQUIRES = ("setuptools>=40.8.0", "wheel")
"""What PEP 517 takes for a source without `build-system`."""
_SETUPTOOLS = "setuptools.build_meta"
_LARGEST = 4 << 20
"""Bytes of a file that is read for what it says."""
_EGG_INFO = re.compile(r"[^/]+/(?:src/|lib/)?[^/]+\.egg-info/requires\.txt\Z")
_SECTION = re.compile(r"\[(?P<extra>[^:\]]*)(?::(?P<marker>.*))?\]\Z")


class SdistError(InputError):
    """An sdist that cannot be built: what it says of itself is missing or makes no sense."""

    slug = "bad-sdist"


@dataclass(frozen=True, slots=True)
class About:
    """What an sdist says: of itself, of its build, of what it needs to run."""

    name: str
    version: str
    backend: str
    backend_path: tuple[str, ...]
    requires: tuple[str, ...]
    """Asked for its build."""
    depends: tuple[str, ...]
    """Needed to run, extras included, as far as it says so before it is built."""
    extras: tuple[str, ...]
    requires_python: str


def read(file: Path, name: str) -> About:
    """Read an sdist; `name` is its file name in the index.

    Raises:
        ArchiveError: the archive is damaged, or holds what must not be unpacked.
        SdistError: what it says of itself is missing or makes no sense.
    """
    with reading(name):
        texts = _texts(file)
    top = next(iter(texts), "").partition("/")[0]
    if f"{top}/PKG-INFO" not in texts:
        raise SdistError(f"{name} holds no PKG-INFO in its one folder", where=name)
    info = email.parser.Parser().parsestr(texts[f"{top}/PKG-INFO"], headersonly=True)
    project = _parse_toml(texts.get(f"{top}/pyproject.toml", ""), name)
    backend, path, requires = _build_system(project.get("build-system"), name)
    egg = [text for place, text in sorted(texts.items()) if place.endswith("/requires.txt")]
    return About(
        name=normalise(str(info.get("Name", ""))),
        version=str(info.get("Version", "")).strip(),
        backend=backend,
        backend_path=path,
        requires=requires,
        depends=_depends(info, project.get("project"), egg),
        extras=tuple(_headers(info, "Provides-Extra")),
        requires_python=str(info.get("Requires-Python", "")),
    )


def opened(file: Path) -> IO[bytes]:
    """Open the tar stream of an sdist."""
    return cast("IO[bytes]", gzip.open(file, "rb"))


def _texts(file: Path) -> dict[str, str]:
    """Give the few files that say something, by name; all members are looked at."""
    found: dict[str, str] = {}
    tops: set[str] = set()
    with opened(file) as stream:
        tar = Tar(stream)
        for member in tar:
            tops.add(member.name.partition("/")[0])
            if len(tops - {""}) > 1:
                raise BadArchiveError("a second folder at its top", member=member.name)
            if member.kind == FILE and _speaks(member.name):
                if member.size > _LARGEST:
                    raise BadArchiveError("it is too large to be read", member=member.name)
                found[member.name] = b"".join(tar.contents()).decode(errors="replace")
    return found


def _speaks(name: str) -> bool:
    place = name.partition("/")[2]
    return place in ("PKG-INFO", "pyproject.toml") or _EGG_INFO.match(name) is not None


def _parse_toml(text: str, name: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        reason = f"{name}: its pyproject.toml is none: {fault}"
        raise SdistError(reason, where=name) from fault


def _build_system(table: object, name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Give the backend, the folders it lies in, and what it asks for."""
    if table is None:
        return LEGACY_BACKEND, (), LEGACY_REQUIRES
    if not isinstance(table, dict):
        raise SdistError(f"{name}: its `build-system` is no table", where=name)
    requires = _strings(table.get("requires"), "build-system.requires", name)
    path = _strings(table.get("backend-path", []), "build-system.backend-path", name)
    backend = table.get("build-backend", LEGACY_BACKEND)
    if not isinstance(backend, str):
        raise SdistError(f"{name}: its `build-system.build-backend` is no text", where=name)
    if backend.startswith(_SETUPTOOLS):
        # It asks for wheel only once it runs, up to setuptools 70.
        requires = tuple(dict.fromkeys((*requires, "wheel")))
    return backend, path, requires


def _strings(value: object, key: str, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SdistError(f"{name}: its `{key}` is no list of texts", where=name)
    return tuple(value)


def _depends(info: Message, project: object, egg: Iterable[str]) -> tuple[str, ...]:
    said = tuple(_headers(info, "Requires-Dist"))
    dynamic = {word.lower() for word in _headers(info, "Dynamic")}
    if _is_static(str(info.get("Metadata-Version", ""))) and "requires-dist" not in dynamic:
        return said
    if isinstance(project, dict) and "dependencies" not in project.get("dynamic", ()):
        listed = project.get("dependencies", [])
        if isinstance(listed, list) and all(isinstance(line, str) for line in listed):
            return tuple(listed)
    return said or tuple(line for text in egg for line in _egg_lines(text))


def _is_static(version: str) -> bool:
    """Tell whether a metadata version promises that the sdist's say is the wheel's (PEP 643)."""
    major, _, minor = version.strip().partition(".")
    return major.isdigit() and minor.isdigit() and (int(major), int(minor)) >= (2, 2)


def _headers(info: Message, key: str) -> list[str]:
    return [" ".join(str(value).split()) for value in info.get_all(key, [])]


def _egg_lines(text: str) -> Iterator[str]:
    """Read setuptools' requires.txt, whose sections are extras and markers."""
    condition = ""
    for raw in text.splitlines():
        line = raw.strip()
        section = _SECTION.match(line)
        if section is not None:
            parts = [f"({section['marker']})"] if section["marker"] else []
            parts += [f'extra == "{section["extra"]}"'] if section["extra"] else []
            condition = " and ".join(parts)
        elif line:
            yield f"{line} ; {condition}" if condition else line
