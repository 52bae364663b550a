"""`receive`, `verify` and `repair-request` as an operator types them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.bundle import numbers
from deploy.bundle.receive import alone
from store.local import LocalStore
from tests.deploy.bundles import put
from tests.deploy.sshd import keygen
from tests.sealift.conftest import SEALIFT
from tests.sealift.gap import laid, run
from tests.sealift.test_bundle import BILL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sealift.gap import Gap


@pytest.fixture
def gap(tmp_path: Path) -> Gap:
    return laid(tmp_path.resolve())


def crossing(gap: Gap, line: bytes = b"one") -> Path:
    """Build nothing, and bundle it."""
    out = gap.root / "site.sealift"
    said = json.dumps({"format": 1, "services": {}, "frontends": {}}).encode()
    with gap.turn(gap.builder):
        with LocalStore.open(gap.root / "made" / "store") as store:
            library = put(store, "library", {b"l.py": b"l" * 5000})
            tree = {b"release.json": said, b"sbom.cdx.json": BILL, b"app.py": line}
            store.add_root("release", put(store, "release", tree, [library]))
        run(gap.builder, "bundle", "-o", str(out), "--force")
    return out


def received(gap: Gap, file: Path, *words: str, status: int = 0) -> Any:
    with gap.turn(gap.site):
        done = gap.site.run("receive", "--json", str(file), *words)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_came_is_told_and_written_down(gap: Gap) -> None:
    file = crossing(gap)
    said = received(gap, file)
    assert (said["site"], said["number"], said["paths"], said["allowed"]) == ("hpc1", 1, 2, [])
    assert [each.split()[0] for each in said["signers"]] == ["release@builder"]
    var = gap.site.root / "made" / "var"
    arrival = numbers.load(var, "hpc1").arrivals[0]
    assert (arrival.number, arrival.digest, arrival.root) == (1, said["digest"], "release")
    assert (var / "received" / "hpc1-1" / "sbom.json").is_file()
    assert "here already" in gap.receive(file)


def test_older_ones_are_refused_and_on_demand_taken_and_written_down(gap: Gap) -> None:
    old, new = gap.bundle(1), gap.bundle(2)
    gap.receive(new)
    said = received(gap, old, status=6)
    assert (said["error"], said["expected"], said["got"]) == (
        "bundle-older",
        "a number above 2",
        "1",
    )
    assert received(gap, old, "--allow-older")["allowed"] == ["older"]
    log = numbers.load(gap.site.root / "made" / "var", "hpc1")
    assert [(each.number, each.allowed) for each in log.arrivals] == [(2, ()), (1, ("older",))]
    assert log.highest == 2


def test_a_transfer_host_needs_no_recipes(gap: Gap) -> None:
    file = crossing(gap)
    gap.receive(file)
    (gap.site.root / "recipes").rmdir()
    with gap.turn(gap.site):
        run(gap.site, "store", "verify")
        run(gap.site, "store", "roots")
        assert run(gap.site, "sbom", "release").startswith("{")
        run(gap.site, "list")
        run(gap.site, "gc")
        assert "nothing is deployed" in gap.site.run("status").stdout
        assert "release" in run(gap.site, "store", "roots")
        assert "did you mean" not in run(gap.site, "sbom", "relaese", status=2)


def test_damage_is_listed_mended_and_received(gap: Gap) -> None:
    file = crossing(gap)
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    asked, mended = gap.root / "list", gap.root / "mended"
    with gap.turn(gap.site):
        said = run(gap.site, "verify", str(file), status=3)
        assert ", in 1 group: 1 damaged" in said
        assert "the bundle is damaged, in 1 of 1 group " in said
        assert "repair-request" in run(gap.site, "receive", str(file), status=3)
        for way in (file, gap.root / "sealift.yaml"):
            way.touch()
            before = way.read_bytes()
            said = run(gap.site, "repair-request", str(file), "-o", str(way), status=2)
            assert "that is no list of damaged files" in said
            assert way.read_bytes() == before
        run(gap.site, "repair-request", str(file), "-o", str(asked))
        run(gap.site, "repair-request", str(file), "-o", str(asked))
    with gap.turn(gap.builder):
        run(gap.builder, "bundle", "--repair", str(asked), "-o", str(mended))
        with LocalStore.open(gap.root / "made" / "store") as store:
            put(store, "private", {b"source": b"private"})
        more = json.loads(asked.read_text())
        more["files"][hashlib.sha256(b"private").hexdigest()] = len(b"private")
        other = gap.root / "other"
        other.write_text(json.dumps(more))
        said = run(gap.builder, "bundle", "--repair", str(other), "-o", "x", status=2)
        assert "the list has 1 file that bundle 1 has not" in said
        words = ("bundle", "--repair", str(asked), "-o", "x", "--number", "9")
        assert "--number does not go with --repair" in run(gap.builder, *words, status=2)
    with gap.turn(gap.site):
        assert "were taken in" in run(gap.site, "receive", str(mended), status=4)
    assert received(gap, file)["paths"] == 2
    with gap.turn(gap.site):
        run(gap.site, "store", "verify")
    assert "bundle 1 was received already" in gap.receive(mended)
    assert received(gap, mended)["event"] == "needless"


def test_replacements_are_for_this_site(gap: Gap) -> None:
    """Whatever the key that signed them: nothing is taken in of those for another."""
    file = crossing(gap)
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    asked, mended = gap.root / "list", gap.root / "mended"
    with gap.turn(gap.site):
        run(gap.site, "repair-request", str(file), "-o", str(asked))
    with gap.turn(gap.builder):
        run(gap.builder, "bundle", "--repair", str(asked), "-o", str(mended))
    settings = gap.site.root / "sealift.yaml"
    settings.write_text(settings.read_text().replace("hpc1", "hpc2"))
    with gap.turn(gap.site):
        run(gap.site, "receive", str(mended), status=6)
        assert not (gap.root / "made" / "store" / ".links").exists()


def test_what_is_in_order_needs_no_list(gap: Gap) -> None:
    file = crossing(gap)
    with gap.turn(gap.site):
        run(gap.site, "verify", str(file))
        assert "nothing is damaged" in run(gap.site, "repair-request", str(file), "-o", "list")
    assert not (gap.site.root / "list").exists()


@contextmanager
def waiting(gap: Gap, file: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Have a process that has decided on a bundle, and cannot go on before the block has ended."""
    lock = gap.root / "made" / "var" / "locks" / "received"
    with LocalStore.open(gap.root / "made" / "store") as store, alone(store):
        process = subprocess.Popen(
            [SEALIFT, "receive", str(file), *words],
            cwd=gap.site.root,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        while lock not in opened_by(process.pid):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def opened_by(process: int) -> set[Path]:
    found = set()
    for each in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(each.readlink())
    return found


def goes_on(process: subprocess.Popen[str], status: int) -> str:
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == status, said
    return said


def arrived(gap: Gap) -> tuple[list[int], str]:
    """Return the numbers that were written down, and what the current release holds."""
    made = gap.root / "made"
    log = numbers.load(made / "var", "hpc1").arrivals
    return [each.number for each in log], (made / "var/gcroots/release/app").read_text()


def test_an_older_one_that_was_let_in_before_a_newer_one_came_is_refused(gap: Gap) -> None:
    first, old, new = gap.bundle(3), gap.bundle(4), gap.bundle(5)
    gap.receive(first)
    with gap.turn(gap.site), waiting(gap, old) as process:
        run(gap.site, "receive", str(new))
        assert "[bundle-older]" in goes_on(process, 6)
        assert arrived(gap) == ([3, 5], "5")


def test_of_two_at_once_none_is_forgotten(gap: Gap) -> None:
    first, old, new = gap.bundle(3), gap.bundle(4), gap.bundle(5)
    gap.receive(first)
    with gap.turn(gap.site), waiting(gap, new) as process:
        run(gap.site, "receive", str(old))
        goes_on(process, 0)
        assert arrived(gap) == ([3, 4, 5], "5")


def test_what_a_key_signed_that_was_revoked_meanwhile_is_refused(gap: Gap) -> None:
    run(gap.builder, "key", "rotate", "--no-passphrase")
    gap.receive(gap.bundle(1), "--yes")
    late = gap.bundle(9)
    with gap.turn(gap.builder):
        run(gap.builder, "key", "rotate", "--finish", "--yes")
    last = gap.bundle(2)
    with gap.turn(gap.site), waiting(gap, late) as process:
        run(gap.site, "receive", str(last), "--yes")
        assert "revoked" in goes_on(process, 3)
        assert arrived(gap) == ([1, 2], "2")


def test_keys_that_changed_meanwhile_are_asked_about_again(gap: Gap) -> None:
    """The older bundle brings the key that the newer one, made before the rotation, does not."""
    late = gap.bundle(9)
    run(gap.builder, "key", "rotate", "--no-passphrase")
    first = gap.bundle(1)
    with gap.turn(gap.site), waiting(gap, late) as process:
        run(gap.site, "receive", str(first), "--yes")
        assert "meanwhile" in goes_on(process, 6)
        assert arrived(gap) == ([1], "1")


def test_it_is_said_what_came_and_who_signed_before_anything_is_asked(gap: Gap) -> None:
    run(gap.builder, "key", "rotate", "--no-passphrase")
    file = gap.bundle(1)
    with gap.turn(gap.site):
        said = gap.site.on_a_terminal("receive", str(file), input=b"n\n")
        assert said.count("bundle 1 for hpc1, made") == 1
        order = [said.index(each) for each in ("by release@builder", "new: ", "from now on?")]
        assert order == sorted(order)
        told = gap.site.run("receive", str(file), "--json", "--yes")
    assert "bundle 1 for hpc1, made" in told.stderr
    assert json.loads(told.stdout)["number"] == 1


def test_of_a_bundle_and_its_replacements_both_signers_are_told(gap: Gap) -> None:
    asked, mended, second = gap.root / "list", gap.root / "mended", gap.root / "second"
    keygen(second)
    for side in (gap.site, gap.builder):
        run(side, "key", "add", "second@builder", f"{second}.pub", "--yes")
    file = crossing(gap)
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    with gap.turn(gap.site):
        run(gap.site, "repair-request", str(file), "-o", str(asked))
    with gap.turn(gap.builder):
        words = ("--repair", str(asked), "-o", str(mended), "--sign-key", str(second))
        run(gap.builder, "bundle", *words)
    for files in ((file, mended), (mended, file)):
        with gap.turn(gap.site):
            done = gap.site.run("receive", "--yes", *map(str, files))
        lines = [line for line in done.stderr.splitlines() if ", made " in line]
        assert [line.split()[0] for line in lines] == ["replacements", "bundle"], done.stderr
        assert ["second@builder" in line for line in lines] == [True, False]
