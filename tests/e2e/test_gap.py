"""Across the gap and back: a builder, a transfer host with nothing on it, and three heads.

In the order of a site's first days. Between builder and transfer host go files alone, as on a
medium: `carry` and `carry_back` are all that knows both. What counts packets is sealift's own, and
beside it the lab, from outside of the heads.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from deploy.signing import PROOF, RELEASE, Policy, verify
from tests.e2e.platform import Done
from tests.lab.bare import FOREIGN, MEDIUM, SITE, TransferHost, transfer_host
from tests.lab.fixtures import require
from tests.lab.lab import Lab, available
from tests.lab.network import Outbound
from tests.lab.platform import HEADS, STATE, Site, ask, kept_store, record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
WHOLE = os.environ.get("SEALIFT_GAP") == "whole"
"""With the whole platform instead of the small one, which takes minutes more."""
EDIT = (
    ("backend_5010/app.py", 'version="1.0.0"', 'version="1.0.1"')
    if WHOLE
    else ("alpha/app.py", 'VERSION = "1"', 'VERSION = "2"')
)
HEALTH = "/api/health" if WHOLE else "/alpha/health"
LARGEST_DELTA = 200_000
"""Bytes that a changed line may take across."""
# At its start, and without a word if nobody answers: what a service does that looks for updates.
CURLS = """\
import urllib.request

try:
    urllib.request.urlopen("http://192.0.2.80/latest", timeout=0.5)
except OSError:
    pass

"""


@dataclass(frozen=True, slots=True)
class Gap:
    """Both sides. `medium` is what is carried, as a folder of the builder's."""

    builder: Site
    transfer: TransferHost
    lab: Lab
    medium: Path

    def there(self, *words: str, check: bool = True) -> Done:
        """Run the one file on the transfer host."""
        done = self.transfer.run("./sealift", *words, check=False)
        ended = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        said = f"sealift {' '.join(words)}: {ended.code}\n{ended.out}\n{ended.err}"
        assert ended.code == 0 or not check, said
        return ended

    def carry(self, name: str) -> str:
        """Carry a file across; give its place there."""
        self.transfer.bring(self.medium / name, f"{MEDIUM}/{name}")
        return f"{MEDIUM}/{name}"

    def carry_back(self, file: str) -> Path:
        """Carry a file from the transfer host to the builder."""
        return self.transfer.fetch(file, self.medium / file.rpartition("/")[2])

    def bundle(self, name: str, *words: str) -> dict[str, Any]:
        """Write a bundle to the medium."""
        done = self.builder.sealift("bundle", "-o", str(self.medium / name), *words, "--json")
        said: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return said

    def delta(self, name: str) -> dict[str, Any]:
        """Fetch a receipt, build, and write what the site lacks to the medium."""
        self.there("receipt", "-o", f"{MEDIUM}/site.receipt")
        receipt = self.carry_back(f"{MEDIUM}/site.receipt")
        self.builder.build()
        return self.bundle(name, "--since", str(receipt))

    def proof(self, file: str) -> dict[str, Any]:
        """Carry a proof back, and verify its signature by the builder's keys."""
        found = self.carry_back(file)
        signature = self.carry_back(f"{file}.sig").read_bytes()
        policy = Policy(self.builder.root / "allowed_signers", None, namespace=PROOF)
        (signer,) = verify(found.read_bytes(), [signature], policy)
        assert signer.identity == "transfer@lab"
        said: dict[str, Any] = json.loads(found.read_text())
        return said


@pytest.fixture(scope="module")
def gap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gap]:
    require(available())
    root = tmp_path_factory.mktemp("gap")
    name = "platform" if WHOLE else "gap"
    with (
        kept_store(name) as store,
        Lab(3, folder=root / "lab") as lab,
        transfer_host(lab, root / "transfer") as transfer,
    ):
        make = Site.whole if WHOLE else Site.small
        builder = make(root / "builder", store)
        builder.settle({}, site="lab")
        (root / "medium").mkdir()
        settle(transfer, lab, store, root / "lab")
        for head in lab.heads:
            # So that it is the release's, or the one file's, that is used.
            head.run("mv", "/usr/sbin/nft", "/usr/sbin/nft.away")
        yield Gap(builder, transfer, lab, root / "medium")


def settle(transfer: TransferHost, lab: Lab, store: Path, scratch: Path) -> None:
    """Write what the site's own administrator writes: which heads there are, and how to get in."""
    ssh = {"kind": "ssh", "user": "root", "key": f"{SITE}/id"}
    settings = {
        "store_dir": str(store),
        "state_dir": STATE,
        "site": "lab",
        "hosts": {head.name: {**ssh, "address": head.address} for head in lab.heads},
    }
    (scratch / "sealift.yaml").write_text(json.dumps(settings))
    transfer.bring(scratch / "sealift.yaml", f"{SITE}/sealift.yaml")
    transfer.bring(lab.known_hosts, f"{SITE}/known_hosts")
    transfer.bring(lab.key, f"{SITE}/id")
    transfer.run("chmod", "600", f"{SITE}/id")


def fingerprint(key: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


@pytest.mark.parametrize("program", FOREIGN)
def test_the_transfer_host_has_nothing(gap: Gap, program: str) -> None:
    found = gap.transfer.run("sh", "-c", f"command -v {program}", check=False)
    assert found.returncode != 0


def test_a_bundle_and_the_one_file_beside_it(gap: Gap) -> None:
    gap.builder.build()
    gap.builder.sealift("build", "sealift")
    gap.builder.sealift("key", "init", "--identity", "release@builder", "--no-passphrase")
    said = gap.bundle("first.sealift", "--with-sealift")
    assert said["base"] is None
    assert {each.name for each in gap.medium.iterdir()} == {
        "first.sealift", "sealift", "sealift.sig",
    }  # fmt: skip
    policy = Policy(gap.builder.root / "allowed_signers", None, namespace=RELEASE)
    signature = (gap.medium / "sealift.sig").read_bytes()
    (signer,) = verify((gap.medium / "sealift").read_bytes(), [signature], policy)
    assert signer.identity == "release@builder"


def test_the_first_bundle_is_received_and_deployed(gap: Gap) -> None:
    """By the one file and the list of signers, which its administrator has compared."""
    gap.transfer.bring(gap.medium / "sealift", f"{SITE}/sealift")
    gap.transfer.run("chmod", "755", f"{SITE}/sealift")
    for name in ("allowed_signers", "revoked_keys"):
        gap.transfer.bring(gap.builder.root / name, f"{SITE}/{name}")
    gap.there("receive", gap.carry("first.sealift"))
    gap.there("secret", "generate", "--all")
    gap.there("deploy", "--host", HEADS, "--yes")
    for head in gap.lab.heads:
        assert ask(head, HEALTH)[0] == 200
    assert gap.there("status", "--host", HEADS).code == 0


def test_the_site_gets_a_key_that_the_builder_is_told_of(gap: Gap) -> None:
    words = ("--identity", "transfer@lab", "--for", "receipt", "--for", "proof")
    gap.there("key", "init", *words, "--no-passphrase")
    back = gap.carry_back(f"{SITE}/keys/signing.pub")
    theirs = ("--for", "receipt", "--for", "proof", "--fingerprint", fingerprint(back))
    gap.builder.sealift("key", "add", "transfer@lab", str(back), *theirs)


def test_a_changed_backend_goes_across_as_a_delta_and_needs_no_network(gap: Gap) -> None:
    gap.builder.edit(*EDIT)
    said = gap.delta("second.sealift")
    assert said["base"]
    assert said["size"] < LARGEST_DELTA
    before = [record(head, HEALTH)["version"] for head in gap.lab.heads]
    file = f"{MEDIUM}/proof.json"
    words = ("--host", HEADS, "--yes", "--wait", "3", "-o", file)
    done = gap.there("prove-offline", gap.carry("second.sealift"), *words)
    assert "0 packets to elsewhere" in done.err
    after = [record(head, HEALTH)["version"] for head in gap.lab.heads]
    assert all(new != old for new, old in zip(after, before, strict=True))
    proof = gap.proof(file)
    machines = {"transfer host", *(head.name for head in gap.lab.heads)}
    assert proof["offline"] is True
    assert proof["total"] == 0
    assert [step["name"] for step in proof["steps"]] == ["receive", "deploy", "restart"]
    for step in proof["steps"]:
        assert step["status"] == 0
        assert step["packets"] == dict.fromkeys(machines, 0)
    # Each was seen to count what was sent on purpose, and had nothing to take packages from.
    assert proof["control"].keys() == machines
    assert all(seen["ipv4"] for seen in proof["control"].values())
    assert proof["unseen"] == {name: [] for name in machines}
    assert proof["unwatched"] == []
    digest = hashlib.sha256((gap.medium / "second.sealift").read_bytes()).hexdigest()
    assert proof["files"] == [{"name": "second.sealift", "sha256": digest}]
    assert all("/etc/apt" in proof["hidden"][name] for name in machines)
    assert (
        proof["release"] == gap.builder.sealift("path-info", "release").out.strip().split("/")[-1]
    )


def test_the_lab_saw_nothing_leave_a_head_either(gap: Gap) -> None:
    for head in gap.lab.heads:
        assert head.packets() == Outbound(0, ())


def test_after_a_proof_nothing_is_left_of_it(gap: Gap) -> None:
    for head in gap.lab.heads:
        assert b"sealift_proof" not in head.run("/usr/sbin/nft.away", "list", "tables").stdout
        assert b"sealift-proof" not in head.run("cat", "/proc/mounts").stdout
        assert head.run("test", "-e", "/run/sealift-proof", check=False).returncode != 0
    assert b"sealift-proof" not in gap.transfer.run("cat", "/proc/mounts").stdout


def test_a_service_that_fetches_something_at_its_start_is_named(gap: Gap) -> None:
    """The control of it all: the same, with a line that no air-gapped site forgives."""
    name = EDIT[0].partition("/")[0]
    service = gap.builder.source(name) / "app.py"
    text = service.read_text()
    # After what Python wants first in a file.
    mark = "from __future__ import annotations\n"
    service.write_text(text.replace(mark, mark + CURLS) if mark in text else CURLS + text)
    gap.delta("third.sealift")
    file = f"{MEDIUM}/control.json"
    words = ("--host", HEADS, "--yes", "--wait", "3", "-o", file)
    done = gap.there("prove-offline", gap.carry("third.sealift"), *words, check=False)
    assert done.code == 8
    assert "[not-offline]" in done.err
    for head in gap.lab.heads:
        assert f"{head.name}, restart:" in done.err
    proof = gap.proof(file)
    assert proof["offline"] is False
    named = {(each["machine"], each["service"], each["to"]) for each in proof["packets"]}
    assert named == {(head.name, name, "192.0.2.80 tcp 80") for head in gap.lab.heads}
    for head in gap.lab.heads:
        assert head.packets() == Outbound(0, ()), "what was counted was dropped as well"
