"""What a head is asked before anything is done, and what speaks against a release."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import facts as head_facts
from deploy.facts import BadFactsError, Facts, ask, parse
from deploy.planning import Load
from deploy.ports import command
from deploy.preflight import (
    QUESTIONS,
    SKEW,
    Needs,
    examine,
    fresh,
    machines,
    refusals,
    secrets,
    target,
)
from deploy.profile import Generation, Status
from deploy.release import Release

if TYPE_CHECKING:
    from collections.abc import Sequence

STORE = "/opt/x/store"
RELEASE = Release(Path(f"{STORE}/new-release"), {}, {}, None, glibc={"python": "2.34"})
NEEDS = Needs(RELEASE, STORE, {4430: "portal"}, Load(3, 100_000_000, 500))
GOOD = Facts(
    skew=0.0,
    uid=0,
    machine="x86_64",
    system="Debian GNU/Linux 12 (bookworm)",
    glibc="2.36",
    flags=frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3", "avx2"}),
    systemd=252,
    disk=10_000_000_000,
    inodes=1_000_000,
    readonly=None,
    lacks=(),
    agent=False,
    settled=True,
    generations={3: f"{STORE}/old-release"},
    current=3,
    release=None,
    unfinished=None,
    holder=None,
    taken=(),
)


def refused(facts: Facts, needs: Needs = NEEDS) -> dict[str, str]:
    rows = examine("head1", facts, needs)
    return {row.question: row.refusal.reason for row in rows if row.refusal is not None}


def test_a_head_as_it_should_be_is_refused_nothing() -> None:
    assert refused(GOOD) == {}
    assert [row.question for row in examine("head1", GOOD, NEEDS)] == list(QUESTIONS)


@pytest.mark.parametrize(
    ("facts", "question", "reason"),
    [
        (replace(GOOD, systemd=None), "system", "systemd does not run"),
        (replace(GOOD, systemd=241), "system", "241"),
        (replace(GOOD, lacks=("tar",)), "system", "it has no tar"),
        (replace(GOOD, uid=1000), "login", "not run as root"),
        (replace(GOOD, glibc="2.31"), "glibc", "too old"),
        (replace(GOOD, glibc=None), "glibc", "cannot be told"),
        (replace(GOOD, machine="aarch64"), "processor", "aarch64"),
        (replace(GOOD, flags=frozenset({"ssse3"})), "processor", "popcnt"),
        (replace(GOOD, disk=150_000_000), "disk", "84 MB are missing"),
        (replace(GOOD, readonly="/opt"), "disk", "/opt cannot be written to"),
        (replace(GOOD, inodes=1500), "inodes", "500 inodes are missing"),
        (replace(GOOD, skew=SKEW + 5), "clock", "35 s ahead"),
        (replace(GOOD, skew=-SKEW - 5), "clock", "35 s behind"),
        (replace(GOOD, taken=((4430, "pid 7 httpd"),)), "ports", "4430 (portal) by pid 7 httpd"),
    ],
)
def test_what_speaks_against_it(facts: Facts, question: str, reason: str) -> None:
    found = refused(facts)
    assert list(found) == [question]
    assert reason in found[question]


def test_every_refusal_says_what_to_do() -> None:
    bad = replace(GOOD, uid=1, machine="arm", disk=0, inodes=0, skew=99, holder="x", systemd=None)
    found = refusals(examine("head1", bad, NEEDS))
    assert len(found) == 6
    assert all(each.hint for each in found)


def test_a_push_leaves_some_of_the_disk_free() -> None:
    small = replace(NEEDS, load=Load(1, 500_000, 3))
    (reason,) = refused(replace(GOOD, disk=20_000_000), small).values()
    assert reason == "15 MB are missing"
    (row,) = examine("head1", replace(GOOD, disk=20_000_000), small, ["disk"])
    assert row.answer == "20 MB free, 35 MB needed"
    assert row.refusal is not None
    assert row.refusal.hint.endswith("sealift gc --keep 2 --host head1")


def test_two_names_of_one_machine() -> None:
    assert machines({"head1": "a 1", "head2": "b 1", "head3": ""}) == {}
    assert machines({"head1": "", "head2": ""}) == {}
    found = machines({"head1": "a 1", "head2": "b 1", "head3": "b 1"})
    assert {name: row.answer for name, (row,) in found.items()} == {
        "head1": "its own",
        "head2": "that of head3",
        "head3": "that of head2",
    }
    assert [each.reason for name in found for each in refusals(found[name])] == [
        "it is the same machine as head3",
        "it is the same machine as head2",
    ]


def test_a_machine_is_known_by_two_numbers() -> None:
    done = subprocess.run(
        ["sh", "-s", "--", *ask("/opt/x/store", "/opt/x/var", "", [])],
        input=head_facts.SCRIPT.encode(),
        capture_output=True,
        check=True,
    )
    text = done.stdout.decode()
    (line,) = (each for each in text.splitlines() if each.startswith("identity "))
    now = time.time()
    words = line.split()[1:]
    assert parse(text, began=now, ended=now).identity == (" ".join(words) if words[1:] else "")
    # A container has no machine id before its first boot; then nothing can be told.
    alone = text.replace(line, "identity 52d4bc6e-8ff5-4d36-b0d5-3a9c2d1e0f00")
    assert parse(alone, began=now, ended=now).identity == ""
    both = text.replace(line, "identity 11 52d4")
    assert parse(both, began=now, ended=now).identity == "11 52d4"


def test_what_is_no_refusal() -> None:
    assert refused(replace(GOOD, skew=5.0)) == {}
    assert refused(replace(GOOD, inodes=None)) == {}
    assert refused(replace(GOOD, unfinished={"stage": "switched"})) == {}
    held = replace(GOOD, holder="alice@transfer, deploy")
    assert refused(held) == {}
    rows = {row.question: row.answer for row in examine("head1", held, NEEDS)}
    assert "alice@transfer" in rows["lock"]
    assert refused(replace(GOOD, current=None, generations={})) == {}


def test_a_secret_that_nobody_has_is_refused() -> None:
    there = replace(GOOD, sealed={"A": hashlib.sha256(b"a").hexdigest()})
    coming = {"B": b"b"}
    assert secrets(there, {"A", "B"}, coming).refusal is None
    row = secrets(there, {"A", "B", "C"}, coming)
    assert row.refusal is not None
    assert row.refusal.reason == "neither the head nor the vault has C"
    assert row.refusal.hint == "sealift secret generate, or sealift secret set C"
    assert secrets(replace(there, unfinished={"stage": "x"}), {"C"}, {}).refusal is None


def test_a_secret_that_was_sealed_anew_is_known() -> None:
    there = replace(GOOD, sealed={"A": hashlib.sha256(b"a").hexdigest()})
    assert fresh(there, {"A": b"a", "B": b"b"}) == ("B",)
    assert fresh(there, {"A": b"another"}) == ("A",)


def made(number: int, status: Status = Status.GOOD, before: int | None = None) -> Generation:
    return Generation(number, Path(f"{STORE}/{number}-release"), 0.0, status, "", before=before)


def test_where_a_rollback_leads() -> None:
    every = (made(1), made(2, Status.FAILED), made(3, before=1), made(4, Status.UNKNOWN))
    there = replace(GOOD, current=3, made=every)
    found, row = target("head1", there, None)
    assert found == every[0]
    assert row.refusal is None
    assert target("head1", there, 4)[1].refusal is None
    for number, reason in ((2, "generation 2 was never healthy"), (9, "there is no generation 9")):
        refusal = target("head1", there, number)[1].refusal
        assert refusal is not None
        assert refusal.reason.startswith(reason)
        assert "--host head1" in refusal.hint
    assert target("head1", replace(there, current=1), None)[0] is None


def answer(args: Sequence[str], **more: str) -> Facts:
    """Ask this machine."""
    began = time.time()
    done = subprocess.run(
        ["sh", "-s", "--", *args],
        input=head_facts.SCRIPT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", **more},
    )
    return parse(done.stdout, began=began, ended=time.time())


def test_a_machine_without_anything(tmp_path: Path) -> None:
    store = tmp_path / "nothing" / "store"
    found = answer(ask(str(store), str(store.parent / "var"), "", [1]))
    assert found.machine
    assert found.disk > 0
    assert abs(found.skew) < 1
    assert (found.current, found.generations, found.release) == (None, {}, None)
    assert not found.agent
    assert not found.settled
    assert found.unfinished is None
    assert found.holder is None


def test_a_head_with_generations_in_the_midst_of_a_change(tmp_path: Path) -> None:
    """With blanks in its paths, which a shell would split."""
    var = tmp_path / "a var"
    profiles, head = var / "profiles", var / "head"
    for folder in (profiles, head, tmp_path / "rel"):
        folder.mkdir(parents=True)
    (tmp_path / "rel" / "release.json").write_text('{\n  "format": 1\n}\n')
    for number in (1, 12):
        (profiles / f"system-{number}-link").symlink_to(tmp_path / "rel")
    (profiles / "system").symlink_to("system-12-link")
    (head / "generations").mkdir()
    record = {"status": "failed", "created": 1.0, "by": "bob", "before": 12}
    (head / "generations" / "1.json").write_text(json.dumps(record, indent=2))
    (head / "secrets.age" / "x").mkdir(parents=True)
    (head / "secrets.age" / "x" / "KEY.age").write_bytes(b"sealed")
    (head / "secrets.age" / "current").symlink_to("x")
    (head / "journal.json").write_text('{"stage": "switched", "by": "bob"}\n')
    found = answer(ask(str(tmp_path), str(var), "/bin/sh", []))
    assert found.agent
    assert found.current == 12
    assert found.generations == {1: str(tmp_path / "rel"), 12: str(tmp_path / "rel")}
    assert found.path == str(tmp_path / "rel")
    assert found.release == '{   "format": 1 }'
    assert found.unfinished == {"stage": "switched", "by": "bob"}
    assert found.sealed == {"KEY": hashlib.sha256(b"sealed").hexdigest()}
    assert [(each.number, each.status, each.before) for each in found.made] == [
        (1, Status.FAILED, 12),
        (12, Status.UNKNOWN, None),
    ]


def test_who_holds_the_lock_is_seen_and_the_lock_is_not_touched(tmp_path: Path) -> None:
    head = tmp_path / "var" / "head"
    head.mkdir(parents=True)
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from deploy.lock import HeadLock\n"
        "with HeadLock(Path(sys.argv[1])).hold('alice@transfer', 'deploy'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    here = str(Path(__file__).parents[2])
    argv = [sys.executable, "-c", code, str(head / "lock"), here]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        found = answer(ask(str(tmp_path), str(tmp_path / "var"), "", []))
        holder.communicate()
    assert found.holder == "alice@transfer, deploy"
    assert answer(ask(str(tmp_path), str(tmp_path / "var"), "", [])).holder is None


def test_a_lock_of_another_kind_or_file_is_none(tmp_path: Path) -> None:
    """A POSIX lock does not keep a change out; an inode's number comes back on other devices."""
    head = tmp_path / "var" / "head"
    head.mkdir(parents=True)
    with (head / "lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert answer(ask(str(tmp_path), str(tmp_path / "var"), "", [])).holder is None
    table = tmp_path / "locks"
    inode = (head / "lock").stat().st_ino
    table.write_text(f"1: FLOCK  ADVISORY  WRITE 1 ffe:ffe:{inode} 0 EOF\n")
    told = head_facts.SCRIPT.replace("/proc/locks", str(table))
    done = subprocess.run(
        ["sh", "-s", "--", *ask(str(tmp_path), str(tmp_path / "var"), "", [])],
        input=told,
        capture_output=True,
        text=True,
        check=True,
    )
    assert parse(done.stdout, began=0, ended=0).holder is None


def test_a_port_that_a_stranger_listens_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = answer(ask(str(tmp_path), str(tmp_path), "", [port, 1]))
    assert [each[0] for each in found.taken] == [port]
    assert " ".join(command(os.getpid()).split()) in found.taken[0][1]
    assert not answer(ask(str(tmp_path), str(tmp_path), "", [port, 1])).taken


@pytest.mark.parametrize("text", ["", "bash: not found\n", "clock 1\nuid 0\n", "end here\n"])
def test_an_answer_that_is_not_whole_is_none(text: str) -> None:
    with pytest.raises(BadFactsError):
        parse(text, began=0, ended=1)


@pytest.mark.parametrize(("there", "skew"), [(99.0, -1.0), (100.5, 0.0), (105.0, 4.0)])
def test_the_clock_is_only_as_wrong_as_is_certain(there: float, skew: float) -> None:
    text = (
        f"clock {there}\nuid 0\nmachine x86_64\ndisk d 9 1 8 1% /\ninodes d 9 1 8 1% /\nend here\n"
    )
    assert parse(text, began=100.0, ended=101.0).skew == skew
