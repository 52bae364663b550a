"""`sealift secret`: what it writes, what it says, and what it never shows."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from deploy import seal
from sealift.site import Location
from tests.deploy.age_keys import Pair, age_key, ssh_key

if TYPE_CHECKING:
    from pathlib import Path

VALUE = "correct horse battery staple"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("keys")
    heads = {name: ssh_key(folder, name) for name in ("head1", "head2", "head3")}
    return {**heads, "recovery": age_key(folder, "recovery")}


@dataclass(frozen=True)
class Bench:
    """A site's folder with an inventory and pinned keys."""

    folder: Path
    keys: dict[str, Pair]

    def site(self, *heads: str, recovery: bool = False) -> None:
        lines = ["recipes: recipes", "hosts:"]
        lines += [f"  {name}: {{address: 10.9.8.{name[-1]}}}" for name in heads]
        if recovery:
            lines.append(f"recovery: [{self.keys['recovery'].public}]")
        (self.folder / "sealift.yaml").write_text("\n".join(lines) + "\n")
        (self.folder / "recipes").mkdir(exist_ok=True)
        self.pin(*heads)

    def pin(self, *heads: str) -> None:
        lines = [f"10.9.8.{name[-1]} {self.keys[name].public}\n" for name in heads]
        (self.folder / "known_hosts").write_text("".join(lines))

    def run(
        self, *words: str, text: str = "", code: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "sealift", "secret", *words],
            cwd=self.folder,
            env={**os.environ, **env},
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    def read(self, name: str, key: str = "head1") -> bytes:
        sealed = (self.folder / "secrets" / f"{name}.age").read_bytes()
        return seal.unseal(name, sealed, seal.load_identities([self.keys[key].file]))

    def list(self) -> dict[str, dict[str, object]]:
        rows = [json.loads(line) for line in self.run("list", "--json").stdout.splitlines()]
        return {row["name"]: row for row in rows}


@pytest.fixture
def bench(tmp_path: Path, keys: dict[str, Pair]) -> Bench:
    made = Bench(tmp_path, keys)
    made.site("head1", "head2")
    return made


def test_a_value_comes_from_standard_input(bench: Bench) -> None:
    done = bench.run("set", "DB", text=f"{VALUE}\n")
    assert bench.read("DB", "head2") == VALUE.encode()
    assert "head[1-2]" in done.stderr
    assert VALUE not in done.stdout + done.stderr


def test_only_the_end_of_a_single_line_is_taken_off(bench: Bench) -> None:
    for text, kept in (("a\n\n", "a\n\n"), ("a\nb\n", "a\nb\n"), ("a\r\n", "a"), (" a ", " a ")):
        bench.run("set", "DB", text=text)
        assert bench.read("DB") == kept.encode()


def test_a_file_is_taken_byte_for_byte(bench: Bench) -> None:
    (bench.folder / "key").write_bytes(b"\x00\xff\n")
    bench.run("set", "DB", "--file", "key")
    assert bench.read("DB") == b"\x00\xff\n"
    bench.run("set", "DB", "--file", "-", text="from the pipe")
    assert bench.read("DB") == b"from the pipe"


def test_an_editor_writes_in_memory_and_leaves_nothing(bench: Bench) -> None:
    editor = bench.folder / "editor"
    editor.write_text(
        '#!/bin/sh\nprintf "%s" "$1" > where\nstat -f -c %T "$1" > kind\necho hello > "$1"\n'
    )
    editor.chmod(0o755)
    bench.run("set", "DB", "--edit", VISUAL="", EDITOR=str(editor))
    assert bench.read("DB") == b"hello"
    assert (bench.folder / "kind").read_text() in ("tmpfs\n", "ramfs\n")
    assert not os.path.lexists((bench.folder / "where").read_text())
    done = bench.run("set", "DB", "--edit", code=2, VISUAL="false")
    assert "nothing was sealed" in done.stderr
    assert bench.read("DB") == b"hello"


def test_a_terminal_is_asked_without_echo(bench: Bench) -> None:
    leader, follower = pty.openpty()
    # In a session of its own, with this terminal, so that the question finds no other.
    command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "sealift", "secret", "set", "DB"]
    process = subprocess.Popen(
        command, cwd=bench.folder, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = b""
    for prompt in (b"DB: ", b"confirmation: "):
        # What is typed before the question is thrown away.
        while not shown.endswith(prompt):
            shown += os.read(leader, 1024)
        os.write(leader, VALUE.encode() + b"\n")
    with suppress(OSError):
        while more := os.read(leader, 1024):
            shown += more
    assert process.wait(20) == 0
    os.close(leader)
    assert bench.read("DB") == VALUE.encode()
    assert VALUE.encode() not in shown


def test_an_empty_value_and_a_bad_name_are_refused(bench: Bench) -> None:
    assert "bad-secret" in bench.run("set", "DB", text="\n", code=2).stderr
    assert "bad-secret" in bench.run("set", "../DB", text="x", code=2).stderr
    assert not (bench.folder / "secrets").exists()


def test_a_value_is_no_argument(bench: Bench) -> None:
    bench.run("set", "DB", VALUE, code=2)


def test_a_list_shows_who_reads_and_no_value(bench: Bench) -> None:
    bench.run("set", "DB", text=VALUE)
    bench.site("head1", "head2", "head3", recovery=True)
    bench.run("set", "NEW", text=VALUE)
    rows = bench.list()
    assert rows["DB"]["hosts"] == ["head1", "head2"]
    assert rows["DB"]["lacking"] == ["head3"]
    assert rows["DB"]["recovery"] is False
    assert rows["NEW"]["hosts"] == ["head1", "head2", "head3"]
    assert rows["NEW"]["recovery"] is True
    assert "fault" not in rows["NEW"]
    done = bench.run("list")
    assert VALUE not in done.stdout
    assert "rekey DB" in done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["DB", "head[1-2]"],
        ["NEW", "head[1-3]", "+recovery"],
    ]


def test_a_host_without_a_pinned_key_stops_sealing_and_not_listing(bench: Bench) -> None:
    bench.run("set", "DB", text=VALUE)
    bench.pin("head1")
    done = bench.run("set", "DB", text="other", code=2)
    assert "sealift trust head2" in done.stderr
    assert bench.read("DB") == VALUE.encode()
    assert bench.list()["DB"]["hosts"] == ["head1"]


def test_hosts_that_are_not_reached_by_ssh_are_no_readers(bench: Bench) -> None:
    (bench.folder / "sealift.yaml").write_text("recipes: recipes\nhosts: {local: {}}\n")
    done = bench.run("set", "DB", text="x", code=2)
    assert "no-recipient" in done.stderr


def test_rekey_needs_a_private_key_and_says_so(bench: Bench) -> None:
    bench.site("head1", "head2", recovery=True)
    bench.run("set", "DB", text=VALUE)
    bench.run("set", "API", text=VALUE)
    assert "just the right hosts" in bench.run("rekey").stderr
    bench.site("head2", "head3", recovery=True)
    done = bench.run("rekey", code=2)
    assert "API, DB" in done.stderr
    assert "--identity" in done.stderr
    bench.run("rekey", "--identity", str(bench.keys["head3"].file), code=6)
    bench.run("rekey", "DB", "--identity", str(bench.keys["recovery"].file))
    assert bench.read("DB", "head3") == VALUE.encode()
    bench.run("rekey", "--identity", str(bench.keys["head1"].file))
    assert bench.read("API", "head3") == VALUE.encode()
    rows = bench.list()
    assert {row["strangers"] for row in rows.values()} == {0}


def test_removing_asks(bench: Bench) -> None:
    bench.run("set", "DB", text=VALUE)
    assert "--yes" in bench.run("rm", "DB", code=2).stderr
    bench.run("rm", "DB", "--yes")
    assert bench.list() == {}
    assert "secret-missing" in bench.run("rm", "DB", "--yes", code=6).stderr


def test_generate_makes_a_named_value_once(bench: Bench) -> None:
    done = bench.run("generate", "DB")
    value = bench.read("DB")
    assert len(value) >= 43
    assert value.decode() not in done.stdout + done.stderr
    bench.run("generate", "DB", code=2)
    assert bench.read("DB") == value
    bench.run("generate", "DB", "--replace")
    assert bench.read("DB") != value


def test_generate_makes_nothing_for_what_is_no_name(bench: Bench) -> None:
    done = bench.run("generate", "DB", "--also", "portal.example.org", "--also", "bad name", code=2)
    assert "no certificate can name 'bad name'" in done.stderr
    assert not (bench.folder / "secrets").exists()


def test_generate_wants_a_release_to_know_what_is_missing(bench: Bench) -> None:
    assert "no release was built" in bench.run("generate", code=2).stderr
    assert "no release was built" in bench.run("generate", "--all", code=2).stderr


def test_a_damaged_file_is_told_of_and_the_rest_is_listed(bench: Bench) -> None:
    bench.run("set", "DB", text=VALUE)
    (bench.folder / "secrets" / "TORN.age").write_text("hunter2")
    rows = bench.list()
    assert rows["DB"]["present"]
    assert "no age file" in str(rows["TORN"]["fault"])


@pytest.mark.parametrize("key", ["hunter2", "age1short", "ssh-dss AAAA", "AGE-SECRET-KEY-1QQ"])
def test_a_recovery_key_is_a_public_key(bench: Bench, key: str) -> None:
    text = (bench.folder / "sealift.yaml").read_text()
    (bench.folder / "sealift.yaml").write_text(f"{text}recovery: ['{key}']\n")
    done = bench.run("list", code=2)
    assert "this is no public key" in done.stderr


def test_what_phases_need_is_listed_and_made(bench: Bench) -> None:
    bench.site("head1")
    place = "/opt/sealift/store/00000000000000000000000000000000-phase-slurm-head1"
    slurm = {
        "number": 4,
        "hosts": {"head1": place},
        "secrets": {"MUNGE_KEY": "bytes", "DB_PASSWORD": "password"},
    }
    said = {"format": 1, "services": {}, "frontends": {}, "phases": {"slurm": slurm}}
    with Location(config=bench.folder / "sealift.yaml").open() as site:
        with site.store.session(), site.store.temporary() as folder:
            (folder / "tree").mkdir()
            (folder / "tree" / "release.json").write_text(json.dumps(said))
            release = site.store.add(folder / "tree", "release").path
        site.store.add_root("release", release)
    listed = [json.loads(line) for line in bench.run("list", "--json").stdout.splitlines()]
    assert [(row["name"], row["used_by"]) for row in listed] == [
        ("DB_PASSWORD", ["phase slurm"]),
        ("MUNGE_KEY", ["phase slurm"]),
    ]
    bench.run("generate", "--all")
    assert len(bench.read("MUNGE_KEY")) == 1024
    assert bench.read("DB_PASSWORD").isascii()
    assert "nothing is missing" in bench.run("generate", "--all").stderr
