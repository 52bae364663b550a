"""Releases of tiny services in a store of the test's own, laid out as real ones are."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local_head import LocalHead
from deploy.settings import Settings
from deploy.status import status

if TYPE_CHECKING:
    from store.local import LocalStore
    from store.path import StorePath

SERVICE = Path(__file__).with_name("service.py")
DAEMON = f"""\
#!{sys.executable} -P
from supervisor.supervisord import main

main()
"""
QUICK = Settings(
    start_seconds=0,
    stop_seconds=2,
    probe_interval=0.01,
    probe_timeout=1.0,
    settle_seconds=0.05,
)


@dataclass(frozen=True)
class Tiny:
    """One synthetic service: what enters its store object and its entry in the release."""

    name: str
    port: int
    version: str = "1.0"
    temper: str = "good"
    probe: str = "http"
    timeout: float = 3.0
    state: tuple[str, ...] = ()
    seeds: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    route: str | None = None
    words: tuple[str, ...] = ()

    def at(self, version: str, temper: str = "good") -> Tiny:
        return replace(self, version=version, temper=temper)


@dataclass(frozen=True)
class Pages:
    """One synthetic frontend."""

    name: str
    text: str
    route: str = "/"


@dataclass
class Site:
    """A store, a state folder, and what is needed to make releases in them."""

    root: Path
    store: LocalStore
    nginx: StorePath | None = None

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    def head(self, settings: Settings = QUICK, **more: Any) -> LocalHead:
        return LocalHead(self.store, self.state_dir, settings, **more)

    def release(
        self,
        *tiny: Tiny,
        pages: tuple[Pages, ...] = (),
        site: str | None = None,
        daemon: str | None = DAEMON,
        glibc: dict[str, str] | None = None,
    ) -> Path:
        services = {each.name: self._service(each) for each in tiny}
        frontends = {each.name: self._pages(each) for each in pages}
        web = None
        references = {
            self.store.parse(e["path"]) for e in (*services.values(), *frontends.values())
        }
        if self.nginx is not None:
            path = self.store.real(self.nginx)
            web = {"path": str(path), "executable": f"{path}/usr/sbin/nginx"}
            references.add(self.nginx)
        document = {"format": 1, "services": services, "frontends": frontends, "nginx": web}
        if glibc is not None:
            document["needs"] = {"glibc": glibc}
        if daemon is not None:
            tool = self._tool("supervisord", daemon)
            document["tools"] = {"supervisord": tool}
            references.add(self.store.parse(tool["path"]))
        with self.store.temporary() as folder:
            tree = folder / "release"
            for kind in ("services", "web", "nginx"):
                (tree / kind).mkdir(parents=True)
            (tree / "release.json").write_text(json.dumps(document, indent=1, sort_keys=True))
            for name, each in services.items():
                (tree / "services" / name).symlink_to(each["path"])
            for name, each in frontends.items():
                (tree / "web" / name).symlink_to(f"{each['path']}/web")
            text = self._locations(tiny, pages) if site is None else site
            (tree / "nginx" / "site.conf").write_text(text)
            info = self.store.add(tree, "release", references=references, durable=False)
        return self.store.real(info.path)

    def _service(self, tiny: Tiny) -> dict[str, Any]:
        with self.store.temporary() as folder:
            tree = folder / "tree"
            tree.mkdir()
            shutil.copy(SERVICE, tree / "serve.py")
            (tree / "version").write_text(tiny.version + tiny.temper)
            for path in tiny.state:
                link = tree / path.rstrip("/")
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self.state_dir / tiny.name / path)
            for path, text in tiny.seeds:
                seed = tree / ".seed" / path
                seed.parent.mkdir(parents=True, exist_ok=True)
                seed.write_text(text)
            name = f"{tiny.name}-{tiny.version}"
            place = self.store.real(self.store.add(tree, name, durable=False).path)
        path = str(place)
        script = [f"{path}/serve.py", "{port}", tiny.name, tiny.version, tiny.temper]
        words = [each.replace("{tree}", path) for each in tiny.words]
        return {
            "path": path,
            "port": tiny.port,
            "cwd": path,
            "command": [sys.executable, "-I", "-S", *script, *words],
            "health": {"probe": tiny.probe, "path": "/health", "timeout": tiny.timeout},
            "state": list(tiny.state),
            "env": dict(tiny.env),
            "secrets": list(tiny.secrets),
            "routes": [{"path": tiny.route, "strip": True}] if tiny.route else [],
        }

    def _tool(self, name: str, text: str) -> dict[str, str]:
        with self.store.temporary() as folder:
            file = folder / "tree" / "bin" / name
            file.parent.mkdir(parents=True)
            file.write_text(text)
            file.chmod(0o755)
            path = self.store.real(self.store.add(file.parents[1], name, durable=False).path)
        return {"path": str(path), "executable": f"{path}/bin/{name}"}

    def _pages(self, pages: Pages) -> dict[str, Any]:
        with self.store.temporary() as folder:
            tree = folder / "tree"
            (tree / "web").mkdir(parents=True)
            (tree / "web" / "index.html").write_text(pages.text)
            path = self.store.real(self.store.add(tree, f"{pages.name}-1.0", durable=False).path)
        return {"path": str(path), "root": "web", "routes": [{"path": pages.route}]}

    def _locations(self, tiny: tuple[Tiny, ...], pages: tuple[Pages, ...]) -> str:
        parts = [
            f"location {each.route} {{ proxy_pass http://sealift_{each.name}/; }}\n"
            for each in tiny
            if each.route
        ]
        parts += [
            f"location {each.route} {{\n    alias profiles/system/web/{each.name}/;\n"
            f"    add_header Cache-Control $sealift_cache;\n}}\n"
            for each in pages
        ]
        return "".join(parts)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now; all are held until all are known."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def pids(head: LocalHead) -> dict[str, int | None]:
    """Return the process of each service."""
    return {each.name: each.pid for each in status(head).services}


def version(tiny: Tiny) -> str:
    """Return the version that a service tells of itself."""
    return fetch(f"http://127.0.0.1:{tiny.port}/health").split()[1]


def spoil(file: Path, text: str) -> None:
    """Put another file in the place of one in the store, where equal files share an inode."""
    file.unlink()
    file.write_text(text)


def nginx_tree() -> Path | str:
    """Return a folder with usr/sbin/nginx and mime.types, or the reason why there is none."""
    cache = Path(tempfile.gettempdir()) / "sealift-tests-nginx"
    if not (cache / "usr/sbin/nginx").exists():
        try:
            _unpack_nginx(cache)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no nginx: {error}"
    said = subprocess.run([cache / "usr/sbin/nginx", "-v"], capture_output=True, check=False)
    return cache if said.returncode == 0 else f"nginx does not run: {said.stderr.decode()}"


def _unpack_nginx(cache: Path) -> None:
    """Unpack Debian's nginx without installing it."""
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        work = Path(folder)
        subprocess.run(
            ["apt-get", "download", "nginx", "nginx-common"],
            cwd=work,
            check=True,
            capture_output=True,
        )
        tree = work / "tree"
        (tree / "usr/sbin").mkdir(parents=True)
        for package in sorted(work.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, work / "all"], check=True, capture_output=True)
        shutil.copy(work / "all/usr/sbin/nginx", tree / "usr/sbin/nginx")
        shutil.copy(work / "all/etc/nginx/mime.types", tree / "mime.types")
        tree.rename(cache)
