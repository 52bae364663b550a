"""`sealift secret rekey` by way of heads: real SSH servers, and an agent that has their keys."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import seal
from deploy.known_hosts import pin, spell
from tests.deploy.sshd import USER, Server, needs_sshd, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_sshd
VALUE = "correct horse battery staple"
ROOT = Path(__file__).resolve().parents[2]
AGENT = """\
#!/bin/sh
cd {root} && exec {python} -c '
import os, pathlib, sys
from deploy import secrets_head
from sealift.__main__ import main
secrets_head.HOST_KEYS = pathlib.Path(os.environ["HEAD_KEYS"])
sys.exit(main())
' "$@"
"""


@contextmanager
def head(folder: Path, name: str) -> Iterator[Server]:
    """Run a server whose sessions know where its host keys are."""
    keys = folder / f"{name}-keys"
    keys.mkdir()
    (keys / "ssh_host_ed25519_key").symlink_to(folder / name / "host")
    with serve(folder / name, SetEnv=f"HEAD_KEYS={keys}") as server:
        yield server


@dataclass(frozen=True)
class Bench:
    """A site of two heads with one store directory, which is this machine's for both."""

    folder: Path
    heads: dict[str, Server]

    def site(self, *names: str) -> None:
        lines = ["recipes: recipes", f"store_dir: {self.folder}/opt/store", "hosts:"]
        for name in names:
            server = self.heads[name]
            key = server.folder / "user"
            said = f"user: {USER}, port: {server.port}, key: {key}, sudo: never"
            lines.append(f"  {name}: {{address: 127.0.0.1, {said}}}")
            pin(self.folder / "known_hosts", spell("127.0.0.1", server.port), [server.key])
        (self.folder / "sealift.yaml").write_text("\n".join(lines) + "\n")
        (self.folder / "recipes").mkdir(exist_ok=True)

    def agent(self) -> None:
        file = self.folder / "opt" / "var" / "profiles" / "system" / "bin" / "sealift"
        file.parent.mkdir(parents=True)
        file.write_text(AGENT.format(root=ROOT, python=sys.executable))
        file.chmod(0o755)

    def run(self, *words: str, text: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "sealift", "secret", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    def read(self, name: str, head: str) -> bytes:
        sealed = (self.folder / "secrets" / f"{name}.age").read_bytes()
        keys = seal.load_identities([self.heads[head].folder / "host"])
        return seal.unseal(name, sealed, keys)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with head(tmp_path, "head1") as one, head(tmp_path, "head2") as two:
        yield Bench(tmp_path, {"head1": one, "head2": two})


def test_a_head_that_reads_them_seals_them_for_a_new_one(bench: Bench) -> None:
    bench.agent()
    bench.site("head1")
    bench.run("set", "DB", text=VALUE)
    bench.run("set", "API", text=VALUE)
    bench.site("head1", "head2")
    done = bench.run("rekey")
    assert VALUE not in done.stdout + done.stderr
    for name in ("DB", "API"):
        for one in ("head1", "head2"):
            assert bench.read(name, one) == VALUE.encode()
    assert "just the right hosts" in bench.run("rekey").stderr


def test_a_head_that_cannot_read_them_is_not_asked(bench: Bench) -> None:
    bench.agent()
    bench.site("head1")
    bench.run("set", "DB", text=VALUE)
    before = (bench.folder / "secrets" / "DB.age").read_bytes()
    bench.site("head1", "head2")
    done = bench.run("rekey", "--through", "head2", code=2)
    assert "can read DB" in done.stderr
    assert "--identity" in done.stderr
    assert (bench.folder / "secrets" / "DB.age").read_bytes() == before
    bench.run("rekey", "--through", "head1")
    assert bench.read("DB", "head2") == VALUE.encode()


def test_a_head_on_which_nothing_is_deployed_says_so(bench: Bench) -> None:
    bench.site("head1")
    bench.run("set", "DB", text=VALUE)
    bench.site("head1", "head2")
    done = bench.run("rekey", code=2)
    assert "head1 has no agent" in done.stderr
    assert bench.read("DB", "head1") == VALUE.encode()


def test_what_the_agent_refuses_is_told_and_the_vault_stays(bench: Bench) -> None:
    bench.agent()
    bench.site("head1")
    bench.run("set", "DB", text=VALUE)
    bench.site("head1", "head2")
    (bench.folder / "head1-keys" / "ssh_host_ed25519_key").unlink()
    done = bench.run("rekey", code=2)
    assert "head1: there is no private key here" in done.stderr
    assert bench.read("DB", "head1") == VALUE.encode()
