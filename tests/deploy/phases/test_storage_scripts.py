"""The scripts of the storage phase as a head runs them: links are not followed, nor files lost."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.phases.storage import FOLDERS
from deploy.phases.storage_look import SCRIPT, parse
from deploy.phases.storage_removal import MARK, PROVE, REMOVE

IDENTITY = str(uuid.UUID(int=7))
# Attributes as text files beside the folder, for only root has those of `trusted`.
GETFATTR = r"""#!/bin/sh
for last do :; done
while [ $# -gt 1 ]; do [ "$1" = -n ] && name=$2; [ "$1" = -e ] && hex=yes; shift; done
[ -e "$ATTRIBUTES/$name" ] || exit 1
if [ "$hex" ]; then printf '# file: %s\n%s=0x' "$last" "$name"; fi
cat "$ATTRIBUTES/$name"
"""
SETFATTR = r"""#!/bin/sh
printf %s "$4" >"$ATTRIBUTES/$2"
"""


@dataclass
class Place:
    """A head's folder for its copy, with what glusterd knows of it."""

    root: Path

    @property
    def brick(self) -> Path:
        return self.root / "disk" / "brick"

    def prepare(self) -> None:
        for name in ("disk/brick", "state/vols/shared/bricks", "attributes", "bin"):
            (self.root / name).mkdir(parents=True)
        for tool, text in (("getfattr", GETFATTR), ("setfattr", SETFATTR)):
            (self.root / "bin" / tool).write_text(text)
            (self.root / "bin" / tool).chmod(0o755)
        (self.brick / "file").write_text("data")
        (self.root / "state/vols/shared/info").write_text(f"type=2\nvolume-id={IDENTITY}\n")
        self.names("10.0.0.11", str(self.brick))
        self.bears(IDENTITY.replace("-", ""))

    def names(self, host: str, path: str) -> None:
        """Let glusterd have one copy, at a host."""
        text = f"uuid=1\nhostname={host}\npath={path}\n"
        (self.root / "state/vols/shared/bricks/one").write_text(text)

    def bears(self, identity: str) -> None:
        (self.root / "attributes/trusted.glusterfs.volume-id").write_text(identity)

    def forget(self) -> None:
        """Delete the volume, as glusterd does."""
        for each in ("bricks/one", "info"):
            (self.root / "state/vols/shared" / each).unlink()

    def run(self, script: str, brick: Path | None = None) -> subprocess.CompletedProcess[str]:
        words = ("shared", str(brick or self.brick), "10.0.0.11", "head1", f"{self.root}/state")
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return subprocess.run(
            ("sh", "-c", script, "sh", *words),
            env={"PATH": path, "ATTRIBUTES": f"{self.root}/attributes"},
            capture_output=True,
            text=True,
            check=False,
        )

    def says(self, brick: Path | None = None) -> str:
        return self.run(PROVE, brick).stdout.strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path.resolve())
    made.prepare()
    return made


def test_a_copy_that_glusterd_names_and_that_bears_its_identity_is_ours(place: Place) -> None:
    assert place.says() == "ours"
    place.names("head1", str(place.brick))
    assert place.says() == "ours"
    assert place.run(REMOVE).returncode == 0
    assert not place.brick.exists()
    assert place.brick.parent.is_dir()
    assert place.says() == "absent"
    assert place.run(REMOVE).returncode == 0


def test_a_marked_copy_is_ours_when_the_volume_is_deleted(place: Place) -> None:
    assert place.run(MARK).returncode == 0
    place.forget()
    assert place.says() == "ours"
    place.run(REMOVE)
    assert not place.brick.exists()


def test_without_a_mark_nothing_is_ours_when_the_volume_is_deleted(place: Place) -> None:
    place.forget()
    assert place.says().startswith("foreign it does not bear")


@pytest.mark.parametrize("case", ["other identity", "none", "other host", "other path"])
def test_what_is_not_proven_stays(place: Place, case: str) -> None:
    if case == "other identity":
        place.bears("0" * 32)
    elif case == "none":
        (place.root / "attributes/trusted.glusterfs.volume-id").unlink()
    else:
        host = "10.0.0.12" if case == "other host" else "10.0.0.11"
        place.names(host, str(place.brick) + ("x" if case == "other path" else ""))
    assert place.says().startswith("foreign")
    place.run(MARK)
    assert not (place.root / "attributes/trusted.sealift.removed").exists()
    refused = place.run(REMOVE)
    assert refused.returncode == 1
    assert str(place.brick) in refused.stderr
    assert (place.brick / "file").read_text() == "data"


def test_an_empty_folder_goes_without_a_proof(place: Place) -> None:
    place.bears("")
    (place.brick / "file").unlink()
    assert place.says() == "empty"
    assert place.run(REMOVE).returncode == 0
    assert not place.brick.exists()


def test_a_link_is_never_taken_for_a_copy(place: Place) -> None:
    link = place.root / "link"
    link.symlink_to(place.brick)
    place.names("10.0.0.11", str(link))
    assert place.says(link) == "foreign it is a link"
    above = place.root / "above"
    above.symlink_to(place.root / "disk")
    place.names("10.0.0.11", str(above / "brick"))
    assert place.says(above / "brick") == "foreign there is a link in its path"
    assert place.run(REMOVE, above / "brick").returncode == 1
    assert (place.brick / "file").exists()


def test_a_mount_point_is_never_removed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    rows = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mounted = next(row.split()[1] for row in rows if row.split()[1].count("/") > 1)
    for each in (Path(mounted), Path(mounted).parent):
        assert place.says(each).startswith("foreign something is mounted at")


def folders(root: Path, *rows: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    owner = pwd.getpwuid(os.getuid()).pw_name
    group = grp.getgrgid(os.getgid()).gr_name
    words = [word for path, mode in rows for word in (path, owner, group, mode)]
    return subprocess.run(
        ("sh", "-c", FOLDERS, "sh", str(root), *words), capture_output=True, text=True, check=False
    )


def test_folders_are_made_and_have_their_modes(tmp_path: Path) -> None:
    done = folders(tmp_path, ("a", "0700"), ("a/b/c", "1777"), ("d", "755"))
    assert done.returncode == 0, done.stderr
    assert [oct((tmp_path / each).stat().st_mode)[-4:] for each in ("a", "a/b/c", "d")] == [
        "0700",
        "1777",
        "0755",
    ]
    assert folders(tmp_path, ("a", "0750")).returncode == 0
    assert oct((tmp_path / "a").stat().st_mode)[-4:] == "0750"


@pytest.mark.parametrize("path", ["a/b", "a/b/c", "a", "../outside", "a/../../outside"])
def test_a_link_on_the_volume_leads_nowhere(tmp_path: Path, path: str) -> None:
    """Who owns a folder may put a link to the system's into it."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "c").mkdir(mode=0o755)
    volume = tmp_path / "volume"
    volume.mkdir()
    if path == "a":
        (volume / "a").symlink_to(outside)
    else:
        (volume / "a").mkdir()
        (volume / "a/b").symlink_to(outside)
    done = folders(volume, (path, "0777"))
    assert done.returncode == 1
    assert "is a link or no folder" in done.stderr
    assert oct(outside.stat().st_mode)[-3:] == "755"
    assert oct((outside / "c").stat().st_mode)[-3:] == "755"
    assert sorted(each.name for each in outside.iterdir()) == ["c"]


def missed(tmp_path: Path, brick: str, below: str, host: str = "10.0.0.11") -> str:
    """Return where a head lacks a disk, if its brick was made at `below` in a file system."""
    bricks = tmp_path / "state/vols/shared/bricks"
    bricks.mkdir(parents=True)
    (bricks / "one").write_text(f"hostname={host}\npath={brick}\nmount_dir={below}\n")
    words = ("shared", brick, "/mnt/none", "10.0.0.11", "head1", f"{tmp_path}/state")
    told = subprocess.run(("sh", "-c", SCRIPT, "sh", *words), capture_output=True, check=True)
    return parse(told.stdout.decode().partition("xml ")[0] + "end here\n", "shared").misses


def test_a_disk_that_is_mounted_no_more_is_missed(tmp_path: Path) -> None:
    """Below its mount point there is another partition than the root's."""
    point = tmp_path / "disk"
    assert missed(tmp_path / "gone", f"{point}/brick", "/brick") == str(point)
    point.mkdir()
    assert missed(tmp_path / "one", f"{point}/brick", "/brick") == str(point)
    assert missed(tmp_path / "itself", str(point), "/") == str(point)
    assert missed(tmp_path / "head1", f"{point}/brick", "/brick", "head1") == str(point)


def test_a_disk_that_is_mounted_or_another_head_s_is_not_missed(tmp_path: Path) -> None:
    brick = f"{tmp_path}/disk/brick"
    assert missed(tmp_path / "root", brick, brick) == ""
    assert missed(tmp_path / "mounted", "/proc/none/brick", "/none/brick") == ""
    assert missed(tmp_path / "other", brick, "/brick", "10.0.0.12") == ""
    assert missed(tmp_path / "unsaid", brick, "") == ""
