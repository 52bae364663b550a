"""kill -9 of the deploying process at every effect it has, with real services.

An audit hook counts what the process is about to do to the world (renames, links, files opened for
writing, calls of supervisord, processes started) and kills it before the n-th. Afterwards the
head must name the old or the new generation, whole, and whichever command comes next must put
everything right.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from deploy import durable
from deploy.activate import deploy, repair, restart, rollback, start
from deploy.events import Event, What, ignore
from deploy.journal import Journal
from deploy.status import status
from store.local import LocalStore
from tests.deploy.synthetic import Site, Tiny, version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.events import Observe
    from deploy.local_head import LocalHead

EFFECTS = frozenset(
    {
        "os.rename",
        "os.remove",
        "os.symlink",
        "os.mkdir",
        "os.rmdir",
        "os.chmod",
        "socket.connect",
        "subprocess.Popen",
    }
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
POINTS = 62
MOMENTS = 10


def is_effect(event: str, arguments: tuple[Any, ...]) -> bool:
    return event in EFFECTS or (event == "open" and bool(arguments[2] & WRITES))


def forked(site: Site, work: Callable[[LocalHead], object], *, point: int | None = None) -> int:
    """Do `work` in a process of its own that dies before its `point`-th effect; return its pid.

    Its exit status is 0 if it came to the end, and 1 if the work failed.
    """
    pid = os.fork()
    if pid != 0:
        return pid
    left = [point]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if left[0] is not None and is_effect(event, arguments):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        head = Site(site.root, LocalStore.open(site.store.store_dir)).head()
        sys.addaudithook(hook)
        work(head)
        status = 0
    finally:
        os._exit(status)


def ended(pid: int) -> int:
    """Wait for a process; return its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def effects(site: Site, work: Callable[[LocalHead], object]) -> int:
    """Count the effects of `work`, which is done."""
    reader, writer = os.pipe()

    def counting(head: LocalHead) -> None:
        count = [0]

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            count[0] += is_effect(event, arguments)

        sys.addaudithook(hook)
        work(head)
        os.write(writer, str(count[0]).encode())

    assert ended(forked(site, counting)) == 0
    found = int(os.read(reader, 16))
    os.close(reader)
    os.close(writer)
    return found


def versions(head: LocalHead, number: int | None) -> str | None:
    """Return which version of alpha a generation has."""
    if number is None:
        return None
    return head.load(head.profile.get(number).path).services["alpha"].path.name.split("-")[-1]


def assert_whole(head: LocalHead) -> None:
    """The profile names a generation that can be read, at any moment."""
    if head.profile.current() is not None:
        assert (head.layout.profile / "release.json").is_file()
        assert (head.layout.profile / "services" / "alpha" / "serve.py").is_file()


def assert_put_right(head: LocalHead, tiny: Tiny) -> None:
    """No trace of the killed command is left, and what runs is what the profile names."""
    assert head.journal.read() is None
    assert list(head.layout.profiles_dir.glob(f"{durable.TEMPORARY}*")) == []
    number = head.profile.current()
    if number is None:
        assert not head.services.alive()
        return
    deadline = time.monotonic() + 5
    while not status(head).healthy:
        assert time.monotonic() < deadline, status(head)
        time.sleep(0.02)
    assert version(tiny) == versions(head, number)


def put_right(head: LocalHead, observe: Observe = ignore) -> None:
    """Do what every command that changes a head does first."""
    with head.lock.hold("anna", "repair"):
        repair(head, observe)


def next_commands(head: LocalHead, other: Path) -> list[Callable[[], object]]:
    return [
        lambda: put_right(head),
        lambda: start(head),
        lambda: deploy(head, other),
        lambda: restart(head),
    ]


@pytest.fixture
def two(site: Site, pair: tuple[Tiny, Tiny]) -> tuple[LocalHead, Tiny, Path, Path]:
    """A head on its first generation, and a second release that changes one service."""
    alpha, beta = pair
    head = site.head()
    first, second = site.release(alpha, beta), site.release(alpha.at("2.0"), beta)
    deploy(head, first)
    return head, alpha, first, second


@pytest.mark.slow
def test_killed_before_any_of_its_effects(
    site: Site, two: tuple[LocalHead, Tiny, Path, Path]
) -> None:
    head, alpha, first, second = two
    count = effects(site, lambda it: deploy(it, second))
    points = sorted({round(n * count / POINTS) for n in range(POINTS)})
    killed = 0
    for turn, point in enumerate(points):
        before = head.profile.current()
        other = first if versions(head, before) == "2.0" else second

        def work(it: LocalHead, other: Path = other, *, back: bool = turn % 3 == 2) -> None:
            if back:
                rollback(it)
            else:
                deploy(it, other)

        code = ended(forked(site, work, point=point))
        assert code in (0, -signal.SIGKILL), (turn, point)
        killed += code != 0
        assert_whole(head)
        assert head.profile.current() is not None
        next_commands(head, other)[turn % 4]()
        assert_put_right(head, alpha)
    assert killed >= 50


@pytest.mark.slow
def test_killed_at_random_moments(site: Site, two: tuple[LocalHead, Tiny, Path, Path]) -> None:
    head, alpha, first, second = two
    began = time.monotonic()
    deploy(head, second)
    whole = time.monotonic() - began
    chance = random.Random(4)  # noqa: S311
    for turn in range(MOMENTS):
        other = first if turn % 2 else second
        pid = forked(site, lambda it, other=other: deploy(it, other))  # type: ignore[misc]
        time.sleep(chance.uniform(0, whole))
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        assert_whole(head)
        status(head)
        put_right(head)
        assert_put_right(head, alpha)


@pytest.mark.slow
def test_killed_during_the_first_deploy(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    release = site.release(*pair)
    for point in range(0, 60, 4):
        code = ended(forked(site, lambda it: deploy(it, release), point=point))
        assert_whole(head)
        put_right(head)
        found = status(head)
        assert found.generation is None or found.healthy
        assert_put_right(head, pair[0])
        if code == 0:
            break
        if head.profile.current() is not None:
            break
    deploy(head, release)
    assert_put_right(head, pair[0])


def kill_at(what: What) -> Observe:
    def observe(event: Event) -> None:
        if event.what is what:
            os.kill(os.getpid(), signal.SIGKILL)

    return observe


@pytest.mark.parametrize(
    ("what", "stays"),
    [
        (What.PREPARED, "1.0"),
        (What.SWITCHED, "1.0"),
        (What.RESTARTED, "1.0"),
        (What.HEALTHY, "1.0"),
        (What.CONFIRMED, "2.0"),
    ],
)
def test_killed_at_each_stage(
    site: Site, two: tuple[LocalHead, Tiny, Path, Path], what: What, stays: str
) -> None:
    """What was not found healthy is taken back; what was is kept."""
    head, alpha, _, second = two
    pid = forked(site, lambda it: deploy(it, second, observe=kill_at(what)))
    assert ended(pid) == -signal.SIGKILL
    seen: list[Event] = []
    put_right(head, seen.append)
    repaired = what not in (What.PREPARED, What.CONFIRMED)
    assert [each.what for each in seen] == [What.REPAIRED] * repaired
    assert_put_right(head, alpha)
    assert version(alpha) == stays


def test_killed_while_it_goes_back(site: Site, two: tuple[LocalHead, Tiny, Path, Path]) -> None:
    head, alpha, _, _ = two
    sick = site.release(alpha.at("3.0", "error"))
    pid = forked(site, lambda it: deploy(it, sick, observe=kill_at(What.FAILED)))
    assert ended(pid) == -signal.SIGKILL
    put_right(head)
    assert_put_right(head, alpha)
    assert head.profile.current() == 1


def test_looking_at_a_head_changes_nothing(
    site: Site, two: tuple[LocalHead, Tiny, Path, Path]
) -> None:
    head, alpha, _, second = two
    work = kill_at(What.SWITCHED)
    assert ended(forked(site, lambda it: deploy(it, second, by="anna", observe=work))) < 0
    journal = head.layout.journal.read_bytes()
    for _ in range(2):
        found = status(head)
        assert found.interrupted is not None
        cut = found.interrupted
        assert (cut.action, cut.before, cut.after, cut.by) == ("deploy", 1, 2, "anna")
        assert (found.holder, found.healthy, head.profile.current()) == (None, False, 2)
    assert head.layout.journal.read_bytes() == journal
    start(head)
    assert status(head).interrupted is None
    assert_put_right(head, alpha)
    assert version(alpha) == "1.0"


def test_a_terminal_that_closes_cuts_nothing_off(
    site: Site, two: tuple[LocalHead, Tiny, Path, Path]
) -> None:
    head, alpha, _, second = two

    def hang_up(event: Event) -> None:
        if event.what in (What.SWITCHED, What.RESTARTED):
            os.kill(os.getpid(), signal.SIGHUP)

    assert ended(forked(site, lambda it: deploy(it, second, observe=hang_up))) == 0
    assert head.journal.read() is None
    assert version(alpha) == "2.0"


def test_outside_of_a_change_a_hangup_ends_the_command(
    site: Site, two: tuple[LocalHead, Tiny, Path, Path]
) -> None:
    """The negative control: the signal is taken for nothing only while it would do harm."""

    def work(it: LocalHead) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever these tests were started by
        deploy(it, two[3])
        os.kill(os.getpid(), signal.SIGHUP)

    assert ended(forked(site, work)) == -signal.SIGHUP


def test_without_a_journal_a_kill_is_never_put_right(
    site: Site, two: tuple[LocalHead, Tiny, Path, Path]
) -> None:
    """The negative control: profile and services disagree, and nothing says so."""
    head, alpha, _, second = two

    class Forgetful(Journal):
        def write(self, intent: object) -> None:
            del intent

    def work(it: LocalHead) -> None:
        it.journal = Forgetful(it.layout.journal)
        deploy(it, second, observe=kill_at(What.SWITCHED))

    assert ended(forked(site, work)) == -signal.SIGKILL
    with pytest.raises(AssertionError):
        assert_put_right(head, alpha)


def test_without_an_atomic_switch_a_kill_leaves_nothing(
    site: Site, two: tuple[LocalHead, Tiny, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: unlink + symlink has a moment without any generation."""
    head, _, _, second = two

    def link(path: Path, target: str) -> None:
        path.unlink(missing_ok=True)
        if path == head.layout.profile:
            os.kill(os.getpid(), signal.SIGKILL)
        path.symlink_to(target)

    monkeypatch.setattr(durable, "link", link)
    pid = forked(site, lambda it: deploy(it, second, observe=ignore))
    monkeypatch.undo()
    assert ended(pid) == -signal.SIGKILL
    assert head.profile.current() is None
