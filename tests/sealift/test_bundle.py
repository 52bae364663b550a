"""`sealift bundle` and `sealift inspect` as an operator types them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from deploy.bundle.part import Part
from store.local import LocalStore
from tests.deploy.bundles import put
from tests.deploy.sshd import keygen

if TYPE_CHECKING:
    from pathlib import Path

    from store.path import StorePath
    from tests.sealift.conftest import Folder

INSPECT = ("--config", "sealift.yaml", "inspect")
BILL = b'{"bomFormat":"CycloneDX","components":[]}\n'
INIT = ("key", "init", "--identity", "release@builder", "--no-passphrase", "--for", "release")
RECEIPTS = ("--for", "receipt")


def release(folder: Folder, line: bytes = b"one") -> StorePath:
    """Put a release of nothing into the site's store."""
    said = {"format": 1, "services": {}, "frontends": {}}
    with LocalStore.open(folder.root / "store") as store:
        library = put(store, "library", {b"l.py": b"l" * 5000})
        tree = {
            b"release.json": json.dumps(said).encode(),
            b"sbom.cdx.json": BILL,
            b"app.py": b"a" * 3000 + line,
        }
        path = put(store, "release", tree, [library])
        store.add_root("release", path)
        return path


@pytest.fixture
def site(folder: Folder) -> Folder:
    """Give a site with a name, a key and a release."""
    settings = folder.root / "sealift.yaml"
    settings.write_text(f"site: hpc1\n{settings.read_text()}")
    assert folder.run(*INIT, *RECEIPTS).returncode == 0
    release(folder)
    return folder


def bundle(site: Folder, *words: str) -> Any:
    done = site.run("bundle", "--json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def refused(site: Folder, *words: str) -> Any:
    done = site.run(*words, "--json")
    assert done.returncode != 0
    return json.loads(done.stdout)


def refused_by_hand(site: Folder, *words: str) -> str:
    """Have a command refuse that gives no records; return the error's slug."""
    done = site.run(*words)
    assert done.returncode != 0
    return done.stderr.partition("[")[2].partition("]")[0]


def digest(file: Path) -> str:
    with Part.open(file) as part:
        return part.id


def test_a_bundle_says_what_it_is(site: Folder) -> None:
    made = bundle(site, "-o", "b")
    assert (made["site"], made["number"], made["parts"]) == ("hpc1", 1, ["b"])
    done = site.run(*INSPECT, "b", "--json", "--paths")
    said = json.loads(done.stdout)
    assert said["created"] == made["created"]
    assert said["digest"] == made["digest"] == digest(site.root / "b")
    assert [each["identity"] for each in said["signers"]] == ["release@builder"]
    assert [each["path"][33:] for each in said["paths"]] == ["library", "release"]
    assert said["top"] == said["paths"][1]["path"] == made["top"]
    assert set(said["documents"]) == {"sbom"}
    assert set(said["trust"]) == {"signers", "revoked"}
    assert site.run(*INSPECT, "b", "--sbom").stdout.encode() == BILL


def test_people_are_told_as_well(site: Folder) -> None:
    done = site.run("bundle", "-o", "b")
    assert (done.returncode, done.stdout) == (0, "b\n")
    assert "bundle 1 for hpc1: 2 paths" in done.stderr
    told = site.run(*INSPECT, "b").stdout
    assert "bundle 1 for hpc1, made" in told
    size = (site.root / "b").stat().st_size
    assert f" as {size / 1000:.1f} kB\n" in told
    assert f" as {size / 1000:.1f} kB\n" in done.stderr
    assert site.run("inspect", "b", "--paths", "--sbom").returncode == 2
    assert "release@builder" in told


def test_the_same_release_gives_the_same_file(site: Folder) -> None:
    bundle(site, "-o", "a")
    bundle(site, "-o", "b")
    one, two = ((site.root / name).read_bytes() for name in ("a", "b"))
    assert one == two
    release(site, b"two")
    assert bundle(site, "-o", "c")["number"] == 2


def test_numbers_rise(site: Folder) -> None:
    assert bundle(site, "-o", "a", "--number", "7")["number"] == 7
    release(site, b"two")
    assert refused(site, "bundle", "-o", "b", "--number", "7")["error"] == "bad-input"
    assert not (site.root / "b").exists()
    assert bundle(site, "-o", "b")["number"] == 8
    assert bundle(site, "-o", "c", "--site", "hpc2")["number"] == 1


@pytest.mark.parametrize("name", ["../../there", "hpc 1", ""])
def test_what_cannot_be_a_site_names_no_file(site: Folder, name: str) -> None:
    refused(site, "bundle", "-o", "a", "--site", name)
    assert not (site.root / "a").exists()
    assert not list(site.root.rglob("there*"))


def test_parts_are_numbered(site: Folder) -> None:
    made = bundle(site, "-o", "b", "--split", "16MiB")
    assert made["parts"] == ["b.001"]
    assert json.loads(site.run(*INSPECT, "b.001", "--json").stdout)["parts"] == 1


@pytest.mark.parametrize("size", ["4Gi B", "much", "1i", "", "-5"])
def test_a_size_that_is_none_is_refused(site: Folder, size: str) -> None:
    done = site.run("bundle", "-o", "b", f"--split={size}")
    assert done.returncode == 2
    assert "is no size" in done.stderr


def test_what_lies_there_is_replaced_only_on_demand(site: Folder) -> None:
    bundle(site, "-o", "b")
    assert refused(site, "bundle", "-o", "b")["hint"] == "another name, or --force"
    bundle(site, "-o", "b", "--force")


def test_a_site_without_a_name_has_no_bundles(site: Folder) -> None:
    settings = site.root / "sealift.yaml"
    settings.write_text(settings.read_text().removeprefix("site: hpc1\n"))
    assert "site: NAME" in refused(site, "bundle", "-o", "b")["hint"]
    assert bundle(site, "-o", "b", "--site", "hpc9")["site"] == "hpc9"


def test_without_a_key_nothing_is_written(site: Folder) -> None:
    (site.root / "keys" / "signing").rename(site.root / "elsewhere")
    (site.root / "keys" / "signing.pub").unlink()
    assert "sealift key init" in refused(site, "bundle", "-o", "b")["hint"]
    assert bundle(site, "-o", "b", "--sign-key", "elsewhere")["number"] == 1


def test_what_a_stranger_signed_is_not_shown(site: Folder) -> None:
    bundle(site, "-o", "b")
    strange(site)
    said = refused(site, *INSPECT, "b")
    assert (said["error"], said["where"]) == ("bad-signature", "b")
    assert "top" not in said


class TestAKeyThatDoesNotCount:
    """What the site would refuse is not written, as its builder can know it."""

    def test_of_nobody(self, site: Folder) -> None:
        keygen(site.root / "stranger")
        words = ("--sign-key", "keys/signing", "--sign-key", "stranger")
        said = refused(site, "bundle", "-o", "b", *words)
        assert (said["error"], said["where"]) == ("useless-key", "stranger")
        assert "is not in" in said["reason"]
        assert "sealift key add IDENTITY stranger.pub --for release" in said["hint"]
        assert not [each for each in site.root.iterdir() if "b" in each.name.split(".")]

    def test_that_is_revoked(self, site: Folder) -> None:
        assert site.run("key", "revoke", "release@builder", "--yes").returncode == 0
        said = refused(site, "bundle", "-o", "b")
        assert said["error"] == "useless-key"
        assert "is revoked" in said["reason"]
        assert not (site.root / "b").exists()

    def test_for_another_purpose(self, site: Folder) -> None:
        second = keygen(site.root / "second")
        words = ("key", "add", "second@builder", f"{second}.pub", "--for", "receipt", "--yes")
        assert site.run(*words).returncode == 0
        said = refused(site, "bundle", "-o", "b", "--sign-key", "second")
        assert "may not sign for 'sealift-release'" in said["reason"]
        assert not (site.root / "b").exists()
        receipt = ("receipt", "-o", "r", "--no-heads", "--sign-key")
        assert site.run(*receipt, "second").returncode == 0
        third = keygen(site.root / "third")
        add = ("key", "add", "third@builder", f"{third}.pub", "--yes")
        assert site.run(*add).returncode == 0
        (site.root / "r").unlink()
        assert refused(site, *receipt, "third")["error"] == "useless-key"
        assert not (site.root / "r").exists()


def test_several_may_sign(site: Folder) -> None:
    second = keygen(site.root / "second")
    added = site.run("key", "add", "second@builder", f"{second}.pub", "--yes")
    assert added.returncode == 0, added.stderr
    keys = ("--sign-key", "keys/signing", "--sign-key", str(second))
    bundle(site, "-o", "b", *keys)
    said = json.loads(site.run(*INSPECT, "b", "--json").stdout)
    assert [each["identity"] for each in said["signers"]] == ["release@builder", "second@builder"]


def test_a_second_person_signs_what_lies_there(site: Folder) -> None:
    second = keygen(site.root / "second")
    bundle(site, "-o", "b", "--split", "16MiB")
    before = digest(site.root / "b.001")
    words = ("countersign", "b.001", "--sign-key", str(second))
    assert refused_by_hand(site, *words) == "useless-key"
    added = site.run("key", "add", "second@builder", f"{second}.pub", "--yes")
    assert added.returncode == 0, added.stderr
    assert len(json.loads(site.run(*INSPECT, "b.001", "--json").stdout)["signers"]) == 1
    settings = site.root / "sealift.yaml"
    settings.write_text(settings.read_text() + "signing: {threshold: 2}\n")
    assert refused(site, *INSPECT, "b.001")["error"] == "bad-signature"
    done = site.run(*words)
    assert done.returncode == 0, done.stderr
    first, _, last = done.stderr.partition("now also signed by")
    assert "release@builder" in first
    assert "second@builder (SHA256:" in last
    assert digest(site.root / "b.001") == before
    said = json.loads(site.run(*INSPECT, "b.001", "--json").stdout)
    assert len(said["signers"]) == 2


def strange(site: Folder) -> None:
    """Let the site trust nobody but somebody else."""
    public = keygen(site.root / "stranger").with_suffix(".pub").read_text()
    (site.root / "allowed_signers").write_text(f"else@where {public}")


def test_nobody_signs_what_nobody_signed(site: Folder) -> None:
    bundle(site, "-o", "b")
    strange(site)
    before = (site.root / "b").read_bytes()
    done = site.run("countersign", "b", "--sign-key", "stranger")
    assert (done.returncode, (site.root / "b").read_bytes()) == (3, before)


def test_a_release_that_was_not_built_is_refused(site: Folder) -> None:
    assert "absent" in refused(site, "bundle", "-o", "b", "--release", "absent")["reason"]
    assert not (site.root / "b").exists()


def test_a_delta_holds_what_the_site_lacks(site: Folder) -> None:
    receipt = site.root / "r"
    assert site.run("receipt", "-o", "r", "--no-heads").returncode == 0, "a receipt of this store"
    assert "nothing is new there" in site.run("bundle", "-o", "n", "--since", "r").stderr
    release(site, b"two")
    made = bundle(site, "-o", "d", "--since", str(receipt))
    assert (made["paths"], made["files"], made["patches"]) == (1, 2, 1)
    assert os.path.getsize(site.root / "d") < 5000  # noqa: PTH202 - a size, once
    other = refused(site, "bundle", "-o", "e", "--since", str(receipt), "--site", "hpc2")
    assert other["error"] == "receipt-other-site"


@pytest.mark.parametrize("split", [(), ("--split", "16MiB")])
def test_what_lies_there_already_costs_no_number(site: Folder, split: tuple[str, ...]) -> None:
    there = site.root / ("b.001" if split else "b")
    there.write_text("mine")
    assert refused(site, "bundle", "-o", "b", *split)["where"] == there.name
    assert not list(site.root.rglob("hpc1.json"))
    assert there.read_text() == "mine"
    release(site, b"two")
    assert bundle(site, "-o", "b", "--force", *split)["number"] == 1


def test_numbers_are_called_so_in_the_help(site: Folder) -> None:
    said = " ".join(site.run("bundle", "--help").stdout.split())
    assert "--number N " in said
    assert "RANGE" not in said
