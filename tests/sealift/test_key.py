"""`sealift key …` as an operator types it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from deploy import signing
from deploy.signing import Policy
from tests.deploy.sshd import keygen
from tests.sealift.conftest import SEALIFT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sealift.conftest import Folder

INIT = ("key", "init", "--identity", "release@builder", "--no-passphrase")


def good(folder: Folder, *words: str) -> str:
    done = folder.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder: Folder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good(folder, "key", "list", "--json").splitlines()]


def policy(folder: Folder) -> Policy:
    return Policy(folder.root / "allowed_signers", folder.root / "revoked_keys")


def signed_by(folder: Folder, key: Path) -> str:
    signature = signing.sign(b"x", key, namespace=signing.RELEASE)
    return signing.verify(b"x", [signature], policy(folder))[0].identity


def test_a_first_key(folder: Folder) -> None:
    line = good(folder, *INIT).strip()
    assert (folder.root / "allowed_signers").read_text().splitlines()[1:] == [line]
    assert signed_by(folder, folder.root / "keys" / "signing") == "release@builder"
    (row,) = rows(folder)
    assert (row["identity"], row["state"], row["signs"]) == ("release@builder", "good", "now")
    assert good(folder, "key", "list").endswith("  for sealift-release  (signs here)\n")
    again = folder.run(*INIT)
    assert again.returncode == 2
    assert "sealift key rotate" in again.stderr


def test_nobody_yet(folder: Folder) -> None:
    done = folder.run("key", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "sealift key init" in done.stderr


def test_a_list_of_revoked_keys_that_is_gone(site: Folder) -> None:
    (site.root / "revoked_keys").unlink()
    done = site.run("key", "list")
    assert done.returncode == 2
    assert "an empty file will do" in done.stderr


def test_what_the_settings_name(folder: Folder) -> None:
    with (folder.root / "sealift.yaml").open("a") as file:
        file.write("signing: {key: my/key, identity: me@here, signers: a/s, revoked: b/r}\n")
    good(folder, "key", "init", "--no-passphrase", "--for", "receipt", "--for", "proof")
    assert (folder.root / "my" / "key.pub").exists()
    assert (
        'me@here namespaces="sealift-receipt,sealift-proof"'
        in (folder.root / "a" / "s").read_text()
    )
    assert (folder.root / "b" / "r").exists()


@pytest.fixture
def site(folder: Folder) -> Folder:
    good(folder, *INIT)
    return folder


class TestAdd:
    def test_somebody_confirms(self, site: Folder) -> None:
        public = keygen(site.root / "hpc1").with_suffix(".pub")
        words = ("key", "add", "hpc1", str(public), "--for", "receipt", "--until", "2099-12-31")
        refused = site.run(*words)
        assert refused.returncode == 2
        assert "--yes" in refused.stderr
        shown = site.on_a_terminal(*words, input=b"n\n")
        assert signing.public(public).fingerprint in shown
        assert len(rows(site)) == 1
        site.on_a_terminal(*words, input=b"y\n")
        row = rows(site)[1]
        assert row["for"] == ["sealift-receipt"]
        assert (row["from"], row["until"]) == (None, "2100-01-01T00:00:00+00:00")
        told = good(site, "key", "list").splitlines()[1]
        assert told.endswith("for sealift-receipt until 2100-01-01 00:00 UTC")

    def test_a_shorter_time_takes_the_place_of_a_longer_one(self, site: Folder) -> None:
        public = keygen(site.root / "hpc1").with_suffix(".pub")
        words = ("key", "add", "hpc1", str(public), "--yes", "--for", "receipt")
        good(site, *words)
        done = site.run(*words, "--until", "2099-12-31")
        assert "replaced  hpc1 for sealift-receipt\n" in done.stderr
        assert [row["until"] for row in rows(site)] == [None, "2100-01-01T00:00:00+00:00"]
        good(site, *words, "--for", "proof")
        assert rows(site)[1]["for"] == ["sealift-receipt", "sealift-proof"]
        wider = site.run(*words, "--until", "2098-12-31")
        assert wider.returncode == 2
        assert "may sign for sealift-receipt, sealift-proof with this key already" in wider.stderr
        good(site, *words[:5])
        assert len(rows(site)) == 3

    def test_a_day_that_is_over(self, site: Folder) -> None:
        public = keygen(site.root / "hpc1").with_suffix(".pub")
        done = site.run("key", "add", "hpc1", str(public), "--yes", "--until", "2020-01-01")
        assert done.returncode == 2
        assert "that day is over" in done.stderr
        assert len(rows(site)) == 1

    def test_by_its_fingerprint(self, site: Folder) -> None:
        public = keygen(site.root / "hpc1").with_suffix(".pub")
        other = rows(site)[0]["key"]
        words = ("key", "add", "hpc1", str(public), "--fingerprint")
        refused = site.run(*words, other)
        assert refused.returncode == 2
        assert "another key" in refused.stderr
        good(site, *words, signing.public(public).fingerprint)
        assert len(rows(site)) == 2

    def test_a_private_key_is_not_added(self, site: Folder) -> None:
        done = site.run("key", "add", "hpc1", str(keygen(site.root / "hpc1")), "--yes")
        assert done.returncode == 2
        assert "hpc1.pub" in done.stderr


class TestRevoke:
    def test_it_is_warned_of(self, site: Folder) -> None:
        done = site.run("key", "revoke", "release@builder", "--reason", "lost", "--yes")
        assert done.returncode == 0
        assert "0 may sign releases now" in done.stderr
        (row,) = rows(site)
        assert row["state"] == "revoked"
        assert row["note"].endswith(": lost")
        with pytest.raises(signing.SignatureError):
            signed_by(site, site.root / "keys" / "signing")

    def test_somebody_confirms(self, site: Folder) -> None:
        assert site.run("key", "revoke", "release@builder").returncode == 2
        site.on_a_terminal("key", "revoke", "release@builder", input=b"n\n")
        assert rows(site)[0]["state"] == "good"

    def test_a_reason_is_one_line(self, site: Folder) -> None:
        done = site.run("key", "revoke", "release@builder", "--yes", "--reason", "a\nssh-rsa x")
        assert done.returncode == 2
        assert rows(site)[0]["state"] == "good"


def test_rotation(site: Folder) -> None:
    key = site.root / "keys" / "signing"
    old = signing.public(key)
    done = site.run("key", "rotate", "--no-passphrase")
    assert done.returncode == 0, done.stderr
    assert "--finish" in done.stderr
    assert [row["signs"] for row in rows(site)] == ["now", "next"]
    assert signed_by(site, key) == signed_by(site, key.with_name("signing.next"))
    good(site, "key", "rotate", "--no-passphrase")
    assert len(rows(site)) == 2
    assert "key-untold" in site.run("key", "rotate", "--finish", "--yes").stderr
    good(site, "key", "rotate", "--finish", "--without-bundle", "--yes")
    assert [row["state"] for row in rows(site)] == ["good", "revoked"]
    assert signing.public(key) != old
    assert signed_by(site, key) == "release@builder"


def test_a_passphrase_is_asked_for_on_the_terminal(folder: Folder) -> None:
    """By ssh-keygen itself, twice; the key cannot be used without."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder.root)
        os.execv(SEALIFT, [str(SEALIFT), *INIT[:-1]])  # noqa: S606 - there is no shell
    said = b""
    while said.count(b"passphrase") < 2:
        said += os.read(terminal, 4096)
        if said.endswith((b": ",)):
            os.write(terminal, b"correct horse\n")
    try:
        while chunk := os.read(terminal, 4096):
            said += chunk
            if chunk.endswith(b": "):
                os.write(terminal, b"correct horse\n")
    except OSError:  # how a terminal says that nobody is left to write to it
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    argv = ["ssh-keygen", "-y", "-f", str(folder.root / "keys" / "signing"), "-P"]
    assert subprocess.run([*argv, ""], capture_output=True, check=False).returncode != 0
    assert (
        subprocess.run([*argv, "correct horse"], capture_output=True, check=False).returncode == 0
    )
