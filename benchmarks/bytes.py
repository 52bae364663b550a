"""The bytes of six backends and six frontends: in the store, and as venvs and node_modules.

What the peers keep is what they run and build with: six venvs, six node_modules, six dists. The
figure takes the same of ours: what the twelve artefacts reach, and the node_modules trees. No side
counts an interpreter or Node: a venv links to its own. Rows without a bar tell the rest.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.by_hand import npm_environment, pip_environment, venv
from benchmarks.figure import Figure, compared, run
from benchmarks.pins import read_wheels
from benchmarks.place import NOTHING, Size, made, size
from benchmarks.site import BACKENDS, FRONTENDS, Site
from builders.npm_modules import BUILDER as MODULES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from benchmarks.site import Opened
    from builders.step import Step

BAR = 0.35
TWELVE = (*BACKENDS, *FRONTENDS)
_NATIVE = "native"
"""Builder of the root that sdists are compiled in: a toolchain, though no recipe of its own."""
_MEGA = 1_000_000


def kept(root: Path) -> Iterator[Figure]:
    """Build the twelve both ways, and count."""
    site = Site.make(made(root / "site"))
    site.sealift("build", *TWELVE)
    with site.opened() as opened:
        ours = _ours(opened)
        peers = _venvs(root / "venvs", site, opened) + _node(root / "node", site)
    yield _figure("bytes of six backends and six frontends", ours["same"], peers, bar=BAR)
    for name, each in ours.items():
        if name != "same":
            yield _figure(name, each, peers, bar=None)


def _figure(name: str, ours: Size, peers: Size, *, bar: float | None) -> Figure:
    ratio = ours.allocated / peers.allocated
    return compared(
        name,
        bar=bar,
        peer="six venvs, six node_modules, six dists",
        ours=ours.apparent / _MEGA,
        peers=peers.apparent / _MEGA,
        runs=1,
        note=f"lengths of files, hard links once; by allocated blocks {ratio:.2f}",
        unit="MB",
    )


def _ours(opened: Opened) -> Mapping[str, Size]:
    """Count the store in ever wider circles."""
    steps = opened.plan(TWELVE).steps
    tools = _reached(steps, [key for key in steps if _is_tool(steps[key])])
    toolchain = opened.closure(opened.outputs(tools))
    own = _reached(steps, TWELVE) - tools
    run_with = opened.closure(opened.outputs(TWELVE)) - toolchain
    modules = opened.outputs(key for key in own if steps[key].builder == MODULES)
    return {
        "same": opened.size(run_with | modules),
        "… what a head gets: no node_modules, no downloads": opened.size(run_with),
        "… all before `store gc --all`: downloads and steps between as well": opened.size(
            run_with | opened.outputs(own)
        ),
        "… the whole store: toolchains, sandboxes and their downloads as well": opened.size(
            opened.paths()
        ),
    }


def _is_tool(step: Step) -> bool:
    """Tell whether a step makes what the twelve are built or run with."""
    return step.builder == _NATIVE or (step.key == step.recipe and step.key not in TWELVE)


def _reached(steps: Mapping[str, Step], targets: Collection[str]) -> set[str]:
    found: set[str] = set()
    waiting = [*targets]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += steps[key].inputs.values()
    return found


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
        if built := _built(name, opened):
            run([*install, *built], env=pip_environment())
        total += size([folder / name])
    return total


def _built(name: str, opened: Opened) -> list[Path]:
    """Name the wheels that we built from a backend's sdists, to spare the peer a compiler."""
    steps = opened.plan([name]).steps
    unpacked = [steps[key] for key in steps[f"{name}:env"].inputs.values()]
    files = [step.inputs["file"] for step in unpacked if step.builder == "wheel"]
    outputs = opened.outputs(key for key in files if steps[key].builder == "sdist")
    return [next(opened.site.store.real(path).glob("*.whl")) for path in sorted(outputs)]


def _node(folder: Path, site: Site) -> Size:
    """Install and build each frontend by npm."""
    made(folder)
    total = NOTHING
    env = npm_environment(folder / "cache")
    for name in FRONTENDS:
        place = folder / name
        shutil.copytree(site.sources / name, place)
        run(["npm", "ci", "--ignore-scripts"], cwd=place, env=env)
        run(["npm", "run", "build"], cwd=place, env=env)
        total += size([place / "node_modules"]) + size([place / "dist"])
    return total
