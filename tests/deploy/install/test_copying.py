"""Copies: whose they are, and who may read them on the way."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING, Any

import pytest

from deploy.install import copying

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="secret")
def _secret(tmp_path: Path) -> Path:
    file = tmp_path / "munge.key"
    file.write_bytes(b"key")
    file.chmod(0o400)
    return file


def test_a_copy_is_the_same_in_all_that_counts(secret: Path, tmp_path: Path) -> None:
    os.utime(secret, (1.0, 2.0))
    copying.copy(secret, tmp_path / "copy")
    assert copying.same(secret, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mtime == 2.0


def test_nobody_else_reads_a_copy_at_any_time(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    copy = shutil.copyfileobj

    def watched(old: Any, new: Any) -> None:
        seen.extend(
            stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir() if each != secret
        )
        copy(old, new)

    monkeypatch.setattr(shutil, "copyfileobj", watched)
    before = os.umask(0)
    try:
        copying.copy(secret, tmp_path / "copy")
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_a_link_is_copied_as_a_link(secret: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(secret.name)
    copying.copy(link, tmp_path / "copy")
    assert (tmp_path / "copy").readlink() == link.readlink()
