"""The audit log: who did what from where, and what became of it; also of what was killed."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.activate import deploy, prune, rollback, stop
from deploy.audit import BEGUN, BY, DONE, Audit, source
from deploy.errors import DeployFailedError, HeadLockedError, NoGenerationError

if TYPE_CHECKING:
    from tests.deploy.synthetic import Site, Tiny

REPOSITORY = Path(__file__).parents[2]


def results(site: Site) -> list[tuple[str, str, str]]:
    return [(each.who, each.action, each.result) for each in site.head().audit.entries()]


def test_every_change_is_noted_before_and_after(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, _ = pair
    head = site.head()
    first = site.release(alpha)
    deploy(head, first, by="anna")
    with pytest.raises(DeployFailedError):
        deploy(head, site.release(alpha.at("2.0", "error")), by="bert")
    with pytest.raises(NoGenerationError):
        rollback(head, 7, by="carl")
    with head.lock.hold("dora", "test"), pytest.raises(HeadLockedError):
        stop(head, by="emil")
    stop(head, by="emil")
    assert results(site) == [
        ("anna", "deploy", BEGUN),
        ("anna", "deploy", DONE),
        ("bert", "deploy", BEGUN),
        ("bert", "deploy", "rolled-back"),
        ("carl", "rollback", BEGUN),
        ("carl", "rollback", "no-generation"),
        ("emil", "stop", BEGUN),
        ("emil", "stop", "head-locked"),
        ("emil", "stop", BEGUN),
        ("emil", "stop", DONE),
    ]
    assert head.audit.entries()[0].what == str(first)


def test_another_machine_says_whose_order_it_is(
    site: Site, pair: tuple[Tiny, Tiny], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = site.head()
    deploy(head, site.release(pair[0]))
    monkeypatch.setenv(BY, "alice@transfer")
    stop(head)
    prune(head, 5)
    monkeypatch.setenv(BY, "mallory\n")
    stop(head)
    stop(head, by="carl")
    own = f"{getpass.getuser()}@{socket.gethostname()}"
    found = [(who, action) for who, action, result in results(site) if result == DONE]
    alice = "alice@transfer"
    assert found == [
        (own, "deploy"),
        (alice, "stop"),
        (alice, "gc"),
        (own, "stop"),
        ("carl", "stop"),
    ]


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    audit.note("anna", "deploy", "x", DONE)
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b'{"who": "be\n')
    audit.note("carl", "deploy", "y", DONE)
    assert [each.who for each in audit.entries()] == ["anna", "carl"]


def test_a_log_is_for_its_owner_and_only_grows(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = Audit(file)
    audit.note("anna", "deploy", "x\ny", DONE)
    before = file.read_bytes()
    audit.note("bert", "deploy", "z", DONE)
    assert file.read_bytes().startswith(before)
    assert file.stat().st_mode & 0o077 == 0
    assert audit.entries()[0].what == "x\ny"


def asked_by(*command: str, **environment: str) -> str:
    """Run a program that tells where it was ordered from, below `command`."""
    ask = "from deploy.audit import source; print(source())"
    plain = {key: value for key, value in os.environ.items() if key != "SSH_CONNECTION"}
    done = subprocess.run(
        [*command, sys.executable, "-c", ask],
        env={**plain, **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_address_is_found_where_sudo_has_taken_it_away() -> None:
    told = "192.0.2.7 50000 192.0.2.1 22"
    assert asked_by(SSH_CONNECTION=told) == "192.0.2.7"
    below = ("sh", "-c", 'env -u SSH_CONNECTION "$@"; true', "sh")
    assert asked_by(*below, SSH_CONNECTION=told) == "192.0.2.7"


def test_a_change_at_the_machine_itself_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    if not os.environ.get("SSH_CLIENT"):
        assert source() == ""
