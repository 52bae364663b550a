"""sealift as sealift builds it, for tests: the artefact, a machine with glibc alone, starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builders.scripts.one_file import join
from builders.scripts.zips import write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
SEALIFT = Path(sys.executable).with_name("sealift")
GLIBC = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libutil.so.1", "librt.so.1"),
    "libresolv.so.2",
)
LIBRARIES = "lib/x86_64-linux-gnu"
LOADER = "lib64/ld-linux-x86-64.so.2"


@dataclass(frozen=True, slots=True)
class Artefact:
    """What the recipe gave, and what of its inputs tests look at."""

    site: Path
    path: Path
    launcher: Path
    base: Path

    @property
    def one(self) -> Path:
        """The one file."""
        return self.path / "bin" / "sealift"


def build(site: Path) -> Artefact:
    """Build sealift in a new site."""
    (site / "sealift.yaml").write_text(f"recipes: {REPOSITORY / 'recipes'}\n")
    done = subprocess.run(
        [SEALIFT, "build", "sealift"], cwd=site, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    return Artefact(
        site=site,
        path=path,
        launcher=only(path.parent, "*-sealift-launcher"),
        base=only(path.parent, "*-base-*/usr/lib/x86_64-linux-gnu/libc.so.6").parents[3],
    )


def only(folder: Path, pattern: str) -> Path:
    """Return the one path that fits."""
    (found,) = folder.glob(pattern)
    return found


def bare_root(artefact: Artefact, root: Path) -> Path:
    """Lay a machine that has glibc, the one file and a site; not even a shell."""
    source = artefact.base / "usr" / LIBRARIES
    for folder in ("bin", "home", "dev", "proc", "tmp", "site/recipes", LIBRARIES, "lib64"):
        (root / folder).mkdir(parents=True)
    for name in GLIBC:
        shutil.copy(source / name, root / LIBRARIES / name)
    shutil.copy(source / "ld-linux-x86-64.so.2", root / LOADER)
    shutil.copy(artefact.one, root / "bin" / "sealift")
    (root / "site" / "sealift.yaml").write_text("sources: .\n")
    recipe = REPOSITORY / "recipes" / "toolchains" / "base.yaml"
    shutil.copy(recipe, root / "site" / "recipes")
    return root


def run_bare(
    root: Path, *words: str, more: Sequence[str] = (), home: str = "/home"
) -> subprocess.CompletedProcess[str]:
    """Run the one file on a bare machine; `more` are further options of bubblewrap."""
    argv = ["bwrap", "--unshare-all", "--die-with-parent", "--bind", str(root), "/"]
    argv += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--clearenv"]  # noqa: S108
    argv += ["--setenv", "HOME", home, "--chdir", "/site", *more, "/bin/sealift", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def run(
    program: Path, *words: str, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program with nothing in its environment but PATH and what is given."""
    return subprocess.run(
        [program, *words],
        env={"PATH": os.environ["PATH"], **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


START = b"""#!/bin/sh
[ "$3" = -B ] || printf '%s\\n' "$@"
"""
"""Stands in for an interpreter: silent when it is tried out, says its words when it is started."""


def tiny(
    launcher: Path,
    target: Path,
    *,
    runtime: Mapping[str, bytes | Path] | None = None,
    pex: Mapping[str, bytes | Path] | None = None,
) -> Path:
    """Make a one-file program of a shell script, and of further members."""
    folder = target.parent / f"{target.name}-parts"
    folder.mkdir()
    script = folder / "python3"
    script.write_bytes(START)
    script.chmod(0o755)
    members: dict[str, bytes | Path] = {"python/bin/python3": script, "sealift.py": b"start\n"}
    write(folder / "runtime.zip", members | dict(runtime or {}))
    write(
        folder / "tail.pex", dict(pex or {".deps/a-1-py3-none-any.whl/a/__init__.py": b"x = 1\n"})
    )
    join(target, launcher, folder / "runtime.zip", folder / "tail.pex")
    return target
