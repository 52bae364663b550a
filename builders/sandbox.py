"""The room a build runs in: what it sees, who it is, and what it cannot reach.

`bubblewrap` turns a `Room` into an argument vector (pure); `probe` says why this machine cannot
make one. Running it is for `builders.build`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from builders.command import Completed, capture
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INSIDE = "/build"
HOME = "/homeless"
EPOCH = 315532800
"""1980-01-01: the earliest time that a zip archive can spell."""
UID = 1000
GID = 100
ENVIRONMENT: Mapping[str, str] = {
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "LOGNAME": "builder",
    "PATH": "/usr/bin:/bin",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": str(EPOCH),
    "TERM": "dumb",
    "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
    "TZ": "UTC",
    "USER": "builder",
}
ETC: Mapping[str, str] = {
    "passwd": f"root:x:0:0:root:/:/bin/sh\nbuilder:x:{UID}:{GID}:builder:{HOME}:/bin/sh\n",
    "group": f"root:x:0:\nusers:x:{GID}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
"""The few files without which programs ask in vain who they are."""
NO_BINDS: Mapping[Path, str] = MappingProxyType({})
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class SandboxMode(Enum):
    """How builds are kept apart from the machine."""

    BUBBLEWRAP = "bubblewrap"
    OFF = "off"


class SandboxError(Error):
    """This machine cannot make a sandbox."""

    slug = "no-sandbox"
    exit_code = 1


@dataclass(frozen=True, slots=True)
class Room:
    """What one command sees.

    Attributes:
        work: real directory that is `/build`, writable.
        etc: real directory that is `/etc`.
        temporary: real directory that is `/tmp`, writable; a real disk, not memory.
        paths: store paths, each read-only at its own place.
        base: store path whose `usr` is `/usr`; without one there is no `/usr`.
        binds: real path → place, read-only.
        scratch: places that are fresh and writable, in memory.
        cwd: place where the command starts.
    """

    work: Path
    etc: Path
    temporary: Path
    paths: Sequence[Path] = ()
    base: Path | None = None
    binds: Mapping[Path, str] = field(default_factory=lambda: NO_BINDS)
    scratch: Sequence[str] = ()
    cwd: str = INSIDE


def bubblewrap(
    room: Room, argv: Sequence[str], *, tool: str = "bwrap", mark: str = "sealift"
) -> list[str]:
    """Spell a room and a command as one argument vector.

    The root is empty and becomes read-only after the mounts, so nothing can be left in it. The
    mark changes nothing inside; `builders.warden` finds bubblewrap's own processes by it.
    """
    return [
        tool,
        *("--unsetenv", mark),
        *("--unshare-all", "--die-with-parent", "--new-session", "--hostname", "localhost"),
        *("--uid", str(UID), "--gid", str(GID), "--cap-drop", "ALL"),
        *("--proc", "/proc", "--dev", "/dev", "--dir", HOME),
        *("--ro-bind", str(room.etc), "/etc"),
        *("--bind", str(room.temporary), "/tmp"),  # noqa: S108 - the sandbox's own
        *_system(room.base),
        *(word for path in sorted(room.paths) for word in ("--ro-bind", str(path), str(path))),
        *("--bind", str(room.work), INSIDE),
        *(word for real, place in room.binds.items() for word in ("--ro-bind", str(real), place)),
        *(word for place in room.scratch for word in ("--tmpfs", place)),
        *("--remount-ro", "/", "--chdir", room.cwd, "--"),
        *argv,
    ]


def _system(base: Path | None) -> list[str]:
    if base is None:
        return []
    words = ["--ro-bind", str(base / "usr"), "/usr"]
    for name in _LINKS:
        if (base / "usr" / name).is_dir():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
    return words


@lru_cache(maxsize=1)
def probe() -> str:
    """Give the path of a bubblewrap that works here.

    Raises:
        SandboxError: if there is none, with what the kernel or the system says against it.
    """
    tool = shutil.which("bwrap")
    if tool is None:
        raise _refusal("bubblewrap (bwrap) is not installed", "apt-get install bubblewrap")
    trial = ["--unshare-all", "--uid", str(UID), "--gid", str(GID), "--die-with-parent"]
    host = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    tried = capture([tool, *trial, *host, "--", "/bin/true"], env={})
    if tried.code != 0:
        raise _unusable(tool, tried)
    return tool


def _unusable(tool: str, tried: Completed) -> SandboxError:
    said = tried.stderr.decode(errors="replace").strip() or f"exit code {tried.code}"
    for file, value, reason, remedy in _OBSTACLES:
        if _reads(Path(file), value):
            return _refusal(reason, remedy, where=file, got=said)
    return _refusal("bubblewrap cannot make a sandbox here", None, where=tool, got=said)


def _refusal(
    reason: str, remedy: str | None, *, where: str | None = None, got: str | None = None
) -> SandboxError:
    off = "to build without one, at your own risk: --sandbox=off"
    hint = f"{remedy}; {off}" if remedy else off
    return SandboxError(reason, where=where, got=got, hint=hint)


def _reads(file: Path, value: str) -> bool:
    try:
        return file.read_text().strip() == value
    except OSError:
        return False


_OBSTACLES = (
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps bubblewrap from making a user namespace",
        "install an AppArmor profile that lets /usr/bin/bwrap use `userns`",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "the kernel keeps ordinary users from making a user namespace",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "the kernel allows no user namespace",
        "sysctl user.max_user_namespaces=10000",
    ),
)
