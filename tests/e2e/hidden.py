"""A machine without Python and Node, as far as some processes see it, and what processes map.

Both are hidden in a mount namespace of their own: whoever is started in it, and whoever that
starts, finds empty files and folders in their place.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builders.elf import GLIBC_LIBRARIES
from tests.e2e.platform import REPOSITORY, Done

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.platform import Platform

PATTERNS = (
    "usr/bin/python*",
    "usr/bin/node*",
    "usr/bin/np[mx]*",
    "usr/lib/python*",
    "usr/lib/node_modules",
    "usr/lib/x86_64-linux-gnu/libpython*",
    "usr/lib/x86_64-linux-gnu/libnode*",
    "usr/share/nodejs",
    "usr/local/bin/python*",
    "usr/local/bin/node*",
    "usr/local/lib/python*",
    "usr/local/lib/node_modules",
)
NAMES = ("python3", "node", "npm", "npx")
# Arguments: a folder with an empty `file` and an empty `folder`, what to hide, `--`, a command.
HIDE = """\
set -e
empty=$1
shift
while [ "$1" != -- ]; do
    kind=file
    if [ -d "$1" ]; then kind=folder; fi
    mount --bind "$empty/$kind" "$1"
    shift
done
shift
exec "$@"
"""
DATA = ("/usr/lib/locale/", "/dev/", "/memfd:", "/SYSV", "/anon_hugepage")


@dataclass(frozen=True)
class Hidden:
    """A platform, run where there is neither Python nor Node but those in its store."""

    platform: Platform
    python: Path

    @classmethod
    def make(cls, platform: Platform) -> Hidden:
        empty = platform.root / "empty"
        (empty / "folder").mkdir(parents=True, exist_ok=True)
        (empty / "file").touch()
        found = platform.sealift("path-info", "python-3.11").out.strip()
        return cls(platform, Path(found) / "bin" / "python3")

    def run(self, *argv: str) -> Done:
        """Run a command there."""
        empty = str(self.platform.root / "empty")
        hide = ("unshare", "-m", "--propagation", "private", "sh", "-c", HIDE, "hide", empty)
        packages = sysconfig.get_path("purelib")
        done = subprocess.run(
            [*hide, *hidden(), "--", *argv],
            cwd=self.platform.root,
            env={
                "HOME": str(self.platform.root),
                "LANG": "C.UTF-8",
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONPATH": f"{REPOSITORY}:{packages}",
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def sealift(self, *words: str) -> Done:
        """Run sealift there, by the interpreter of the platform's own store."""
        done = self.run(str(self.python), "-B", "-m", "sealift", *words)
        assert done.code == 0, f"sealift {' '.join(words)}: {done.code}\n{done.out}\n{done.err}"
        return done


def hidden() -> list[str]:
    """List what there is of Python and Node on this machine, the tests' own among it."""
    found = [path for pattern in PATTERNS for path in Path("/").glob(pattern)]
    found += [Path(each) for name in NAMES if (each := shutil.which(name))]
    if Path(sys.base_prefix) != Path("/usr"):
        found.append(Path(sys.base_prefix))
    # A mount follows links; what leads nowhere, or into what is hidden, is hidden already.
    real = {each.resolve() for each in found if each.exists()}
    return sorted(str(each) for each in real if real.isdisjoint(each.parents))


def processes(platform: Platform) -> dict[int, str]:
    """Return the processes of the platform's head, each with its service's name."""
    text = (platform.root / "site/var/head/run/supervisord.pid").read_text()
    manager = int(text)
    services = {row["pid"]: name for name, row in platform.services().items()}
    found = {manager: "supervisord"}
    parents = dict(_parents())
    for pid in sorted(parents):
        line = [pid]
        while line[-1] in parents and line[-1] != manager:
            line.append(parents[line[-1]])
        if line[-1] == manager and len(line) > 1:
            found[pid] = services.get(line[-2], "?")
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for process in Path("/proc").glob("[1-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            rest = (process / "stat").read_text().rpartition(")")[2].split()
            yield int(process.name), int(rest[1])


def foreign(pid: int, *own: Path) -> set[str]:
    """List the files that a process maps, but for those below `own` and plain data."""
    found = {str(Path(f"/proc/{pid}/exe").readlink())}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        name = line.split(maxsplit=5)[5:]
        found.update(each for each in name if each.startswith("/"))
    inside = tuple(f"{each}/" for each in own)
    return {each for each in found if not each.startswith((*inside, *DATA))}


def beyond_glibc(files: set[str]) -> set[str]:
    """Leave out what belongs to the system's glibc itself."""
    return {
        each for each in files if Path(each).name not in {*GLIBC_LIBRARIES, "gconv-modules.cache"}
    }


def interpreters(files: set[str]) -> set[str]:
    """Keep what is of the machine's own Python or Node."""
    places = tuple(hidden())
    return {each for each in files if each.startswith(places)}
