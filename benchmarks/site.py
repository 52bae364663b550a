"""A site of its own for measuring: the example platform, a store and a head in one folder."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figure import run
from benchmarks.place import Size, size
from sealift.site import Location

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from builders.plan import Plan
    from builders.step import Step
    from sealift.site import Site as OpenSite
    from store.path import StorePath

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples" / "dashboard"
SEALIFT = Path(sys.executable).with_name("sealift")
PORT_OFFSET = 20_000
BACKENDS = {
    "auth_portal_4430": "auth_portal_4430",
    "backend_5010": "backend_5010",
    "websocket_5011": "websocket_5011",
    "kooCAEWebServer_5000": "kooCAEWebServer_5000",
    "kooCAEAutoBackend_5001": "kooCAEAutoBackend_5001",
    "MoonlightSunshine_8004": "MoonlightSunshine_8004/backend_moonlight_8004",
}
FRONTENDS = (
    "frontend_3010",
    "auth_portal_4431",
    "vnc_service_8002",
    "moonlight_frontend_8003",
    "kooCAEWeb_5173",
    "app_5174",
)
"""The example's frontends; each is called as its sources are."""
TWELVE = (*BACKENDS, *FRONTENDS)
LARGE_SOURCE = REPOSITORY / "benchmarks" / "large_react_app"
LARGE = "large_react_app"
"""A frontend of 900 packages; of its own it has one page, which its build script copies."""


@dataclass(frozen=True, slots=True)
class Site:
    """A folder with settings, a copy of the example's sources, a store and a head."""

    root: Path

    @property
    def sources(self) -> Path:
        """The copy of the example's trees."""
        return self.root / "sources"

    @classmethod
    def make(cls, root: Path) -> Site:
        """Lay the folder out."""
        return cls._make(root, REPOSITORY / "recipes")

    @classmethod
    def large(cls, root: Path) -> Site:
        """Lay the folder out with one frontend more, `LARGE`."""
        site = cls._make(root, Path("recipes"))
        shutil.copytree(LARGE_SOURCE, site.sources / LARGE)
        shutil.copytree(REPOSITORY / "recipes", root / "recipes")
        recipe = root / "recipes" / "frontends" / f"{LARGE}.yaml"
        recipe.write_text(f"kind: dist\nsource: {LARGE}\nroute: /large/\n")
        return site

    @classmethod
    def _make(cls, root: Path, recipes: Path) -> Site:
        shutil.copytree(EXAMPLE, root / "sources")
        settings = (
            "store_dir: .sealift/store\n"
            "state_dir: .sealift/state\n"
            f"recipes: {recipes}\n"
            "sources: sources\n"
            "hosts:\n"
            f"  local: {{port: {PORT_OFFSET + 8080}, port_offset: {PORT_OFFSET}}}\n"
        )
        (root / "sealift.yaml").write_text(settings)
        return cls(root)

    def sealift(self, *words: str) -> float:
        """Run one sealift command in this site; seconds."""
        return run([SEALIFT, *words], cwd=self.root)

    def path(self, name: str) -> Path:
        """Return the store path of a recipe's output, as last built."""
        links = (self.root / ".sealift" / "var" / "gcroots" / name).resolve()
        return Path(os.fspath(links))

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """Open the store, to look at what a command did and to take it away again."""
        with Location(config=self.root / "sealift.yaml").open() as site:
            yield Opened(site)


@dataclass(frozen=True, slots=True)
class Opened:
    """A site with its store open."""

    site: OpenSite

    def plan(self, names: Collection[str]) -> Plan:
        """Plan the named recipes."""
        return self.site.plan(names)

    def compiled(self, name: str) -> list[Path]:
        """Name the wheels that were built from the sdists that a backend locks."""
        steps = self.plan([name]).steps
        unpacked = [steps[key] for key in steps[f"{name}:env"].inputs.values()]
        files = [step.inputs["file"] for step in unpacked if step.builder == "wheel"]
        outputs = self.outputs(key for key in files if steps[key].builder == "sdist")
        return [next(self.site.store.real(path).glob("*.whl")) for path in sorted(outputs)]

    def outputs(self, keys: Iterable[str]) -> set[StorePath]:
        """Return what steps gave when they last ran, as far as it is still there."""
        found = [self.site.store.last_derivation(key) for key in keys]
        return self.site.store.valid([path for _, path in filter(None, found)])

    def closure(self, paths: Iterable[StorePath]) -> set[StorePath]:
        """Return the paths and all they refer to."""
        return {info.path for info in self.site.store.closure(paths)}

    def paths(self) -> set[StorePath]:
        """Return all paths of the store."""
        return {info.path for info in self.site.store.paths()}

    def size(self, paths: Iterable[StorePath]) -> Size:
        """Count the bytes of some paths; a file that they share counts once."""
        return size([self.site.store.real(path) for path in paths])

    def forget(self, keys: Collection[str]) -> int:
        """Take away what some steps gave, as if it had never been fetched or built; count it.

        Raises:
            RuntimeError: something else refers to it.
        """
        gone = self.outputs(keys)
        self._collect(keep=self.paths() - gone)
        if left := self.site.store.valid(gone):
            raise RuntimeError(f"{min(left)} cannot be taken away")
        return len(gone)

    def forget_all_but(self, keys: Collection[str]) -> None:
        """Take away all but what some steps gave."""
        self._collect(keep=self.outputs(keys))

    def _collect(self, *, keep: set[StorePath]) -> None:
        store = self.site.store
        for root in store.roots():
            if root.path not in keep and root.name.startswith("gcroots/"):
                store.remove_root(root.name.removeprefix("gcroots/"))
        store.collect(keep=keep)


def reached(steps: Mapping[str, Step], targets: Iterable[str]) -> set[str]:
    """Name all steps that some need, themselves included."""
    found: set[str] = set()
    waiting = [*targets]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += steps[key].inputs.values()
    return found
