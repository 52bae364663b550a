"""Which function plans, locks and builds what: the one list of kinds.

Rows are spelled, not imported: a kind's module is loaded when it is first asked for, so that a
build with nothing to do loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from builders.recipe import Kind, Recipe

if TYPE_CHECKING:
    from builders.build import Build
    from builders.project import Project
    from builders.step import SourceTree, Step

    Builder = Callable[[Build], None]
    Planner = Callable[[Recipe, SourceTree | None, Project], tuple[Step, ...]]
    Locker = Callable[[Recipe, SourceTree | None, Project], str]

Row = TypeVar("Row")
Function = TypeVar("Function", bound="Builder | Planner | Locker")


class Table(Mapping[Row, Function], Generic[Row, Function]):
    """Functions by row; each spelled `module:function` until it is asked for."""

    def __init__(self, spelled: Mapping[Row, str]) -> None:
        self._spelled = spelled

    def __getitem__(self, row: Row) -> Function:
        module, _, name = self._spelled[row].partition(":")
        function: Function = getattr(import_module(module), name)
        return function

    def __iter__(self) -> Iterator[Row]:
        return iter(self._spelled)

    def __len__(self) -> int:
        return len(self._spelled)


BUILDERS: Mapping[str, Builder] = Table(
    {
        "apt": "builders.apt:build",
        "components": "builders.sbom:build_components",
        "deb": "builders.deb:build",
        "dist": "builders.dist:build",
        "env": "builders.env:build",
        "executable": "builders.executable:build",
        "glibc": "builders.toolchain_glibc:build",
        "launcher": "builders.executable:build_launcher",
        "native": "builders.native:build",
        "node": "builders.node:build",
        "node-modules": "builders.npm_modules:build",
        "node-service": "builders.node_service:build",
        "pex": "builders.pex:build",
        "pex-base": "builders.pex:build_base",
        "phase": "builders.phase:build",
        "phase-hosts": "builders.phase:build_hosts",
        "project-tree": "builders.wheel:build",
        "project-wheel": "builders.project_wheel:build",
        "python": "builders.toolchain_python:build",
        "release": "builders.release:build_release",
        "sbom": "builders.sbom:build",
        "sdist": "builders.sdist:build",
        "shiv": "builders.shiv:build",
        "wheel": "builders.wheel:build",
    }
)
"""All that builds but `fetch`, which has no `Build`: see `builders.downloads`."""

PLANNERS: Mapping[Kind, Planner] = Table(
    {
        Kind.APT: "builders.apt:plan",
        Kind.DEB: "builders.deb:plan",
        Kind.DIST: "builders.dist:plan",
        Kind.ENV: "builders.env:plan",
        Kind.EXECUTABLE: "builders.executable:plan",
        Kind.NODE: "builders.node_service:plan",
        Kind.PEX: "builders.pex:plan",
        Kind.PHASE: "builders.phase:plan",
        Kind.RELEASE: "builders.release:plan_release",
        Kind.SHIV: "builders.shiv:plan",
        Kind.TOOLCHAIN: "builders.kinds:plan_toolchain",
    }
)

LOCKERS: Mapping[Kind, Locker] = Table(
    {
        Kind.APT: "builders.apt_lock:lock",
        Kind.DEB: "builders.deb_lock:lock",
        Kind.DIST: "builders.dist_lock:lock",
        Kind.ENV: "builders.python_resolve:lock",
        Kind.EXECUTABLE: "builders.python_resolve:lock",
        Kind.NODE: "builders.dist_lock:lock",
        Kind.PEX: "builders.python_resolve:lock",
        Kind.SHIV: "builders.python_resolve:lock",
        Kind.TOOLCHAIN: "builders.kinds:lock_toolchain",
    }
)
"""Kinds that have nothing of their own to pin have no row."""

_TOOLCHAINS: Mapping[str, Planner] = Table(
    {
        "glibc": "builders.toolchain_glibc:plan",
        "node": "builders.node:plan",
        "python": "builders.toolchain_python:plan",
    }
)
_TOOLCHAIN_LOCKS: Mapping[str, Locker] = Table(
    {
        "glibc": "builders.deb_lock:lock",
        "node": "builders.node:lock",
        "python": "builders.deb_lock:lock",
    }
)


def plan_toolchain(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    """Plan a toolchain by its language."""
    return _TOOLCHAINS[recipe.options["language"]](recipe, source, project)


def lock_toolchain(recipe: Recipe, source: SourceTree | None, project: Project) -> str:
    """Lock a toolchain by its language."""
    return _TOOLCHAIN_LOCKS[recipe.options["language"]](recipe, source, project)
