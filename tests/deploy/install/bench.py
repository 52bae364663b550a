"""A head in a folder, with phases that are made for a test: small sets, files of each kind."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import seal
from deploy.install import look, records
from deploy.install.lay import Work
from deploy.install.machine import Machine
from deploy.layout import Layout
from deploy.phases.configuration_file import load
from tests.deploy.age_keys import ssh_key
from tests.deploy.install.debian import Debian

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.phases.configuration import Configuration
    from deploy.phases.state import State
    from tests.deploy.age_keys import Pair

MEMORY = Path("/dev/shm")  # noqa: S108
ME = pwd.getpwuid(os.getuid()).pw_name
CONFFILE = "/etc/redis/redis.conf"
HOSTS = [{"name": "head1", "address": "10.0.0.1", "priority": 0}]
REDIS: Mapping[str, Any] = {
    "redis-server": {
        "version": "7.0",
        "depends": ["redis-tools"],
        "conffiles": {CONFFILE: "as Debian has it\n"},
        "units": ["redis-server.service"],
        "owns": [CONFFILE],
    },
    "redis-tools": {"version": "7.0"},
}
NEWER = {name: {**facts, "version": "7.1"} for name, facts in REDIS.items()}


@dataclass
class Bench:
    """One head: its system, its store, and what is kept for it in memory."""

    root: Path
    memory: Path
    key: Pair
    debian: Debian = field(init=False)
    machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        store = self.root / "store"
        store.mkdir(parents=True, exist_ok=True)
        self.debian = Debian(self.root / "system", store)
        if not self.debian.root.exists():
            self.debian = Debian.make(self.debian.root, store)
            if os.getuid():
                with (self.debian.root / "etc/passwd").open("a") as file:
                    file.write(f"{ME}:x:{os.getuid()}:{os.getgid()}::/:/bin/sh\n")
                with (self.debian.root / "etc/group").open("a") as file:
                    file.write(f"{ME}:x:{os.getgid()}:\n")
        layout = Layout(self.root / "var", self.root / "state")
        for folder in (layout.head_dir, layout.profiles_dir):
            folder.mkdir(parents=True, exist_ok=True)
        self.machine = Machine(
            layout,
            store,
            agent=store / "agent",
            root=self.debian.root,
            memory=self.memory,
            run=self.debian,
            people=self.debian,
            identities=lambda: [self.key.file],
            listening=lambda _tcp, _udp: {},
        )

    def power_cut(self) -> None:
        """Let the head lose its power, and start."""
        self.debian.power_cut(self.memory, self.machine.home / records.INSTALLING)

    def again(self) -> Bench:
        """Return the same head to another process."""
        return Bench(self.root, self.memory, self.key)

    def packages(self, name: str, index: Mapping[str, Any]) -> Path:
        text = json.dumps(index)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        folder = self.root / "store" / f"{digest}-{name}-packages"
        folder.mkdir(exist_ok=True)
        (folder / "index.json").write_text(text)
        stanzas = (
            f"Package: {each}\nVersion: {facts['version']}\n"
            f"Depends: {', '.join(facts.get('depends', ()))}\n"
            for each, facts in index.items()
        )
        (folder / "Packages").write_text("\n".join(stanzas))
        return folder

    def configuration(
        self,
        phase: str = "redis",
        revision: str = "1",
        *,
        packages: Mapping[str, Any] | None = REDIS,
        names: tuple[str, ...] = ("redis-server",),
        texts: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> Configuration:
        """Make a configuration in the store; `texts` are plain files, `facts` the rest of it."""
        path = self.root / "store" / f"{revision}-phase-{phase}-head1"
        shutil.rmtree(path, ignore_errors=True)
        files = [dict(each) for each in facts.pop("files", ())]
        bodies = dict(texts if texts is not None else {CONFFILE: f"revision {revision}\n"})
        for place in bodies:
            if place not in [each["path"] for each in files]:
                files.append({"path": place, "units": ["redis-server.service"]})
        for each in files:
            if "secret" not in each:
                each["source"] = f"root{each['path']}"
                file = path / each["source"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(bodies[each["path"]])
        wanted = None
        if packages is not None:
            pins = {name: packages[name]["version"] for name in names}
            version = "-".join(pins.values())
            wanted = {"set": str(self.packages(f"{phase}-{version}", packages)), "names": pins}
        document = {
            "format": 1,
            "phase": phase,
            "number": 3,
            "host": "head1",
            "hosts": HOSTS,
            "packages": wanted,
            "units": [{"name": "redis-server.service", "enabled": True}],
            **facts,
            "files": files,
        }
        path.mkdir(exist_ok=True)
        (path / "phase.json").write_text(json.dumps(document))
        return load(path)

    def seal(self, **values: str) -> dict[str, bytes]:
        return {name: seal.seal(each.encode(), [self.key.public]) for name, each in values.items()}

    def work(self, **secrets: bytes) -> Work:
        return Work(self.machine, "a test", secrets)

    def look(self, wanted: Configuration, **secrets: bytes) -> State:
        return look.look(self.machine, [wanted], secrets)[wanted.phase]

    def etc(self, path: str) -> Path:
        return self.machine.at(path)

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        place = self.etc(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        return place

    def tree(self) -> dict[str, str]:
        """Return all of /etc: the text of each file, and where each link leads."""
        found = {}
        for each in sorted(self.etc("/etc").rglob("*")):
            name = str(each.relative_to(self.machine.root))
            if name.startswith(("etc/.tmp-group", "etc/.tmp-passwd")):
                continue  # the system's own
            if each.is_symlink():
                found[name] = f"→ {each.readlink()}"
            elif each.is_file():
                found[name] = each.read_text()
        return found


def make(folder: Path) -> Bench:
    """Make a head whose key is in `folder`; all else of it is in memory, and goes by `remove`."""
    memory = Path(tempfile.mkdtemp(dir=MEMORY, prefix="sealift-test-"))
    return Bench(memory / "head", memory / "phases", ssh_key(folder, "ssh_host_ed25519_key"))


def remove(bench: Bench) -> None:
    shutil.rmtree(bench.memory.parent)
