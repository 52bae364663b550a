"""Services cannot write into the store, not even root's."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import supervisor
from deploy.activate import deploy
from deploy.errors import DeployFailedError
from deploy.guard import droppable, guarded
from tests.deploy.synthetic import QUICK, Pages, Site, Tiny, fetch, free_ports, pids

if TYPE_CHECKING:
    from collections.abc import Sequence

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can write past permissions")


def writer(port: int, *files: str) -> Tiny:
    return Tiny("alpha", port, temper="writes", words=files, state=("data/",), timeout=1.0)


@pytest.mark.parametrize("file", ["{tree}/visits.sqlite", "{tree}/version"])
def test_a_service_cannot_write_into_its_store_path(site: Site, file: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(DeployFailedError) as caught:
        deploy(site.head(), site.release(writer(port, file)))
    assert any("PermissionError" in line for line in caught.value.log)
    assert site.store.verify().clean


def test_a_service_can_write_into_its_state(site: Site) -> None:
    (port,) = free_ports(1)
    head = site.head()
    deploy(head, site.release(writer(port, "{tree}/data/visits.sqlite", "{state}/other")))
    assert (site.state_dir / "alpha/data/visits.sqlite").read_text() == "a visit\n"
    assert (site.state_dir / "alpha/other").is_file()


@as_root
def test_unguarded_root_writes_into_the_store(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""

    def unguarded(argv: Sequence[str]) -> tuple[str, ...]:
        return tuple(argv)

    monkeypatch.setattr(supervisor, "guarded", unguarded)
    (port,) = free_ports(1)
    deploy(site.head(), site.release(writer(port, "{tree}/visits.sqlite")))
    assert not site.store.verify().clean


@as_root
def test_the_web_server_runs_under_guard(web_site: Site) -> None:
    """It makes its temporary folders and its pid file without the right, too."""
    one, web = free_ports(2)
    head = web_site.head(replace(QUICK, port=web))
    deploy(head, web_site.release(Tiny("alpha", one), pages=(Pages("home", "page"),)))
    assert fetch(head.url) == "page"
    for pid in pids(head).values():
        assert not droppable(Path(f"/proc/{pid}/status").read_text())


@pytest.mark.parametrize(
    ("effective", "expected"),
    [("000001ffffffffff", True), ("0000000000000000", False), ("0000000000000002", False)],
)
def test_what_can_be_given_up(effective: str, *, expected: bool) -> None:
    status = f"Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t{effective}\nSeccomp:\t0\n"
    assert droppable(status) is expected


@as_root
def test_the_command_itself_comes_last() -> None:
    assert guarded(("x", "-y"))[-2:] == ("x", "-y")
