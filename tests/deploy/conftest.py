from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from deploy.layout import Layout
from store.local import LocalStore
from tests.deploy.synthetic import Site, Tiny, free_ports, nginx_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site without a web server; whatever a test leaves running is ended."""
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        made = Site(tmp_path.resolve(), store)
        yield made
        made.head().services.shutdown()
        socket = Layout(store.var_dir, made.state_dir).supervisor_socket
        if socket.parent != store.var_dir / "head" / "run":
            shutil.rmtree(socket.parent, ignore_errors=True)


@pytest.fixture
def web_site(site: Site) -> Site:
    """A site with nginx from Debian's package, unpacked and not installed."""
    found = nginx_tree()
    if isinstance(found, str):
        pytest.skip(found)
    with site.store.temporary() as folder:
        tree = shutil.copytree(found, folder / "nginx")
        site.nginx = site.store.add(tree, "nginx-1.22.1", durable=False).path
    return site


@pytest.fixture
def pair() -> tuple[Tiny, Tiny]:
    one, two = free_ports(2)
    return Tiny("alpha", one), Tiny("beta", two)
