"""Heads by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from deploy.inventory import head
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.deploy.synthetic import Site


@dataclass
class Host:
    kind: str = "local"
    port: int = 8080
    port_offset: int = 0


@dataclass
class Places:
    state_dir: Path
    hosts: Mapping[str, Host] = field(default_factory=dict)


def test_a_local_head(site: Site) -> None:
    found = head(
        Places(site.state_dir, {"here": Host(port=9000, port_offset=5)}), site.store, "here"
    )
    assert (found.name, found.url) == ("here", "http://127.0.0.1:9000/")
    assert found.settings.port_offset == 5
    assert found.layout.secrets_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("hosts", [{}, {"local": Host(kind="moon")}])
def test_no_such_host(site: Site, hosts: dict[str, Host]) -> None:
    with pytest.raises(InputError):
        head(Places(site.state_dir, hosts), site.store)
