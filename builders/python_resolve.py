"""Make a lock of Python packages: one wheel of each, or its sdist and what that is built with.

Which versions answer is for `builders.uv`. A package without a wheel for the target, and one that
the recipe names under `sdists`, is taken as an sdist: it is fetched and read, never run, and what
its build asks for is locked the same way.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_version

from builders import uv
from builders.fetch import Fetcher
from builders.python_lock import (
    LockError,
    NoWheelError,
    everything,
    render,
    requirements_of,
    target_of,
)
from builders.python_pins import PUBLIC_FILES, Sdist, Wheel
from builders.requirements import Requirements, name_of, normalise, parse_lines
from builders.sdist_archive import SUFFIX, About, SdistError, read
from builders.step import Download
from builders.uv import NeedsSourceError, Question
from builders.wheel_tags import choose, parse_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.project import Project
    from builders.python_pins import Distribution
    from builders.recipe import Recipe
    from builders.settings import Mirrors
    from builders.step import SourceTree
    from builders.wheel_tags import Target

    Sources = Mapping[str, About | None]


def lock(recipe: Recipe, source: SourceTree | None, project: Project) -> str:
    """Resolve a recipe's requirements and return the text of its lock.

    Raises:
        RequirementError: a requirement cannot be locked.
        ResolveError: there is no answer, or the index cannot be asked.
        NoWheelError: a package has neither a wheel for the target nor an sdist.
        YankedError: a release was taken back.
        SdistError: an sdist cannot be built, or `sdists` names what nothing asks for.
        ArchiveError: an sdist is damaged, or holds what must not be unpacked.
        FetchError: an sdist cannot be fetched.
    """
    requirements = requirements_of(recipe, source)
    target = target_of(recipe, project)
    mirrors = project.settings.mirrors
    where = f"{recipe.name} ({recipe.file})"
    question = Question(requirements, target, mirrors.pypi_index, where)
    return render(answer(question, mirrors), requirements, target)


def answer(question: Question, mirrors: Mirrors) -> tuple[Distribution, ...]:
    """Choose one file of each package that answers a question, and of what builds need.

    Raises:
        Error: see `lock`.
    """
    asked = question.requirements
    with closing(Fetcher()) as fetcher, tempfile.TemporaryDirectory() as folder:
        chooser = _Chooser(question, mirrors, fetcher, Path(folder))
        packages, sources = chooser.resolve(replace(question, sources=dict.fromkeys(asked.sdists)))
        found = tuple(chooser.pin(package, sources, ()) for package in packages)
        built = {pinned.name for pinned in everything(found) if isinstance(pinned, Sdist)}
    for key, names in (("sdists", asked.sdists), ("build_requirements", asked.build)):
        for name in sorted(set(names) - built):
            raise SdistError(
                f"`{key}` names {name!r}, of which no sdist is built",
                where=question.where,
                hint="take it out, or correct the name",
            )
    return found


class _Chooser:
    """Turns uv's answers into pins; reads each sdist once."""

    def __init__(
        self, question: Question, mirrors: Mirrors, fetcher: Fetcher, folder: Path
    ) -> None:
        self._question = question
        self._mirrors = mirrors
        self._fetcher = fetcher
        self._folder = folder
        self._abouts: dict[str, About] = {}
        self._built: dict[str, Sdist] = {}

    def resolve(self, question: Question) -> tuple[list[Mapping[str, Any]], Sources]:
        """Ask until all packages without a wheel are known for what they are."""
        while True:
            try:
                packages = uv.resolve(question)
            except NeedsSourceError as need:
                question = replace(question, sources={**question.sources, need.package: None})
                continue
            unknown = {name for name, about in question.sources.items() if about is None}
            named = {normalise(package["name"]): package for package in packages}
            unread = {name: self._read(self._sdist(named[name])) for name in unknown & named.keys()}
            if not unread:
                return packages, question.sources
            question = replace(question, sources={**question.sources, **unread})

    def pin(
        self, package: Mapping[str, Any], sources: Sources, within: tuple[str, ...]
    ) -> Distribution:
        """Pin a resolved package; `within` are the pins of those that it is needed to build."""
        if normalise(package["name"]) not in sources:
            return pick(package, self._question.target, self._mirrors, self._question.where)
        sdist = self._sdist(package)
        if sdist.pin in within:
            circle = " → ".join((*within[within.index(sdist.pin) :], sdist.pin))
            raise SdistError(
                f"{sdist.pin} is needed to build itself: {circle}",
                where=self._question.where,
                hint=f"ask for others: build_requirements: {{{sdist.name}: [...]}}",
            )
        if sdist.pin not in self._built:
            self._built[sdist.pin] = self._with_build(sdist, sources, within)
        return self._built[sdist.pin]

    def _with_build(self, sdist: Sdist, sources: Sources, within: tuple[str, ...]) -> Sdist:
        about, where = self._read(sdist), f"{self._question.where}, to build {sdist.pin}"
        own = self._question.requirements.build.get(sdist.name, ())
        lines = _overridden(parse_lines(about.requires, where).lines, own)
        known = {name: said for name, said in sources.items() if said is not None}
        asked = replace(
            self._question, requirements=Requirements(lines), where=where, sources=known
        )
        packages, found = self.resolve(asked)
        build = tuple(self.pin(package, found, (*within, sdist.pin)) for package in packages)
        return replace(
            sdist,
            build=tuple(sorted(build, key=lambda pinned: pinned.name)),
            requires=lines,
            depends=about.depends,
        )

    def _sdist(self, package: Mapping[str, Any]) -> Sdist:
        name, where = package["name"], self._question.where
        if "sdist" not in package:
            reason = f"{name} {package.get('version', '')} has no sdist"
            hint = f"take it out: sdists: [{name}]"
            raise NoWheelError(reason, where=where, hint=hint)
        sdist = Sdist(**_fields(package, package["sdist"], self._mirrors, where))
        if not sdist.filename.endswith(SUFFIX):
            raise SdistError(
                f"{sdist.filename} is not the archive that an sdist should be",
                where=where,
                expected=f"a file that ends with {SUFFIX}",
                hint="require another version",
            )
        return sdist

    def _read(self, sdist: Sdist) -> About:
        """Fetch an sdist and read what it says of itself."""
        if sdist.sha256 not in self._abouts:
            file = self._folder / sdist.sha256
            address = sdist.address(self._mirrors.pypi_files)
            download = Download((address,), sdist.integrity, sdist.size)
            self._fetcher.fetch(download, file, name=sdist.filename)
            self._abouts[sdist.sha256] = _checked(read(file, sdist.filename), sdist)
        return self._abouts[sdist.sha256]


def _checked(about: About, sdist: Sdist) -> About:
    versions = {canonicalize_version(each.version) for each in (about, sdist)}
    if about.name != sdist.name or len(versions) > 1:
        raise SdistError(
            f"{sdist.filename} is not what its name says",
            where=sdist.url,
            expected=sdist.pin,
            got=f"{about.name}=={about.version}",
        )
    return replace(about, version=sdist.version)


def _overridden(lines: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """Let a recipe's own lines stand for those that name the same packages, and join the rest."""
    named = {name_of(line) for line in own}
    return tuple(sorted({*(line for line in lines if name_of(line) not in named), *own}))


def pick(package: Mapping[str, Any], target: Target, mirrors: Mirrors, where: str) -> Wheel:
    """Choose the one wheel of a resolved package.

    Raises:
        NoWheelError: none runs on the target.
        LockError: the package is no release of an index, or its index gives no SHA-256.
    """
    offered = {_file_of(wheel): wheel for wheel in package.get("wheels", ())}
    best = choose(map(parse_wheel, offered), target)
    if best is None:
        raise NoWheelError(
            f"{package['name']} {package.get('version', '')} has no wheel for {target}",
            where=where,
            got=", ".join(sorted(offered)) or "an sdist alone",
            hint=f"require a version that has one, or build it: sdists: [{package['name']}]",
        )
    return Wheel(**_fields(package, offered[best.filename], mirrors, where))


def _fields(
    package: Mapping[str, Any], file: Mapping[str, Any], mirrors: Mirrors, where: str
) -> dict[str, Any]:
    """Give the fields that pin one file of a resolved package."""
    if "url" not in file or "sha256" not in file.get("hashes", {}):
        raise LockError(f"the index gives no SHA-256 of {_file_of(file)}", where=where)
    url = str(file["url"])
    if url.startswith(mirrors.pypi_files):
        url = PUBLIC_FILES + url.removeprefix(mirrors.pypi_files).lstrip("/")
    return {
        "name": normalise(package["name"]),
        "version": package.get("version", ""),
        "url": url,
        "sha256": file["hashes"]["sha256"],
        "size": file.get("size"),
    }


def _file_of(file: Mapping[str, Any]) -> str:
    return str(file.get("name") or file.get("url", "").rpartition("/")[2].partition("#")[0])
