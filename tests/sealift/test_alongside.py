"""Does the one file lie beside a bundle, whole, signed, and over nothing that matters?"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from deploy.signing import RELEASE, Policy, SignatureError, SigningError, sign, verify
from sealift import alongside
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(argv, check=True)
    (tmp_path / "signers").write_text(f"release@builder {file.with_suffix('.pub').read_text()}")
    return file


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "store" / "sealift"
    file.parent.mkdir()
    file.write_bytes(b"\x7fELF and more")
    file.chmod(0o555)
    return file


def test_it_can_be_run_and_its_signature_is_the_builders(
    tmp_path: Path, key: Path, program: Path
) -> None:
    (tmp_path / "medium").mkdir()
    target = alongside.check(program, tmp_path / "medium", force=False)
    alongside.lay(program, target, lambda data: [sign(data, key, namespace=RELEASE)])
    assert target.read_bytes() == program.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o755
    policy = Policy(tmp_path / "signers", None)
    signature = (tmp_path / "medium" / "sealift.sig").read_bytes()
    (signer,) = verify(target.read_bytes(), [signature], policy)
    assert signer.identity == "release@builder"
    with pytest.raises(SignatureError):
        verify(target.read_bytes() + b"x", [signature], policy)
    assert {each.name for each in target.parent.iterdir()} == {"sealift", "sealift.sig"}


def test_what_is_in_the_way_stays_unless_it_may_go(tmp_path: Path, program: Path) -> None:
    (tmp_path / "sealift").write_text("my notes")
    with pytest.raises(InputError, match="another file is in the way"):
        alongside.check(program, tmp_path, force=False)
    assert alongside.check(program, tmp_path, force=True) == tmp_path / "sealift"
    shutil.copy(program, tmp_path / "equal")
    (tmp_path / "equal").rename(tmp_path / "sealift")
    assert alongside.check(program, tmp_path, force=False) == tmp_path / "sealift"
    (tmp_path / "sealift").unlink()
    (tmp_path / "sealift").symlink_to("nowhere")
    with pytest.raises(InputError, match="another file is in the way"):
        alongside.check(program, tmp_path, force=False)


def test_without_a_signature_nothing_is_written(tmp_path: Path, program: Path) -> None:
    def refuse(_: bytes) -> list[bytes]:
        raise SigningError("no")

    with pytest.raises(SigningError):
        alongside.lay(program, tmp_path / "sealift", refuse)
    assert not (tmp_path / "sealift").exists()
