"""What heads are deployed to with today: rsync and a script, tar, `nix copy`; the same trees."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figure import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store.info import PathInfo
    from store.local import LocalStore
    from tests.lab.head import LabHead
    from tests.lab.lab import Lab

SCRIPT = Path(__file__).with_name("heads.sh")
SERVICE = "backend_5010"
PORT = 15_010
"""Of the service that the script deploys, beside ours on the same head."""
UNIT = """\
[Service]
Type=notify
NotifyAccess=all
WorkingDirectory=/srv/plain/current/{service}
ExecStart={command}
{environment}
"""


@contextmanager
def wire(heads: Sequence[LabHead]) -> Iterator[list[int]]:
    """Count bytes on the heads' links, both ways, from SSH's first to its last; one number."""
    before = _bytes(heads)
    counted: list[int] = []
    yield counted
    counted.append(_bytes(heads) - before)


def _bytes(heads: Sequence[LabHead]) -> int:
    folders = [Path("/sys/class/net", head.names.link(head.index)) for head in heads]
    files = [folder / "statistics" / f"{way}_bytes" for folder in folders for way in ("rx", "tx")]
    return sum(int(file.read_text()) for file in files)


@dataclass(frozen=True, slots=True)
class Plain:
    """A platform as a tree of folders with plain names, which a script deploys."""

    lab: Lab
    root: Path

    def tree(self, store: LocalStore, closure: Sequence[PathInfo], before: Path | None) -> Path:
        """Lay a closure out under plain names.

        A file that is byte for byte as in the tree `before` keeps its time, and is not sent again.
        """
        tree = self.root / f"tree-{len(list(self.root.iterdir()))}"
        tree.mkdir()
        taken: set[str] = set()
        for info in sorted(closure, key=lambda each: str(each.path)):
            name = str(info.path).partition("-")[2]
            place = tree / (str(info.path) if name in taken else name)
            taken.add(name)
            run(["cp", "-al", store.real(info.path), place])
        own = tree / SERVICE
        for name in ("logs", "database"):
            (own / name).unlink()
            (own / name).mkdir()
        _touch(tree, before)
        return tree

    def install(self, tree: Path) -> None:
        """Put the first tree on all heads, and a unit that runs one service of it."""
        said = json.loads((tree / SERVICE / "sealift.json").read_text())["service"]
        place = f"/srv/plain/current/{SERVICE}"
        words = [w.replace("{path}", place).replace("{port}", str(PORT)) for w in said["command"]]
        variables = "\n".join(f"Environment={key}={value}" for key, value in said["env"].items())
        unit = UNIT.format(service=SERVICE, command=shlex.join(words), environment=variables)
        for head in self.lab.heads:
            head.run("mkdir", "-p", "/srv/plain/releases", "/srv/plain/current")
            head.run("rmdir", "/srv/plain/current")
            head.run("sh", "-c", "cat > /etc/systemd/system/plain.service", input=unit.encode())
            head.run("systemctl", "daemon-reload")
        self.deploy(tree, self.lab.heads)

    def deploy(self, tree: Path, heads: Sequence[LabHead]) -> float:
        """Deploy by the script; seconds."""
        names = [head.name for head in heads]
        return run(["sh", SCRIPT, self.lab.ssh_config, tree, f"r{time.monotonic_ns()}", *names])

    def restart(self, head: LabHead) -> float:
        """Restart the one service, and wait until it answers; seconds, over SSH as ours is."""
        ask = f"http://127.0.0.1:{PORT}/api/health"
        wait = f"until curl -fsS -o /dev/null {ask} 2>/dev/null; do sleep 0.02; done"
        words = f"systemctl restart plain.service && {wait}"
        return run(["ssh", "-F", self.lab.ssh_config, head.name, words])

    def rsync_bytes(self, tree: Path, before: Path, head: LabHead) -> int:
        """Count the bytes of `rsync -az --delete` over a copy of the tree before."""
        shell = f"ssh -F {self.lab.ssh_config}"
        words = ["rsync", "-az", "--delete", "-e", shell]
        run([*words, f"{before}/", f"{head.name}:/srv/rsync/"])
        with wire([head]) as counted:
            run([*words, f"{tree}/", f"{head.name}:/srv/rsync/"])
        return counted[0]


def _touch(tree: Path, before: Path | None) -> None:
    """Give new files the time of now, as a build does; the store's all have one."""
    for folder, _, names in os.walk(tree):
        for name in names:
            file = Path(folder, name)
            if file.is_symlink():
                continue
            fresh = file.with_name(f"{name}.fresh")
            old = None if before is None else before / file.relative_to(tree)
            if old is not None and _same(old, file):
                os.link(old, fresh)
            else:
                shutil.copyfile(file, fresh)
                fresh.chmod(file.stat().st_mode)
            fresh.replace(file)


def _same(old: Path, file: Path) -> bool:
    if old.is_symlink() or not old.is_file() or old.stat().st_size != file.stat().st_size:
        return False
    return old.read_bytes() == file.read_bytes()


def rsync_first(lab: Lab, head: LabHead, paths: Sequence[Path]) -> float:
    """Copy a closure with `rsync -a` to where there is nothing; seconds."""
    head.run("mkdir", "-p", "/srv/first-rsync")
    shell = f"ssh -F {lab.ssh_config}"
    spent = run(["rsync", "-a", "-e", shell, *paths, f"{head.name}:/srv/first-rsync/"])
    head.run("rm", "-rf", "/srv/first-rsync")
    return spent


def tar_first(lab: Lab, head: LabHead, paths: Sequence[Path]) -> float:
    """Copy a closure with tar on both sides of ssh; seconds."""
    head.run("mkdir", "-p", "/srv/first-tar")
    packing = ["tar", "-C", paths[0].parent, "-cf", "-", *(path.name for path in paths)]
    words = shlex.join(str(word) for word in packing)
    there = f"ssh -F {lab.ssh_config} {head.name} tar -C /srv/first-tar -xf -"
    spent = run(["sh", "-c", f"{words} | {there}"])
    head.run("chmod", "-R", "u+w", "/srv/first-tar")
    head.run("rm", "-rf", "/srv/first-tar")
    return spent


@dataclass(frozen=True, slots=True)
class Nix:
    """Nix on both sides, on the same store paths: here our own store, there one of its own."""

    lab: Lab
    store: LocalStore
    state: Path

    def bytes(
        self, head: LabHead, base: Sequence[PathInfo], changed: Sequence[PathInfo], top: Path
    ) -> int:
        """Copy the closure of `top` where the closure `base` is already; count the bytes."""
        self._admit([*base, *(info for info in changed if info not in base)])
        wrapper = (
            f"#!/bin/sh\nNIX_STORE_DIR={self.store.store_dir} NIX_REMOTE='local?root=/srv/nix'\n"
            'export NIX_STORE_DIR NIX_REMOTE\nexec nix-store "$@"\n'
        )
        place = "cat > /srv/nix-serve && chmod 755 /srv/nix-serve"
        head.run("sh", "-c", place, input=wrapper.encode())
        self._copy(head, [self.store.real(info.path) for info in base])
        with wire([head]) as counted:
            self._copy(head, [top])
        return counted[0]

    def _copy(self, head: LabHead, paths: Sequence[Path]) -> None:
        to = f"ssh://root@{head.name}?remote-program=/srv/nix-serve"
        env = {**self._env(), "NIX_SSHOPTS": f"-F {self.lab.ssh_config}"}
        run(["nix", "copy", "--no-check-sigs", "--to", to, *paths], env=env)

    def _admit(self, infos: Sequence[PathInfo]) -> None:
        """Tell Nix here what our store holds."""
        lines: list[str] = []
        for info in infos:
            path = str(self.store.real(info.path))
            references = [str(self.store.real(each)) for each in info.references]
            lines += [path, info.nar_sha256, str(info.nar_size), "", str(len(references))]
            lines += references
        text = "".join(f"{line}\n" for line in lines)
        subprocess.run(
            ["nix-store", "--load-db"], input=text, env=self._env(), text=True, check=True
        )

    def _env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.state),
            "NIX_STORE_DIR": str(self.store.store_dir),
            "NIX_STATE_DIR": str(self.state / "state"),
            "NIX_CONF_DIR": str(self.state / "conf"),
            "NIX_REMOTE": "",
            "NIX_CONFIG": "build-users-group =\nexperimental-features = nix-command\n",
        }
