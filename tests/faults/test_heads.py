"""What heads and operators do to each other: two at once, full disks, forged keys, ill services."""

from __future__ import annotations

import shutil
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.faults.counts import LIVES
from tests.faults.whole import NotWholeError, current, look
from tests.lab.operator import operator
from tests.lab.platform import HEADS, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.platform import Done
    from tests.faults.bench import Bench
    from tests.faults.whole import Made
    from tests.lab.head import LabHead
    from tests.lab.operator import Operator

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
PATIENCE = 120.0
SLOW = 40_000_000
"""Bits per second at which ballast takes some seconds."""
ILL = f"{STATE}/alpha/database/ill-2"
"""A file with the seconds that version 2 of alpha lives on a head."""


@pytest.fixture(autouse=True)
def on_old(bench: Bench) -> None:
    bench.restore()


def tried(bench: Bench, *words: str) -> Done:
    """Deploy the new release to all heads, whatever comes of it."""
    return bench.site.try_sealift(*bench.words(HEADS, bench.new), *words)


def unmoved(bench: Bench) -> None:
    bench.rest(lambda _: (bench.old,))


def finishes(bench: Bench) -> None:
    """The same command, with the cause gone, does the whole job."""
    done = tried(bench)
    assert done.code == 0, done.err
    bench.rest(lambda _: (bench.new,))


# Two operators.


@contextmanager
def at_work(bench: Bench, heads: str, made: Made) -> Iterator[Operator]:
    """An operator who has a head's lock, and does nothing more before he is told to go on."""
    with operator(bench.site, *bench.words(heads, made, deadline="120")) as first:
        assert first.wait_for(lambda each: each.what == "locked", PATIENCE), first.said
        first.kill(signal.SIGSTOP)
        yield first


def test_the_second_of_two_operators_is_told_who_is_at_work(bench: Bench) -> None:
    with at_work(bench, HEADS, bench.new) as first:
        second = tried(bench)
        first.kill(signal.SIGCONT)
        assert first.end() == 0, first.said
    assert second.code not in (0, 4, 5), second.err
    assert "deploy" in second.err
    assert str(first.process.pid) in second.err or "transfer" in second.err or "@" in second.err
    bench.rest(lambda _: (bench.new,))


def test_two_operators_at_the_same_moment(bench: Bench) -> None:
    with (
        operator(bench.site, *bench.words(HEADS, bench.new)) as one,
        operator(bench.site, *bench.words(HEADS, bench.new)) as other,
    ):
        codes = sorted((one.end(), other.end()))
    assert codes[0] == 0, one.said + other.said
    bench.rest(lambda _: (bench.new,))


NO_LOCK = {"deploy/lock.py": ("if not try_lock(descriptor):", "if descriptor < 0:")}


@pytest.mark.parametrize("locked", [True, False])
def test_without_the_lock_two_are_at_work(bench: Bench, *, locked: bool) -> None:
    """The control: an agent that takes no lock lets a second operator prepare beside the first."""
    name = bench.lab.heads[0].name
    made = bench.new if locked else bench.crippled(NO_LOCK)
    try:
        with (
            at_work(bench, name, made) as first,
            operator(bench.site, *bench.words(name, made)) as second,
        ):
            told = second.wait_for(lambda each: each.what == "prepared", PATIENCE)
            second.kill()
            first.kill()
        assert (told is None) == locked, second.said
    finally:
        bench.put(bench.old)


# A full disk.


@contextmanager
def full(head: LabHead, left: int) -> Iterator[None]:
    """Leave so many bytes of a head's disk."""
    free = int(head.run("df", "-B1", "--output=avail", "/").stdout.split()[1])
    head.run("fallocate", "-l", str(free - left), "/full")
    try:
        yield
    finally:
        head.run("rm", "-f", "/full")


def test_a_full_disk_is_found_before_anything_is_pushed(bench: Bench) -> None:
    made = bench.ballasted()
    lone = bench.lab.heads[2]
    with full(lone, 4 << 20):
        done = bench.site.try_sealift(*bench.words(HEADS, made))
    assert done.code == 6, done.err
    assert lone.name in done.err
    unmoved(bench)
    bench.put(made)


def test_a_disk_that_fills_while_it_is_pushed_to(bench: Bench) -> None:
    made = bench.ballasted()
    lone = bench.lab.heads[2]
    lone.throttle(SLOW)
    try:
        with operator(bench.site, *bench.words(HEADS, made)) as running:
            assert running.wait_for(lambda each: each.what == "plan", PATIENCE), running.said
            with full(lone, 1 << 20):
                code = running.end(PATIENCE)
    finally:
        lone.throttle(None)
    assert code == 6, running.said
    assert lone.name in running.said
    assert "disk-full" in running.said
    unmoved(bench)
    bench.put(made)


# Host keys.


def test_a_changed_host_key_stops_everything(bench: Bench, tmp_path: Path) -> None:
    lone = bench.lab.heads[1]
    kept = tmp_path / "keys"
    shutil.copytree(lone.root / "etc/ssh", kept)
    lone.change_host_keys()
    try:
        done = tried(bench)
        assert done.code not in (0, 4, 5), done.err
        assert lone.name in done.err
        assert f"sealift trust {lone.name}" in done.err
        unmoved(bench)
        missing = tried(bench, "--allow-missing")
        assert missing.code != 0, "a head that is not who it was is not one that is missing"
        unmoved(bench)
    finally:
        for file in kept.glob("ssh_host_*"):
            # Secrets are sealed for the head's keys, so it must have its own again.
            private = "600" if file.suffix == "" else "644"
            lone.run("sh", "-c", f"cat > /etc/ssh/{file.name}", input=file.read_bytes())
            lone.run("chmod", private, f"/etc/ssh/{file.name}")
        lone.run("systemctl", "restart", "ssh")
    finishes(bench)


# Services that are ill.


@contextmanager
def ill(heads: tuple[LabHead, ...], seconds: str) -> Iterator[None]:
    """Let the new version live so long on some heads."""
    for head in heads:
        head.run("sh", "-c", f"echo {seconds} > {ILL}")
    try:
        yield
    finally:
        for head in heads:
            head.run("rm", "-f", ILL)


@pytest.mark.parametrize("seconds", LIVES)
def test_a_service_that_is_healthy_and_then_dies_takes_all_heads_back(
    bench: Bench, seconds: str
) -> None:
    with ill(bench.lab.heads, seconds):
        done = tried(bench)
        assert done.code == 5, done.err
        assert "alpha" in done.err
        unmoved(bench)
    finishes(bench)


def test_one_ill_head_takes_all_back(bench: Bench) -> None:
    with ill(bench.lab.heads[2:], "0.5"):
        done = tried(bench)
        assert done.code == 5, done.err
        assert bench.lab.heads[2].name in done.err
        unmoved(bench)
    finishes(bench)


NO_CHECK = {
    "deploy/perform.py": (
        "self.head.check(self._wanted(), None, self.observe, self.operator.present)",
        "pass",
    )
}


def test_without_the_check_an_ill_service_stays(bench: Bench) -> None:
    """The control: an agent that asks nobody confirms what dies."""
    head = bench.lab.heads[0]
    made = bench.crippled(NO_CHECK)
    with ill((head,), "0.5"):
        done = bench.site.try_sealift(*bench.words(head.name, made))
        kept = current(bench.site, head)
    assert (done.code, kept) != (5, bench.old.path)
    bench.put(bench.old)


def test_a_service_that_dies_later_is_seen(bench: Bench) -> None:
    """The control: an illness that no check can foresee is let through, and status tells of it."""
    with ill(bench.lab.heads[:1], "25"):
        done = tried(bench)
        assert done.code == 0, done.err
    look(bench.site, bench.lab.heads[0], (bench.new,))


# A head that is not there.


@contextmanager
def down(head: LabHead) -> Iterator[None]:
    head.power_cut()
    try:
        yield
    finally:
        head.start()
        head.wait_ssh()


def test_a_head_that_is_down_is_refused_or_skipped_and_catches_up(bench: Bench) -> None:
    one, two, lone = bench.lab.heads
    with down(lone):
        refused = tried(bench)
        assert refused.code == 6, refused.err
        assert lone.name in refused.err
        assert "--allow-missing" in refused.err
        for head in (one, two):
            look(bench.site, head, (bench.old,))
        skipped = tried(bench, "--allow-missing")
        assert skipped.code == 0, skipped.err
        assert lone.name in skipped.err
        for head in (one, two):
            look(bench.site, head, (bench.new,))
        assert lone.name in bench.site.try_sealift("status", "--host", HEADS).out
    look(bench.site, lone, (bench.old,))
    skew = bench.site.try_sealift("status", "--host", HEADS)
    assert skew.code != 0
    assert "skew" in (skew.out + skew.err).lower()
    finishes(bench)
    even = bench.site.try_sealift("status", "--host", HEADS)
    assert even.code == 0, even.out + even.err
    assert "skew" not in (even.out + even.err).lower()


# Controls of what all faults are judged by.


def test_a_mixed_head_is_not_whole(bench: Bench) -> None:
    """The control: services of one release under the name of another are found."""
    head = bench.lab.heads[0]
    profiles = f"{bench.site.store_dir.parent}/var/profiles"
    bench.put(bench.new, head.name)
    bench.put(bench.old, head.name)
    rows = head.run("readlink", f"{profiles}/system").stdout.decode().strip()
    links = head.run("find", profiles, "-name", "system-*-link", "-lname", bench.new.path)
    other = links.stdout.decode().split()[0].rpartition("/")[2]
    head.run("ln", "-sfn", other, f"{profiles}/system")
    try:
        assert current(bench.site, head) == bench.new.path
        with pytest.raises(NotWholeError):
            look(bench.site, head, (bench.old, bench.new))
    finally:
        head.run("ln", "-sfn", rows, f"{profiles}/system")
    look(bench.site, head, (bench.old,))


def test_a_damaged_store_is_not_whole(bench: Bench) -> None:
    """The control: one byte of one file."""
    head = bench.lab.heads[0]
    file = f"{bench.old.path}/sbom.cdx.json"
    saved = head.run("cat", file).stdout
    head.run("sh", "-c", f"chmod u+w {file}; printf x >> {file}")
    try:
        with pytest.raises(NotWholeError, match="not clean"):
            look(bench.site, head, (bench.old,))
    finally:
        head.run("sh", "-c", f"cat > {file}", input=saved)
        head.run("chmod", "444", file)
        head.run("touch", "-d", "@1", file)
    look(bench.site, head, (bench.old,))


def test_without_the_deadline_a_head_stays_where_it_was_left(bench: Bench) -> None:
    """The control: with a deadline beyond the test's patience, nobody puts the head right."""
    head = bench.lab.heads[0]
    with operator(bench.site, *bench.words(head.name, bench.new, deadline="600")) as running:
        assert running.wait_for(lambda each: each.what == "switched", PATIENCE), running.said
        head.partition()
        try:
            with pytest.raises(NotWholeError, match="come to rest"):
                look(bench.site, head, (bench.old, bench.new), timeout=20)
        finally:
            head.heal()
            running.kill()
    look(bench.site, head, (bench.old,))
