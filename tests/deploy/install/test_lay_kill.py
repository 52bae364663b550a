"""kill -9 and power cuts before every effect of laying a phase, changing it, and taking it back.

An audit hook counts what the process is about to do to the world and ends it before the n-th, with
whatever apt was at. Then the machine may lose power as well. At each such moment nothing of /etc is
lost, no file of ours leads nowhere, and nothing starts that was not configured; afterwards the same
command comes to its end, to the same.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from deploy.install import boot, lay, records
from tests.deploy.install.bench import CONFFILE, ME, NEWER, REDIS, Bench
from tests.deploy.test_kill import is_effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.phases.configuration import Configuration

SAMPLE = 16
"""Moments of each work that are tried where not all are asked for."""
UNIT, OWN = "redis-server.service", "sealift-x.service"
PASSWORD, OTHER, LATER = "/etc/redis/password.conf", "/etc/other.conf", "/etc/new/later.conf"
BY_HAND = "written by hand\n"
INSTALL = "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n"


def first(head: Bench) -> Configuration:
    file = {"path": PASSWORD, "markers": ["REDIS"], "owner": ME, "mode": "0640", "units": [UNIT]}
    texts = {
        CONFFILE: "first\n",
        OTHER: "first\n",
        PASSWORD: "first @secret:REDIS@\n",
        f"/etc/systemd/system/{OWN}": INSTALL,
    }
    units = [{"name": UNIT, "enabled": True}, {"name": OWN, "enabled": True}]
    users = [{"name": "slurm", "uid": 64001, "groups": ["adm"]}]
    return head.configuration(
        revision="1",
        texts=texts,
        files=[file],
        units=units,
        users=users,
        secrets={"REDIS": "password"},
    )


def second(head: Bench) -> Configuration:
    file = {"path": PASSWORD, "markers": ["REDIS"], "owner": ME, "mode": "0640", "units": [UNIT]}
    texts = {CONFFILE: "second\n", LATER: "second\n", PASSWORD: "second @secret:REDIS@\n"}
    return head.configuration(
        revision="2", packages=NEWER, texts=texts, files=[file], secrets={"REDIS": "password"}
    )


def lay_first(head: Bench) -> None:
    lay.lay(head.work(**secrets(head)), first(head))
    lay.enable(head.work(), "redis")
    lay.verified(head.work(), "redis")


def lay_second(head: Bench) -> None:
    lay.lay(head.work(**secrets(head)), second(head))
    lay.enable(head.work(), "redis")
    lay.verified(head.work(), "redis")


def take_back(head: Bench) -> None:
    lay.unlay(head.work(), "redis")


def secrets(head: Bench) -> dict[str, bytes]:
    """Return the same sealed secrets to each process."""
    file = head.root / "sealed"
    if not file.exists():
        file.write_bytes(head.seal(REDIS="open-sesame")["REDIS"])
    return {"REDIS": file.read_bytes()}


def nothing(_head: Bench) -> None:
    """Do nothing."""


WORKS: dict[str, tuple[Callable[[Bench], None], Callable[[Bench], None]]] = {
    "lay": (nothing, lay_first),
    "change": (lay_first, lay_second),
    "unlay": (lay_first, take_back),
}


def begin(head: Bench, name: str) -> None:
    """Bring a head to where a work begins."""
    secrets(head)
    head.write(OTHER, BY_HAND, 0o600)
    WORKS[name][0](head)
    if name != "lay":
        head.debian.start(UNIT)


def forked(head: Bench, work: Callable[[Bench], None], point: int) -> bool:
    """Do work in a process that dies before its `point`-th effect; tell whether it was killed."""
    pid = os.fork()
    if pid == 0:
        own, left = head.again(), [point]
        own.machine.at("/etc").stat()

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if is_effect(event, arguments):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            work(own)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def assert_safe(head: Bench, *, laid: bool) -> None:
    """What holds at any moment, with the session dead and the machine on."""
    texts = [
        each.read_text() for each in (head.machine.aside("redis")).rglob("*") if each.is_file()
    ]
    assert head.etc(OTHER).is_symlink() or head.etc(OTHER).read_text() == BY_HAND
    assert BY_HAND in [*texts, head.etc(OTHER).read_text()]
    for path in (CONFFILE, OTHER, PASSWORD):
        place = head.etc(path)
        assert not place.is_symlink() or place.read_text(), path
    for each in (head.root / "store").rglob("redis.conf"):
        assert "touched" not in each.read_text()
    if not laid:
        assert UNIT not in head.debian.active()


def assert_can_be_gone_on_with(head: Bench) -> None:
    """What holds at any moment of taking a phase back: how it was laid is told until all is done.

    An operator is refused who wants to take back what nothing tells of.
    """
    machine = head.machine
    kept = (machine.record("redis"), machine.agent_link, machine.before("redis"))
    if not machine.profile("redis").is_symlink():
        assert not any(each.is_symlink() or each.exists() for each in kept)
        assert not list(machine.sealed.iterdir())


def assert_starts_nothing_bare(head: Bench) -> None:
    """What holds after a power cut: nothing runs with what a package brought as settings."""
    head.power_cut()
    boot.boot(head.machine)
    if UNIT in head.debian.active():
        assert head.etc(PASSWORD).read_text().endswith("open-sesame\n")
        assert head.etc(CONFFILE).read_text() in ("first\n", "second\n")


def finish(head: Bench, name: str) -> None:
    """Come again, as an operator does."""
    boot.sweep(head.machine, 0.0)
    WORKS[name][1](head)


def assert_done(head: Bench, name: str, tree: dict[str, str]) -> None:
    assert head.tree() == tree
    assert head.debian.masked() == set()
    assert not head.etc("/usr/sbin/policy-rc.d").exists()
    own = ("store", "etc", "dpkg", "apt", "run")
    leftovers = [e for e in head.root.rglob(".tmp-*") if not set(own) & set(e.parts)]
    assert leftovers == []
    if name == "unlay":
        assert head.debian.diversions() == {}
        assert not list(head.machine.aside("redis").rglob("*"))
        assert {head.debian.package(each) for each in REDIS} == {"7.0 config-files"}
        return
    wanted = first(head) if name == "lay" else second(head)
    state = head.look(wanted, **secrets(head))
    assert not state.differs, state
    assert state.refusals == ()
    assert state.recorded is not None
    assert state.recorded.installed == ("redis-server", "redis-tools")
    assert all(each.enabled for each in state.units.values())
    assert "as Debian has it" in (head.machine.aside("redis") / CONFFILE[1:]).read_text()
    kept = head.machine.aside("redis") / OTHER[1:]
    assert kept.exists() == (name == "lay")


@pytest.mark.parametrize("cut", [False, True], ids=["killed", "power"])
def test_what_was_only_begun_can_be_taken_back(make_head: Any, *, cut: bool) -> None:
    """A head that is cut off at its first lay tells so; what it has of it goes."""
    whole: Bench = make_head()
    begin(whole, "lay")
    before = but_what_stays(whole)
    count = counted(whole, lay_first)
    told = 0
    for point in moments(count):
        head: Bench = make_head(like=whole)
        begin(head, "lay")
        forked(head, lay_first, point)
        if cut:
            assert_starts_nothing_bare(head)
        boot.sweep(head.machine, 0.0)
        state = head.look(first(head), **secrets(head))
        told += state.begun
        if not state.begun and not state.laid:
            assert all(head.debian.package(each) == "absent" for each in REDIS)
        take_back(head)
        gone = head.look(first(head), **secrets(head))
        assert (gone.begun, gone.laid, gone.recorded) == (False, False, None)
        assert but_what_stays(head) == before
        assert head.debian.masked() == set()
        assert {head.debian.package(each) for each in REDIS} <= {"7.0 config-files", "absent"}
        noted = [records.noted(head.machine, e) for e in (records.PACKAGES, records.UNITS)]
        assert noted == [{}, {}]
    assert told > 2


def but_what_stays(head: Bench) -> dict[str, str]:
    """Return /etc without users, and without what a package leaves that is removed: settings."""
    own = ("etc/passwd", "etc/group", CONFFILE[1:])
    return {path: text for path, text in head.tree().items() if path not in own}


def moments(count: int) -> list[int]:
    if os.environ.get("SEALIFT_FAULTS") == "full" or count <= SAMPLE:
        return list(range(count))
    return sorted({*range(3), *range(0, count, -(-count // SAMPLE)), count - 1})


@pytest.mark.parametrize("cut", [False, True], ids=["killed", "power"])
@pytest.mark.parametrize("name", WORKS)
def test_at_any_moment_the_same_finishes_it(make_head: Any, name: str, *, cut: bool) -> None:
    whole: Bench = make_head()
    begin(whole, name)
    count = counted(whole, WORKS[name][1])
    tree = whole.tree()
    assert_done(whole, name, tree)
    tried = 0
    for point in moments(count):
        head: Bench = make_head(like=whole)
        begin(head, name)
        tried += forked(head, WORKS[name][1], point)
        assert_safe(head, laid=name != "lay")
        if name == "unlay":
            assert_can_be_gone_on_with(head)
        if cut:
            assert_starts_nothing_bare(head)
        finish(head, name)
        assert_done(head, name, tree)
    assert tried > SAMPLE // 2


def counted(head: Bench, work: Callable[[Bench], None]) -> int:
    """Do work; return how many effects it had."""
    count = 0
    counting = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        count += counting and is_effect(event, arguments)

    sys.addaudithook(hook)
    work(head)
    counting = False
    return count
