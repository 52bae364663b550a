"""Folders of a phase where others may write: no link of theirs leads root anywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from deploy.errors import SystemRefusedError
from deploy.install import folders, lay
from store.errors import Error
from tests.deploy.install.bench import ME

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.phases.configuration import Configuration
    from tests.deploy.install.bench import Bench

WANTED = "/var/lib/redis/replica"


def wanting(head: Bench, path: str = WANTED) -> Configuration:
    folder = {"path": path, "owner": ME, "mode": "0750"}
    return head.configuration(packages=None, directories=[folder])


def service(head: Bench) -> Path:
    """Make a folder that others than root may change, as one that a service owns."""
    place = head.etc("/var/lib/redis")
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o777)
    return place


def test_a_link_that_a_service_laid_is_refused_and_not_followed(head: Bench) -> None:
    wanted, target = wanting(head), head.etc("/etc")
    (service(head) / "replica").symlink_to(target)
    before = target.stat()
    state = head.look(wanted)
    assert [each.slug for each in state.refusals] == ["path-in-use"]
    assert "replica is a link that others than root may have laid" in state.refusals[0].reason
    assert state.directories == ()
    with pytest.raises(Error) as refused:
        lay.lay(head.work(), wanted)
    assert refused.value.slug == "path-in-use"
    # It may come after the look as well.
    with pytest.raises(SystemRefusedError):
        folders.make(head.machine, wanted.directories)
    after = target.stat()
    assert (after.st_mode, after.st_uid, after.st_ctime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_ctime_ns,
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_of_a_service_is_not_roots_whatever_its_mode(head: Bench) -> None:
    place = service(head)
    place.chmod(0o755)
    os.chown(place, 64001, 64001)
    (place / "replica").symlink_to("/etc")
    with pytest.raises(SystemRefusedError, match="is a link"):
        folders.make(head.machine, wanting(head).directories)


def test_a_link_above_it_is_not_followed_either(head: Bench) -> None:
    inner = service(head) / "inner"
    inner.mkdir(0o755)
    (inner / "x").symlink_to("/etc")
    wanted = wanting(head, "/var/lib/redis/inner/x/y")
    with pytest.raises(SystemRefusedError, match="x is a link"):
        folders.make(head.machine, wanted.directories)
    assert not head.etc("/etc/y").exists()


def test_a_folder_of_a_service_gets_folders_and_keeps_those_it_has(head: Bench) -> None:
    service(head)
    wanted = wanting(head)
    folders.make(head.machine, wanted.directories)
    assert head.etc(WANTED).stat().st_mode & 0o777 == 0o750
    assert head.look(wanted).directories == ()
    head.etc(WANTED).chmod(0o700)
    folders.make(head.machine, wanted.directories)
    assert head.etc(WANTED).stat().st_mode & 0o777 == 0o750


def test_a_link_of_root_is_followed_to_what_is_there(head: Bench) -> None:
    for each in ("/data/redis", "/var/lib"):
        head.etc(each).mkdir(parents=True, exist_ok=True)
    head.etc("/data/here").symlink_to("redis")
    head.etc("/var/lib/redis").symlink_to("/data/here")
    wanted = wanting(head)
    folders.make(head.machine, wanted.directories)
    assert head.etc("/data/redis/replica").stat().st_mode & 0o777 == 0o750
    assert not head.look(wanted).refusals


@pytest.mark.parametrize("target", ["/not/mounted", "redis", "/etc/passwd"])
def test_a_link_of_root_to_nothing_is_in_the_way(head: Bench, target: str) -> None:
    head.etc("/var/lib").mkdir(parents=True, exist_ok=True)
    head.etc("/var/lib/redis").symlink_to(target)
    wanted = wanting(head)
    assert [each.slug for each in head.look(wanted).refusals] == ["path-in-use"]
    with pytest.raises(SystemRefusedError):
        folders.make(head.machine, wanted.directories)
    assert not head.etc("/not").exists()
