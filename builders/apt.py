"""Kind `apt`: a set of .debs as an apt repository, from which a head installs with no other source.

Each package is a store path of its own, to which the repository links, so sets that overlap
share it and a set that grows by one package moves that one. Packages stay as the archive made
them: nothing is unpacked here, and no maintainer script runs but on the head, by its dpkg.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from builders.apt_base import load
from builders.deb import fetches, package_inputs
from builders.step import Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.build import Build
    from builders.deb_pins import DebLock, Pinned
    from builders.project import Project
    from builders.recipe import Recipe
    from builders.step import SourceTree

VERSION = 1
POOL = "pool"
_DATE = "Thu, 01 Jan 1970 00:00:01 UTC"
"""The time of every file of a store. apt asks for a date; with one that is always the same, no set
is older than another, and a head may go back."""


def plan(recipe: Recipe, _source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a fetch of each package, and one step that joins them.

    Raises:
        LockError: if the lock does not answer what the recipe asks, beside its base system.
    """
    lock = load(recipe, project.settings)
    step = Step(
        key=recipe.name,
        name=store_name(f"{recipe.name}-packages"),
        recipe=recipe.name,
        builder="apt",
        version=VERSION,
        inputs={**recipe.inputs, **package_inputs(lock)},
        arguments=_arguments(lock),
    )
    return (*fetches(recipe, lock, project), step)


def build(build: Build) -> None:
    """Link the packages, and write the repository's indexes and what it was made of."""
    arguments = build.step.arguments
    (build.out / POOL).mkdir(parents=True)
    stanzas = []
    for name, facts in sorted(arguments["packages"].items()):
        words = (name, facts["version"], facts["architecture"])
        place = f"{POOL}/{store_name('_'.join(words))}.deb"
        (build.out / place).symlink_to(build.inputs[f"{name}.deb"])
        stanzas.append(_stanza(name, facts, place))
    index = "\n".join(stanzas).encode()
    (build.out / "Packages").write_bytes(index)
    (build.out / "Release").write_text(_release(build.step.recipe, index, arguments["packages"]))
    record = {"format": 1, "name": build.step.recipe, **_record(arguments)}
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    (build.out / "sealift.json").write_text(text)


def _arguments(lock: DebLock) -> dict[str, Any]:
    asked = lock.asked
    return {
        "packages": {name: _facts(pinned) for name, pinned in lock.packages.items()},
        "asked": sorted(asked.packages) if asked else [],
        "present": dict(asked.present) if asked else {},
        "base": asked.base if asked else "",
    }


def _facts(pinned: Pinned) -> dict[str, Any]:
    return {
        "version": pinned.version,
        "architecture": pinned.architecture,
        "sha256": pinned.sha256,
        "size": pinned.size,
        "control": dict(pinned.control),
    }


def _stanza(name: str, facts: Mapping[str, Any], place: str) -> str:
    fields = {
        "Package": name,
        "Version": facts["version"],
        "Architecture": facts["architecture"],
        **facts["control"],
        "Filename": place,
        "Size": facts["size"],
        "SHA256": facts["sha256"],
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def _release(name: str, index: bytes, packages: Mapping[str, Mapping[str, Any]]) -> str:
    architectures = {facts["architecture"] for facts in packages.values()} - {"all"}
    fields = {
        "Origin": "sealift",
        "Label": name,
        "Suite": name,
        "Codename": name,
        "Date": _DATE,
        "Architectures": " ".join([*sorted(architectures), "all"]),
        "SHA256": f"\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages",
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def _record(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a head asks its apt for, and for which base system it was made."""
    return {
        "base": arguments["base"],
        "asked": arguments["asked"],
        "present": arguments["present"],
        "packages": {name: facts["version"] for name, facts in arguments["packages"].items()},
    }
