"""A newer version of a package of the cluster: the same program, repacked under a higher version.

It is served as a mirror would, and pinned in the lock of a site's own copy of the recipes, so that
what builds and installs it is what does so for every package.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from builders.deb_pins import parse_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builders.deb_pins import Pinned
    from tests.lab.cluster import Cluster

PACKAGES = "cluster"
NEWER = "+repacked1"
"""What the version of a repacked package ends with; higher than without it, to dpkg."""
SUITE = "bookworm"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        """Say nothing."""


@contextmanager
def newer(cluster: Cluster, names: Sequence[str], folder: Path) -> Iterator[None]:
    """Let the site's next release have newer versions of packages; on exit, those from before."""
    file = cluster.site.recipes / "locks" / f"{PACKAGES}.json"
    before = file.read_text()
    packages = _set(cluster)
    lock = parse_lock(before)
    made = {name: _repacked(packages, name, lock.packages[name], folder) for name in names}
    with _served(folder) as address:
        mirrors = {**lock.mirrors, SUITE: address}
        file.write_text(str(replace(lock, packages={**lock.packages, **made}, mirrors=mirrors)))
        try:
            cluster.build()
            yield
        finally:
            file.write_text(before)


def _set(cluster: Cluster) -> Path:
    """Return where the packages lie that the site's release has."""
    release = json.loads((Path(cluster.release) / "release.json").read_text())
    place = release["phases"]["infrastructure"]["hosts"]["head1"]
    return Path(json.loads((Path(place) / "phase.json").read_text())["packages"]["set"])


def _repacked(packages: Path, name: str, pinned: Pinned, folder: Path) -> Pinned:
    """Make a package's newer version, as a file of `folder`."""
    tree = folder / "tree" / name
    tree.parent.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "-R", _file(packages, name), tree], check=True)
    version = f"{pinned.version}{NEWER}"
    control = tree / "DEBIAN" / "control"
    old, new = (f"Version: {each}\n" for each in (pinned.version, version))
    text = control.read_text()
    assert old in text, text
    control.write_text(text.replace(old, new))
    made = folder / f"{name}.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", str(tree), str(made)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    data = made.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return replace(
        pinned,
        version=version,
        suite=SUITE,
        filename=made.name,
        sha256=digest,
        size=len(data),
    )


def _file(packages: Path, name: str) -> str:
    [found] = (packages / "pool").glob(f"{name}_*.deb")
    return str(found.resolve())


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
