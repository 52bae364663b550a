"""The figures of the whole platform: fetching npm's and Python's packages, and the store's bytes.

A site's toolchains are built before anything is measured; what a command is measured by is taken
out of the store before each run, so that it is fetched again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.by_hand import npm_environment, pip_environment, venv
from benchmarks.bytes import kept
from benchmarks.figure import Figure, attempted, compared, run
from benchmarks.pins import locked_wheels, rounds
from benchmarks.place import disk, made, remove
from benchmarks.site import BACKENDS, LARGE, LARGE_SOURCE, Site
from builders.npm_lock import parse
from builders.settings import Mirrors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.pins import Pin

RUNS = 3
MIRRORS = Mirrors()
"""The public registries: both sides ask the same."""
FETCH_BAR, BYTES_BAR = 0.7, 0.35
_MEGA = 1_000_000


def figures() -> Iterator[Figure]:
    """Measure one after another, each with its peer in turn."""
    with tempfile.TemporaryDirectory(prefix="sealift-bench-", dir=disk()) as folder:
        root = Path(folder)
        yield from attempted("fetch of a large npm lock", FETCH_BAR, lambda: npm(root / "npm"))
        yield from attempted("fetch of all wheels", FETCH_BAR, lambda: wheels(root / "pip"))
        yield from attempted("bytes in the store", BYTES_BAR, lambda: kept(root / "bytes"))


def npm(root: Path) -> Iterator[Figure]:
    """Fetch a lock of some 900 packages, and lay them out, against `npm ci`."""
    site = Site.large(made(root / "site"))
    site.sealift("build", LARGE)
    with site.opened() as opened:
        steps = opened.plan([LARGE]).steps
        own = [key for key, step in steps.items() if step.recipe == LARGE]
        fetched = opened.outputs(key for key in own if steps[key].download)
        size = opened.size(fetched).apparent / _MEGA
    runs = []
    for turn in range(RUNS):
        with site.opened() as opened:
            opened.forget(own)
        fetch = site.sealift("build", LARGE, "--fetch-only")
        build = site.sealift("build", LARGE)
        runs.append((fetch, build, *_npm_ci(made(root / f"npm-{turn}"))))
        remove(root / f"npm-{turn}")
    fetch, build, ci, script = (median(column) for column in zip(*runs, strict=True))
    yield compared(
        f"fetch of an npm lock, {len(fetched)} packages",
        bar=FETCH_BAR,
        peer="npm ci --ignore-scripts, empty cache",
        ours=fetch,
        peers=ci,
        runs=RUNS,
        note=f"{size:.0f} MB; ours: verified and registered. npm ci lays node_modules out as well",
    )
    yield compared(
        "the same, with node_modules and a build",
        bar=None,
        peer="npm ci and npm run build",
        ours=fetch + build,
        peers=ci + script,
        runs=RUNS,
        note="like for like: the same tree on both sides; the build script copies one page",
    )


def _npm_ci(folder: Path) -> tuple[float, float]:
    """Install with an empty cache, and run the build script; seconds of each."""
    project = folder / "project"
    made(project / "public")
    for name in ("package.json", "public/index.html"):
        (project / name).write_bytes((LARGE_SOURCE / name).read_bytes())
    (project / "package-lock.json").write_text(resolved_lock(MIRRORS.npm))
    env = {**npm_environment(folder / "cache"), "npm_config_registry": MIRRORS.npm}
    ci = run(["npm", "ci", "--ignore-scripts"], cwd=project, env=env)
    return ci, run(["npm", "run", "build"], cwd=project, env=env)


def resolved_lock(registry: str) -> str:
    """Name each tarball's address in the lock: without, npm asks for 900 indexes as well."""
    text = (LARGE_SOURCE / "package-lock.json").read_text()
    content = json.loads(text)
    for location, package in parse(text, where=LARGE, renew="").packages.items():
        content["packages"][location]["resolved"] = package.tarball(registry)
    return json.dumps(content, indent=2)


def wheels(root: Path) -> Iterator[Figure]:
    """Fetch the wheels of all backends against `pip download` of the same pins."""
    site = Site.make(made(root / "site"))
    site.sealift("build", *BACKENDS, "--fetch-only")
    pins = locked_wheels(BACKENDS)
    python = venv(root / "venv", sys.executable)
    keys = [pin.key for pin in pins]
    turn = count()
    runs = []
    for _ in range(RUNS):
        with site.opened() as opened:
            if opened.forget(keys) != len(keys):
                raise RuntimeError("the store does not hold each wheel that the locks name")
        ours = site.sealift("build", *BACKENDS, "--fetch-only")
        named = _pip(root / str(next(turn)), pins, python, by_address=False)
        runs.append((ours, named, _pip(root / str(next(turn)), pins, python, by_address=True)))
    ours, named, addressed = (median(column) for column in zip(*runs, strict=True))
    size = sum(pin.size for pin in pins) / _MEGA
    yield compared(
        f"fetch of all wheels, {len(pins)}",
        bar=FETCH_BAR,
        peer="pip download --no-deps --require-hashes of the same versions, no cache",
        ours=ours,
        peers=named,
        runs=RUNS,
        note=f"{size:.0f} MB, each wheel once although several backends lock it",
    )
    yield compared(
        "the same, if pip is told the addresses",
        bar=None,
        peer="pip download NAME @ URL, which reads no index",
        ours=ours,
        peers=addressed,
        runs=RUNS,
        note="ours includes reading the recipes, and syncing to the disk; pip syncs nothing",
    )


def _pip(folder: Path, pins: Sequence[Pin], python: Path, *, by_address: bool) -> float:
    """Download once with pip, which takes one version of a package at a time; seconds."""
    made(folder)
    spent = 0.0
    for number, each in enumerate(rounds(pins)):
        file = folder / f"{number}.txt"
        file.write_text("".join(f"{pin.line(by_address=by_address)}\n" for pin in each.pins))
        spent += run(
            [
                *(python, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir"),
                *("--require-hashes", "--only-binary", ":all:", "--index-url", MIRRORS.pypi_index),
                *("--python-version", each.python),
                *(word for tag in each.platforms for word in ("--platform", tag)),
                *("-r", file, "-d", folder / "files"),
            ],
            env=pip_environment(),
        )
    if len(list((folder / "files").iterdir())) != len(pins):
        raise RuntimeError("pip has not fetched each wheel")
    remove(folder)
    return spent
