"""`sealift receipt`: written at the transfer host, read at the builder, and what is refused."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders.settings import load_settings
from deploy import facts, holding
from deploy.errors import HeadLostError, OtherSiteError
from deploy.host import Host
from deploy.known_hosts import pin, spell
from deploy.place import Place
from deploy.receipt_json import record
from deploy.remote import RemoteHead
from deploy.signing import SignatureError
from sealift import held, receipts
from store.local import LocalStore
from tests.deploy.sshd import USER, needs_sshd, serve
from tests.sealift.conftest import SEALIFT
from tests.sealift.test_capture import REDUCED, STATUS
from tests.store.trees import lay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from deploy.dialogue import Channel
    from deploy.link import Data
    from deploy.receipt import Receipt
    from store.path import StorePath
    from tests.sealift.conftest import Folder

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
SITE = "site: hpc1\nstore_dir: store\nstate_dir: state\nsources: sources\n"


def key(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", file.name, "-f", str(file)]
    subprocess.run(words, check=True)


def trust(folder: Folder, file: Path) -> None:
    public = " ".join(file.with_suffix(".pub").read_text().split()[:2])
    line = f'transfer@hpc1 namespaces="sealift-receipt" {public}\n'
    (folder.root / "allowed_signers").write_text(line)


@pytest.fixture
def site(folder: Folder) -> Folder:
    """A transfer host that holds one release and some garbage; the builder trusts its key."""
    (folder.root / "sealift.yaml").write_text(SITE)
    (folder.root / "revoked_keys").touch()
    key(folder.root / "keys" / "signing")
    trust(folder, folder.root / "keys" / "signing")
    with LocalStore.open(folder.root / "store") as store:
        put(store, b"garbage")
        store.add_root("release", put(store, b"1"))
    return folder


def put(store: LocalStore, line: bytes) -> StorePath:
    with store.temporary() as place:
        lay(place / "tree", {b"app": line})
        return store.add(place / "tree", "release", durable=False).path


def read(site: Folder) -> Receipt:
    settings = load_settings(file=site.root / "sealift.yaml")
    return receipts.load(settings, site.root / "hpc1.receipt")


def test_a_medium_that_is_full(site: Folder) -> None:
    medium = site.root / "medium"
    medium.mkdir()
    with full(medium):
        done = site.run("receipt", "-o", "medium/hpc1.receipt")
        assert not list(medium.iterdir())
    assert done.returncode == 6, done.stderr
    assert "[disk-full]" in done.stderr
    assert "medium/hpc1.receipt" in done.stderr


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Mount a file system that has room for no file."""
    argv = ["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_receipt_says_what_roots_keep(site: Folder) -> None:
    done = site.run("receipt", "-o", "hpc1.receipt")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hpc1.receipt\n"
    assert "no bundle yet, 1 paths" in done.stderr
    found = read(site)
    with LocalStore.open(site.root / "store") as store:
        assert found.held == holding.look(store).infos
        assert len(store.paths()) == 2
    (machine,) = found.machines
    assert machine.name == socket.gethostname()
    assert machine.system is not None
    assert machine.generations == ()
    assert (machine.packages is not None) == Path("/var/lib/dpkg/status").is_file()


def test_it_is_written_over_a_receipt_and_over_nothing_else(site: Folder) -> None:
    assert site.run("receipt", "-o", "hpc1.receipt").returncode == 0
    assert site.run("receipt", "-o", "hpc1.receipt", "--json").returncode == 0
    done = site.run("receipt", "-o", "sealift.yaml")
    assert done.returncode == 2
    assert "no receipt" in done.stderr
    assert (site.root / "sealift.yaml").read_text() == SITE
    assert site.run("receipt", "-o", "nowhere/hpc1.receipt").returncode == 2


def test_as_a_record(site: Folder) -> None:
    found = json.loads(site.run("receipt", "-o", "hpc1.receipt", "--json").stdout)
    assert found["digest"] == read(site).digest
    assert found["site"] == "hpc1"
    assert found["bytes"] == (site.root / "hpc1.receipt").stat().st_size
    assert [each["paths"] for each in found["machines"]] == [1]


def test_without_a_key_nothing_is_written(site: Folder) -> None:
    shutil.rmtree(site.root / "keys")
    done = site.run("receipt", "-o", "hpc1.receipt")
    assert done.returncode == 2
    assert "sealift key init" in done.stderr
    assert not (site.root / "hpc1.receipt").exists()


def test_a_site_without_a_name_has_no_receipt(site: Folder) -> None:
    (site.root / "sealift.yaml").write_text(SITE.replace("site: hpc1\n", ""))
    done = site.run("receipt", "-o", "hpc1.receipt")
    assert done.returncode == 2
    assert "site: NAME" in done.stderr


def test_the_builder_takes_no_other_key(site: Folder) -> None:
    key(site.root / "keys" / "other")
    words = ("receipt", "-o", "hpc1.receipt", "--sign-key", "keys/other")
    assert "useless-key" in site.run(*words).stderr
    trust(site, site.root / "keys" / "other")
    assert site.run(*words).returncode == 0
    assert read(site).site == "hpc1"
    trust(site, site.root / "keys" / "signing")
    with pytest.raises(SignatureError):
        read(site)


def test_a_key_signs_for_its_own_site(site: Folder) -> None:
    """Where the settings say whose that is."""
    assert site.run("receipt", "-o", "hpc1.receipt").returncode == 0
    settings = site.root / "sealift.yaml"
    settings.write_text(SITE + "signing: {receipts: {hpc1: transfer@hpc1, hpc2: other@hpc2}}\n")
    assert read(site).site == "hpc1"
    settings.write_text(SITE + "signing: {receipts: {hpc1: other@hpc1}}\n")
    with pytest.raises(SignatureError, match="another site's key"):
        read(site)


def test_a_receipt_that_was_cut_off_is_to_be_copied_again(site: Folder) -> None:
    assert site.run("receipt", "-o", "hpc1.receipt").returncode == 0
    file = site.root / "hpc1.receipt"
    file.write_bytes(file.read_bytes()[:-10])
    done = site.run("inspect", "hpc1.receipt")
    assert done.returncode == 3
    assert "copy it again, if it may have suffered on the way" in done.stderr


def test_the_builder_takes_no_revoked_key(site: Folder) -> None:
    assert site.run("receipt", "-o", "hpc1.receipt").returncode == 0
    shutil.copy(site.root / "keys" / "signing.pub", site.root / "revoked_keys")
    with pytest.raises(SignatureError, match="nobody"):
        read(site)


def test_a_bundle_of_another_site_does_not_build_on_it(site: Folder) -> None:
    assert site.run("receipt", "-o", "hpc1.receipt").returncode == 0
    settings = load_settings(file=site.root / "sealift.yaml")
    assert receipts.base(settings, site.root / "hpc1.receipt", "hpc1").site == "hpc1"
    with pytest.raises(OtherSiteError):
        receipts.base(settings, site.root / "hpc1.receipt", "hpc2")


def test_what_leaves_the_site_can_be_looked_at(site: Folder) -> None:
    assert site.run("receipt", "-o", "hpc1.receipt").returncode == 0
    done = site.run("inspect", "hpc1.receipt", "--paths")
    assert done.returncode == 0, done.stderr
    found = read(site)
    assert "receipt of hpc1" in done.stdout
    assert "transfer@hpc1" in done.stdout
    assert found.digest in done.stdout
    assert str(found.held[0].path) in done.stdout
    said = json.loads(site.run("inspect", "hpc1.receipt", "--json").stdout)
    assert said == json.loads(json.dumps(record(found)))
    (site.root / "allowed_signers").write_text("")
    done = site.run("inspect", "hpc1.receipt")
    assert done.returncode == 3
    assert "receipt of" not in done.stdout


def test_packages_are_locked_by_a_receipt(site: Folder) -> None:
    if not Path("/var/lib/dpkg/status").is_file():
        pytest.skip("needs a machine with dpkg")
    assert site.run("receipt", "-o", "hpc1.receipt").returncode == 0
    done = site.run("capture", "hpc1.receipt", "--name", "heads")
    assert done.returncode == 0, done.stderr
    text = (site.root / "recipes" / "bases" / "heads.status").read_text()
    assert text.startswith("# sealift capture hpc1.receipt: ")
    assert "\nPackage: dpkg\n" in text
    (site.root / "allowed_signers").write_text("")
    assert site.run("capture", "hpc1.receipt").returncode == 3


def test_a_head_that_is_silent(site: Folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Not listened on, so connections are refused.
        port = taken.getsockname()[1]
        host = f"{{kind: ssh, address: 127.0.0.1, port: {port}, user: root}}"
        (site.root / "sealift.yaml").write_text(f"{SITE}hosts:\n  head1: {host}\n")
        (site.root / "known_hosts").write_text(
            f"[127.0.0.1]:{port} {(site.root / 'keys' / 'signing.pub').read_text()}"
        )
        done = site.run("receipt", "-o", "hpc1.receipt")
        assert done.returncode != 0
        assert not (site.root / "hpc1.receipt").exists()
        done = site.run("receipt", "-o", "hpc1.receipt", "--allow-missing")
        assert done.returncode == 0, done.stderr
        assert "head1" in done.stderr
        assert len(read(site).machines) == 1
        assert site.run("receipt", "-o", "hpc1.receipt", "--no-heads").returncode == 0
        assert site.run("receipt", "-o", "x", "--no-heads", "--host", "head1").returncode == 2


@needs_sshd
def test_a_head_is_asked_over_ssh(site: Folder, tmp_path: Path) -> None:
    """The head is this machine: its store and its agent are the transfer host's own."""
    agent = f'#!/bin/sh\nexec {SEALIFT} --config {site.root}/sealift.yaml "$@"\n'
    with LocalStore.open(site.root / "store") as store:
        with store.temporary() as place:
            lay(place / "tree", {b"bin": {b"sealift": (agent.encode(),)}})
            top = store.add(place / "tree", "release", durable=False).path
        profiles = store.var_dir / "profiles"
        (profiles / "system-2-link").symlink_to(store.real(top))
        (profiles / "system").symlink_to("system-2-link")
    with serve(tmp_path.resolve() / "sshd") as server:
        pin(site.root / "known_hosts", spell("127.0.0.1", server.port), (server.key,))
        said = f"address: 127.0.0.1, port: {server.port}, user: {USER}, sudo: never"
        host = f"{{kind: ssh, {said}, key: {server.folder / 'user'}}}"
        (site.root / "sealift.yaml").write_text(f"{SITE}hosts:\n  head1: {host}\n")
        done = site.run("receipt", "-o", "hpc1.receipt")
    assert done.returncode == 0, done.stderr
    assert "head1: generation 2, 2 paths" in done.stderr
    here, there = read(site).machines
    assert there.name == "head1"
    assert there.paths == here.paths
    assert there.generations == here.generations
    assert there.system is not None
    assert (there.packages is not None) == Path("/var/lib/dpkg/status").is_file()


@dataclass
class Ended:
    status: int
    stdout: bytes
    stderr: str = ""


@dataclass
class FakeLink:
    """A head's end: what its shell says of it, and what its agent and its dpkg say."""

    lines: Sequence[str]
    agent: Ended
    dpkg: Ended
    asked: list[Sequence[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str], **_: Any) -> Ended:
        self.asked.append(argv)
        return self.agent

    def script(self, text: str, args: Sequence[str] = (), **_: Any) -> Ended:
        del args
        if text == facts.SCRIPT:
            return Ended(0, "\n".join([*self.lines, "end here"]).encode())
        return self.dpkg

    def channel(self, argv: Sequence[str], *, root: bool = True) -> Channel:
        raise NotImplementedError(argv, root)

    def data(self, argv: Sequence[str], *, root: bool = True) -> AbstractContextManager[Data]:
        raise NotImplementedError(argv, root)

    def close(self) -> None:
        pass


DPKG = Ended(0, b'PRETTY_NAME="Debian 12"\n\0' + STATUS.encode())
NO_DPKG = Ended(90, b"")


def head(store: LocalStore, top: StorePath | None, agent: Ended, dpkg: Ended = DPKG) -> held.Told:
    lines = [
        f"clock {time.time():.6f}",
        "uid 0",
        "machine x86_64",
        'os.PRETTY_NAME "Debian 12"',
        "glibc glibc 2.36",
        "systemd systemd 252",
        "disk /dev/vda 1000 1 999 1% /",
        "inodes /dev/vda 1000 1 999 1% /",
        "identity 1234 5678",
    ]
    if top is not None:
        lines += ["agent old", f"generation 4 {store.real(top)}", "current system-4-link"]
        lines += ['record 4 {"status":"good","created":1.0,"by":"bob@console","before":null}']
    link = FakeLink(lines, agent, dpkg)
    place = Place(store.store_dir)
    return held.there(RemoteHead(Host("head1", address="head1"), lambda _: link, place))


def test_a_head_tells_what_it_is_and_holds(site: Folder) -> None:
    with LocalStore.open(site.root / "store") as store:
        ((_, top),) = holding.look(store).roots
        said = json.dumps(holding.look(store).to_json()).encode()
        told = head(store, top, Ended(0, said))
        found = held.together(store, "hpc1", 7, [told])
    machine = found.machines[1]
    assert machine.name == "head1"
    assert machine.paths == (top,)
    assert [(each.number, each.current, each.by) for each in machine.generations] == [(4, True, "")]
    assert machine.packages is not None
    assert machine.packages.status == REDUCED
    assert machine.system is not None
    assert machine.system.title == "Debian 12"
    assert found.number == 7
    assert found.heads == (machine,)


def test_a_head_without_a_release_or_dpkg(site: Folder) -> None:
    with LocalStore.open(site.root / "store") as store:
        told = head(store, None, Ended(127, b""), NO_DPKG)
    assert told.machine.paths == ()
    assert told.machine.packages is None


def test_an_older_agent_does_not_know_the_question(site: Folder) -> None:
    with LocalStore.open(site.root / "store") as store:
        ((_, top),) = holding.look(store).roots
        older = Ended(2, b"", "Usage: sealift agent\n\nError: No such command 'holds'.")
        told = head(store, top, older)
        assert told.machine.paths is None
        assert held.together(store, "hpc1", None, [told]).machines[1].generations
        with pytest.raises(HeadLostError):
            head(store, top, Ended(1, b"", "killed"))


def test_what_only_a_head_holds_is_no_base(site: Folder) -> None:
    with LocalStore.open(site.root / "store") as store:
        garbage = next(info for info in store.paths() if info not in holding.look(store).infos)
        rows = {"paths": [[str(garbage.path), garbage.nar_sha256, garbage.nar_size, []]]}
        ((_, top),) = holding.look(store).roots
        told = head(store, top, Ended(0, json.dumps(rows).encode()))
        found = held.together(store, "hpc1", None, [told])
    assert found.machines[1].paths == (garbage.path,)
    assert [info.path for info in found.held] == [top]


def test_the_agent_of_a_head_tells_what_it_keeps(site: Folder) -> None:
    done = site.run("agent", "holds", "--json")
    assert done.returncode == 0, done.stderr
    with LocalStore.open(site.root / "store") as store:
        kept = holding.look(store).infos
    assert holding.paths(json.loads(done.stdout), str(site.root / "store")) == kept
