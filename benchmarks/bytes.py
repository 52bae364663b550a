"""The bytes of six backends and six frontends: in the store, and as venvs and node_modules.

The figure takes what the store has to hold for the twelve, which is what `store gc --all` leaves
of them and what a head gets. No side counts an interpreter or Node: a venv links to its own. What
is only built with does not count, and is told in rows without a bar, in ever wider circles: the
peers' node_modules are such, but a site that has no store keeps them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.by_hand import npm_environment, pip_environment, venv
from benchmarks.figure import Figure, compared, run
from benchmarks.pins import read_wheels
from benchmarks.place import NOTHING, Size, made, size
from benchmarks.site import BACKENDS, FRONTENDS, TWELVE, Site, reached
from builders.npm_modules import BUILDER as MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.site import Opened
    from builders.step import Step

BAR = 0.35
_NATIVE = "native"
"""Builder of the root that sdists are compiled in: a toolchain, though no recipe of its own."""
_MEGA = 1_000_000


def kept(root: Path) -> Iterator[Figure]:
    """Build the twelve both ways, and count."""
    site = Site.make(made(root / "site"))
    site.sealift("build", *TWELVE)
    with site.opened() as opened:
        ours = _ours(opened)
        venvs = _venvs(root / "venvs", site, opened)
    modules, dists = _node(root / "node", site)
    peers = venvs + modules + dists
    peer = "six venvs, six node_modules, six dists"
    yield _figure(
        "bytes of six backends and six frontends",
        ours.run,
        peers,
        peer,
        "what they run with: all that the twelve refer to, without interpreters",
        bar=BAR,
    )
    yield _figure(
        "… against what the peers run with",
        ours.run,
        venvs + dists,
        "six venvs, six dists",
        "no node_modules on either side",
    )
    yield _figure(
        "… with what is built with", ours.modules, peers, peer, "node_modules on both sides"
    )
    yield _figure(
        "… with all that `store gc --all` takes",
        ours.steps,
        peers,
        peer,
        "downloads and steps between as well; the peers' caches are not counted",
    )
    yield _figure(
        "… the whole store",
        ours.store,
        peers,
        peer,
        "interpreters, Node, compiler and sandboxes as well, and their downloads",
    )


@dataclass(frozen=True, slots=True)
class _Ours:
    """Bytes of the store, in ever wider circles."""

    run: Size
    modules: Size
    steps: Size
    store: Size


def _figure(
    name: str, ours: Size, peers: Size, peer: str, note: str, *, bar: float | None = None
) -> Figure:
    ratio = ours.allocated / peers.allocated
    return compared(
        name,
        bar=bar,
        peer=peer,
        ours=ours.apparent / _MEGA,
        peers=peers.apparent / _MEGA,
        runs=1,
        note=f"{note}; by blocks of the disk {ratio:.2f}",
        unit="MB",
    )


def _ours(opened: Opened) -> _Ours:
    steps = opened.plan(TWELVE).steps
    tools = reached(steps, [key for key in steps if _is_tool(steps[key])])
    own = reached(steps, TWELVE) - tools
    run = opened.closure(opened.outputs(TWELVE)) - opened.closure(opened.outputs(tools))
    modules = opened.outputs(key for key in own if steps[key].builder == MODULES)
    between = opened.outputs(own)
    return _Ours(
        run=opened.size(run),
        modules=opened.size(run | modules),
        steps=opened.size(run | between),
        store=opened.size(opened.paths()),
    )


def _is_tool(step: Step) -> bool:
    """Tell whether a step makes what the twelve are built or run with."""
    return step.builder == _NATIVE or (step.key == step.recipe and step.key not in TWELVE)


def _venvs(folder: Path, site: Site, opened: Opened) -> Size:
    """Install what each backend locks into a venv of its own."""
    made(folder)
    total = NOTHING
    for name in BACKENDS:
        pins = list(read_wheels(name))
        python = venv(folder / name, site.path(f"python-{pins[0].python}") / "bin" / "python3")
        file = folder / f"{name}.txt"
        file.write_text("".join(f"{pin.line()}\n" for pin in pins))
        install: list[str | Path] = [python, "-m", "pip", "install", "-q", "--no-deps"]
        run([*install, "--require-hashes", "-r", file], env=pip_environment())
        if compiled := opened.compiled(name):
            run([*install, *compiled], env=pip_environment())
        total += size([folder / name])
    return total


def _node(folder: Path, site: Site) -> tuple[Size, Size]:
    """Install and build each frontend by npm; count node_modules and dists."""
    made(folder)
    modules = dists = NOTHING
    env = npm_environment(folder / "cache")
    for name in FRONTENDS:
        place = folder / name
        shutil.copytree(site.sources / name, place)
        run(["npm", "ci", "--ignore-scripts"], cwd=place, env=env)
        run(["npm", "run", "build"], cwd=place, env=env)
        modules += size([place / "node_modules"])
        dists += size([place / "dist"])
    return modules, dists
