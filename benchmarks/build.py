"""The figures of building: no-op, one line, cold, start of a service, verify, the switch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.by_hand import npm_environment
from benchmarks.figure import Figure, run, side_by_side
from benchmarks.place import disk, gigabyte, made, remove
from benchmarks.site import BACKENDS, FRONTENDS, TWELVE, Site
from deploy import durable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

COMPILED = ("native", "sdist")
"""Builders of what sdists are compiled in and into."""
SERVICE = "backend_5010"
SERVICE_PORT = 25_010


def figures() -> Iterator[Figure]:
    """Measure one after another, each with its peer in turn."""
    with tempfile.TemporaryDirectory(prefix="sealift-bench-", dir=disk()) as folder:
        root = Path(folder)
        site = Site.make(made(root / "site"))
        site.sealift("build", "all")
        yield nothing_changed(site, root)
        yield one_line(site, root)
        yield service_start(site, root)
        yield verify(root)
        yield swap(root)
        yield cold(site, root)


def nothing_changed(site: Site, root: Path) -> Figure:
    """`build all` with nothing changed against nix-build of as many trivial derivations."""
    nix = Nix(made(root / "nix"))
    roots = site.root.joinpath(".sealift", "var", "gcroots").iterdir()
    count = sum(":" not in root.name for root in roots)
    expression = nix.trivial(count)
    nix.build(expression)
    return side_by_side(
        "build all, nothing changed",
        bar=3.0,
        peer=f"nix-build of {count} trivial derivations, nothing changed",
        ours=lambda: site.sealift("build", "all"),
        theirs=lambda: nix.build(expression),
        runs=15,
    )


def one_line(site: Site, root: Path) -> Figure:
    """`build all` after one changed line against pex run by hand with warm caches."""
    source = site.sources / SERVICE / "app.py"
    out = root / "by-hand.pex"
    hand: list[str | Path] = [
        Path(sys.executable).with_name("pex"),
        *("-r", site.sources / SERVICE / "requirements.txt", "gunicorn"),
        *("-D", site.sources / SERVICE, "-c", "gunicorn", "-o", out),
    ]
    run(hand)
    turn = iter(range(1000))

    def ours() -> float:
        with source.open("a") as file:
            file.write(f"TURN = {next(turn)}\n")
        return site.sealift("build", "all")

    return side_by_side(
        "build all, one changed line in one backend",
        bar=0.35,
        peer="pex by hand for that backend, caches warm",
        ours=ours,
        theirs=lambda: run(hand),
        runs=5,
    )


def cold(site: Site, root: Path) -> Figure:
    """Build all with downloads at hand against venv + pip and npm, one by one.

    The wheels that sdists are compiled into are at hand on both sides: both would wait for one
    compiler for minutes.
    """
    caches = made(root / "caches")
    with site.opened() as opened:
        steps = opened.plan([]).steps
        hand = [key for key, step in steps.items() if step.download or step.builder in COMPILED]
        compiled = {name: opened.compiled(name) for name in BACKENDS}
    by_hand(made(root / "warm-up"), caches, compiled)

    def ours() -> float:
        with site.opened() as opened:
            opened.forget_all_but(hand)
        return site.sealift("build", *TWELVE)

    def theirs() -> float:
        place = made(root / "by-hand")
        spent = by_hand(place, caches, compiled)
        remove(place)
        return spent

    return side_by_side(
        "cold build of all twelve, downloads at hand",
        bar=0.6,
        peer="venv + pip install for six, npm ci + npm run build for six, caches warm",
        ours=ours,
        theirs=theirs,
        runs=3,
        note="ours makes the toolchains as well; wheels of sdists are at hand on both sides",
    )


def by_hand(place: Path, caches: Path, compiled: Mapping[str, Sequence[Path]]) -> float:
    """Build all twelve as a site does today; seconds of the commands alone."""
    source = Site.make(place).sources
    env = {**npm_environment(caches / "npm"), "PIP_CACHE_DIR": str(caches / "pip")}
    spent = 0.0
    for name, folder in BACKENDS.items():
        venv = place / "venvs" / name
        spent += run([sys.executable, "-m", "venv", venv], env=env)
        wanted: list[str | Path] = ["-r", source / folder / "requirements.txt", "gunicorn"]
        spent += run([venv / "bin" / "pip", "install", "-q", *compiled[name], *wanted], env=env)
    for name in FRONTENDS:
        for command in (["npm", "ci", "--prefer-offline"], ["npm", "run", "build"]):
            spent += run(command, cwd=source / name, env=env)
    return spent


def service_start(site: Site, root: Path) -> Figure:
    """Start of a service, to its first healthy answer, against the same gunicorn in a venv."""
    python = site.path("python-3.11") / "bin" / "python3"
    venv = root / "venv"
    run([_tool("uv"), "venv", "-q", "--python", python, venv])
    locked = site.path(SERVICE)
    wanted = sorted(wheel.name for wheel in (locked / ".deps").iterdir())
    pins = [_pin(wheel) for wheel in wanted]
    run([_tool("uv"), "pip", "install", "-q", "--compile-bytecode", "--python", venv, *pins])
    tree = root / "plain"
    shutil.copytree(site.sources / SERVICE, tree)
    bind = f"127.0.0.1:{SERVICE_PORT}"
    plain: list[str | Path] = [
        venv / "bin" / "gunicorn",
        "-c",
        "gunicorn_config.py",
        "app:app",
        "--bind",
        bind,
    ]
    command, environment = _service(site, locked)
    url = f"http://{bind}/api/health"
    _answered(plain, tree, url, {})
    _answered(command, locked, url, environment)
    return side_by_side(
        "service start, to the first healthy answer",
        bar=1.1,
        peer="the same gunicorn in a plain venv of the same interpreter",
        ours=lambda: _answered(command, locked, url, environment),
        theirs=lambda: _answered(plain, tree, url, {}),
        runs=11,
    )


def verify(root: Path) -> Figure:
    """`store verify` of 1 GB against nix-store --verify --check-contents of the same trees."""
    parts = gigabyte(made(root / "gigabyte"))
    nix = Nix(made(root / "nix-verify"))
    site = Site.make(made(root / "verify"))
    for part in parts:
        nix.add(part)
        site.sealift("store", "add", str(part))
    return side_by_side(
        "store verify, 1 GB",
        bar=1.0,
        peer="nix-store --verify --check-contents of the same trees",
        ours=lambda: site.sealift("store", "verify"),
        theirs=nix.verify,
        runs=9,
        note=f"{len(parts)} paths: 10 of one large file, 20 of 500 small ones",
    )


def swap(root: Path) -> Figure:
    """The symlink swap, while a reader opens the profile again and again."""
    place = made(root / "profiles")
    for generation in ("1", "2"):
        (made(place / generation) / "release.json").write_text(generation)
    link = place / "system"
    link.symlink_to("1")
    misses: list[int] = []
    reader = threading.Thread(target=_read, args=(link / "release.json", 100_000, misses))
    reader.start()
    spent: list[float] = []
    while reader.is_alive():
        start = time.perf_counter()
        durable.link(link, str(1 + len(spent) % 2))
        spent.append(time.perf_counter() - start)
    if misses:
        raise RuntimeError(f"{len(misses)} of 100,000 reads found no release")
    milliseconds = median(spent) * 1000
    return Figure(
        name="symlink swap",
        peer="1 ms; 100,000 reads beside it, none of which found nothing",
        ratio=round(milliseconds, 4),
        bar=1.0,
        ours=round(median(spent), 6),
        peers=None,
        runs=len(spent),
        note="in milliseconds, with the fsync of the folder",
    )


def _read(file: Path, times: int, misses: list[int]) -> None:
    for turn in range(times):
        try:
            if file.read_bytes() not in (b"1", b"2"):
                misses.append(turn)
        except OSError:
            misses.append(turn)


class Nix:
    """The real Nix tools on a store of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        conf = made(root / "conf")
        (conf / "nix.conf").write_text("build-users-group =\nsandbox = false\nsubstituters =\n")
        self.env: Mapping[str, str] = {
            **os.environ,
            "NIX_STORE_DIR": str(root / "store"),
            "NIX_STATE_DIR": str(root / "state"),
            "NIX_LOG_DIR": str(root / "log"),
            "NIX_CONF_DIR": str(conf),
            "HOME": str(root),
        }

    def trivial(self, count: int) -> Path:
        """Write an expression of so many derivations that each write one file."""
        rows = "\n".join(
            f'(derivation {{ name = "n{n}"; system = builtins.currentSystem; builder = "/bin/sh";'
            f' args = [ "-c" "echo {n} > $out" ]; }})'
            for n in range(count)
        )
        file = self.root / "default.nix"
        file.write_text(f"[\n{rows}\n]\n")
        return file

    def build(self, expression: Path) -> float:
        """Build the expression; seconds."""
        return run(["nix-build", "--no-out-link", expression], env=self.env, cwd=self.root)

    def add(self, tree: Path) -> float:
        """Add a tree to the store; seconds."""
        return run(["nix-store", "--add", tree], env=self.env)

    def verify(self) -> float:
        """Verify all contents; seconds."""
        return run(["nix-store", "--verify", "--check-contents"], env=self.env)


def _service(site: Site, path: Path) -> tuple[list[str], dict[str, str]]:
    """Return a service's command and environment, with its state folders made."""
    said = json.loads((path / "sealift.json").read_text())["service"]
    for name in said["state"]:
        (site.root / ".sealift" / "state" / SERVICE / name).mkdir(parents=True, exist_ok=True)
    filled = [
        word.replace("{path}", str(path)).replace("{port}", str(SERVICE_PORT))
        for word in said["command"]
    ]
    return filled, dict(said["env"])


def _answered(argv: Sequence[str | Path], cwd: Path, url: str, extra: Mapping[str, str]) -> float:
    """Start a service, wait for its first healthy answer, stop it; seconds to the answer."""
    secrets = dict.fromkeys(("JWT_SECRET_KEY", "REDIS_PASSWORD"), "0" * 64)
    env = {**os.environ, **extra, **secrets}
    start = time.perf_counter()
    with _running([str(word) for word in argv], cwd, env) as process:
        while True:
            try:
                with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310
                    if answer.status == 200:  # noqa: PLR2004
                        return time.perf_counter() - start
            except (TimeoutError, urllib.error.URLError, ConnectionError):
                if process.poll() is not None:
                    raise RuntimeError(f"{argv[0]} ended before it answered") from None
                time.sleep(0.002)


@contextmanager
def _running(
    argv: list[str], cwd: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _pin(wheel: str) -> str:
    name, version, *_ = wheel.split("-")
    return f"{name}=={version}"


def _tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)
