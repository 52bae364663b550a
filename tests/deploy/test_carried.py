"""Are the machine's own programs taken before those that sealift carries?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy import carried, openssh
from deploy.carried import SSH, SSH_KEYGEN, find

if TYPE_CHECKING:
    from pathlib import Path


def lay(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with no program at all; the prefix of its interpreter."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(carried, "SYSTEM", str(tmp_path / "sbin"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "python"))
    return tmp_path / "python"


def test_the_carried_one_serves_where_there_is_none(bare: Path) -> None:
    ssh = lay(bare / "carried/openssh/usr/bin/ssh")
    assert find(SSH) == str(ssh)
    assert openssh.ssh() == str(ssh)
    assert find(SSH_KEYGEN) is None


def test_the_machines_own_goes_first(bare: Path, tmp_path: Path) -> None:
    lay(bare / "carried/openssh/usr/bin/ssh")
    own = lay(tmp_path / "bin/ssh")
    assert find(SSH) == str(own)


def test_administrators_programs_are_found_beside_path(bare: Path, tmp_path: Path) -> None:
    lay(bare / "carried/nftables/usr/sbin/nft")
    own = lay(tmp_path / "sbin/nft")
    assert find(carried.NFT) == str(own)


def test_none_at_all_says_where_one_comes_from(bare: Path) -> None:
    with pytest.raises(openssh.NoOpenSshError, match="there is no ssh-keygen") as caught:
        openssh.ssh_keygen()
    assert "bundle --with-sealift" in str(caught.value.hint)
    lay(bare / "carried/openssh/usr/bin/ssh-keygen").chmod(0o644)
    assert find(SSH_KEYGEN) is None, "what cannot be run is no program"
