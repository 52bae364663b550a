"""A medium that brings settings and signers of its own: what it says of trust is not believed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.signing import RELEASE, sign
from tests.deploy.sshd import keygen
from tests.sealift.conftest import Folder
from tests.sealift.gap import TRUST, Gap, laid, run

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path("/dev/shm")  # noqa: S108 - a mount of its own on any Linux


@pytest.fixture
def gap(tmp_path: Path) -> Gap:
    return laid(tmp_path.resolve())


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on another mount than the root's."""
    if not SHARED.is_dir() or SHARED.stat().st_dev == Path("/").stat().st_dev:
        pytest.skip("this needs a second file system")
    folder = SHARED / f"sealift-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def hostile(gap: Gap, stick: Path) -> Path:
    """Write a stick: a bundle by a key that only the stick itself knows, for the site's store."""
    keygen(stick / "key")
    public = (stick / "key.pub").read_text()
    (stick / TRUST[0]).write_text(f"release@builder {public}")
    (stick / TRUST[1]).write_text("")
    shutil.copy(gap.site.root / "sealift.yaml", stick)
    bundle = gap.bundle(9, sign=lambda data: [sign(data, stick / "key", namespace=RELEASE)])
    return Path(shutil.copy(bundle, stick / "site.bundle"))


@pytest.mark.parametrize("word", ["receive", "verify", "inspect", "repair-request"])
def test_trust_that_lies_with_the_bundle_is_refused(gap: Gap, mounted: Path, word: str) -> None:
    hostile(gap, mounted)
    more = ("-o", "x.request") if word == "repair-request" else ()
    with gap.turn(gap.site):
        said = run(Folder(mounted), word, "site.bundle", *more, status=2)
        assert "[trust-on-medium]" in said
        assert not (gap.root / "made" / "var" / "received").exists()


def test_links_do_not_hide_where_it_lies(gap: Gap, mounted: Path) -> None:
    bundle = hostile(gap, mounted)
    (gap.site.root / TRUST[0]).unlink()
    (gap.site.root / TRUST[0]).symlink_to(mounted / TRUST[0])
    with gap.turn(gap.site):
        here = Folder(gap.site.root)
        assert "trust-on-medium" in run(here, "receive", str(bundle), status=2)
    away = gap.root / "away"
    away.mkdir()
    shutil.move(bundle, away)
    bundle.symlink_to(away / bundle.name)
    with gap.turn(gap.site):
        assert "trust-on-medium" in run(Folder(mounted), "receive", str(bundle), status=2)


def test_settings_elsewhere_on_the_medium_are_refused(gap: Gap, mounted: Path) -> None:
    bundle = hostile(gap, mounted)
    (mounted / "below").mkdir()
    shutil.move(bundle, mounted / "below")
    with gap.turn(gap.site):
        below = Folder(mounted / "below")
        assert "trust-on-medium" in run(below, "receive", "site.bundle", status=2)


def test_a_bundle_in_the_sites_own_folder_is_judged_there(gap: Gap) -> None:
    shutil.copy(gap.bundle(1), gap.site.root / "site.bundle")
    with gap.turn(gap.site):
        assert gap.site.run("verify", "site.bundle").returncode == 0


def test_settings_that_are_named_count(gap: Gap, mounted: Path) -> None:
    """Also where they lie with the bundle; and it is told who decided."""
    hostile(gap, mounted)
    with gap.turn(gap.site):
        words = ("--config", "sealift.yaml", "receive", "site.bundle", "--yes")
        said = run(Folder(mounted), *words)
        assert f"who may sign is said by {mounted / TRUST[0]}" in said
        done = gap.site.run("receive", "--json", str(mounted / "site.bundle"))
        assert "is not in" in json.loads(done.stdout)["got"]
