"""Which supervisord runs the services: the release's own, and until when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.activate import deploy, restart, rollback, start, stop
from deploy.errors import ManagerError
from deploy.profile import Status
from store.collect import collect
from tests.deploy.synthetic import DAEMON, Site, Tiny, pids, version

if TYPE_CHECKING:
    from deploy.local_head import LocalHead

SECOND = DAEMON + "# another one\n"


def daemon(head: LocalHead) -> Path:
    """Return the program that the running supervisord was started as."""
    pid = head.layout.supervisor_pid.read_text().strip()
    return Path(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[2])


def brought(head: LocalHead, release: Path) -> Path:
    return head.load(release).tools["supervisord"].executable


def test_another_one_runs_when_everything_was_stopped(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = pair
    head = site.head()
    old, new = site.release(alpha, beta), site.release(alpha, beta.at("2.0"), daemon=SECOND)
    deploy(head, old)
    before = pids(head)
    assert daemon(head) == brought(head, old)
    deploy(head, new)
    # To change it would have stopped alpha, which did not change.
    assert pids(head)["alpha"] == before["alpha"]
    assert daemon(head) == brought(head, old)
    restart(head)
    assert daemon(head) == brought(head, new)
    rollback(head)
    assert daemon(head) == brought(head, new)
    stop(head)
    start(head)
    assert daemon(head) == brought(head, old)


def test_a_release_without_one_is_refused(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = pair
    head = site.head()
    without = site.release(alpha, beta.at("2.0"), daemon=None)
    for _ in range(2):
        with pytest.raises(ManagerError, match="brings no service manager") as caught:
            deploy(head, without)
        assert "sealift build" in str(caught.value.hint)
        # Once where nothing runs, and once where a manager does.
        deploy(head, site.release(alpha, beta))
    assert version(beta) == "1.0"


def test_a_generation_from_before_there_was_one(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = pair
    head = site.head()
    head.profile.add(1, site.release(alpha, beta, daemon=None), "somebody", before=None)
    head.profile.mark(1, Status.GOOD)
    release = site.release(alpha.at("2.0"), beta)
    deploy(head, release)
    rollback(head, 1)
    assert (version(alpha), daemon(head)) == ("1.0", brought(head, release))
    restart(head, ["alpha"])
    stop(head)
    with pytest.raises(ManagerError, match="brings no service manager"):
        start(head)
    rollback(head, 2)
    assert version(alpha) == "2.0"


def test_what_is_no_program_is_refused(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    path = site.release(*pair)
    file = head.load(path).tools["supervisord"].executable
    file.chmod(0o444)
    with pytest.raises(ManagerError, match="cannot be started"):
        head.services.check((), head.load(path).tools, known=False)


def test_the_collector_spares_the_one_that_runs(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    old = site.release(*pair)
    deploy(head, old)
    deploy(head, site.release(*pair, daemon=SECOND))
    head.profile.remove(1)
    removed = {site.store.real(info.path) for info in collect(site.store).removed}
    assert old in removed
    assert daemon(head).parents[1] not in removed
