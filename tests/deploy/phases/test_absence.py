"""What a head cannot look at is never taken for something that is not there."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from deploy.install.machine import ENVIRONMENT
from deploy.phases.absence import absent, look, there
from deploy.phases.errors import PhaseError
from deploy.phases.member import Ended
from tests.deploy.phases.fakes import FakeMember

if TYPE_CHECKING:
    from pathlib import Path


def real(argv: tuple[str, ...], _given: str) -> Ended:
    """Run it here, as a head would."""
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_what_is_there_and_what_is_not_is_told_by_the_real_commands(tmp_path: Path) -> None:
    head = FakeMember("head1", answer=real)
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("nowhere")
    assert there(head, f"{tmp_path}/file")
    assert there(head, f"{tmp_path}/link")
    assert not there(head, f"{tmp_path}/none")
    assert look(head, "it", ("cat", f"{tmp_path}/file")) == "text"
    assert look(head, "it", ("cat", f"{tmp_path}/none")) == ""
    two = ("find", f"{tmp_path}/none", str(tmp_path), "-name", "file", "-printf", "%f\\n")
    assert look(head, "it", two) == "file\n"


def test_what_is_in_the_way_is_not_absence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PhaseError, match="cannot be looked at") as told:
        there(FakeMember("head1", answer=real), f"{tmp_path}/file/below")
    assert told.value.where == "head1"
    assert "Not a directory" in str(told.value.got)


@pytest.mark.parametrize(
    "ended",
    [
        Ended(0),
        Ended(1),
        Ended(-1, "", "no end within 60 s"),
        Ended(-1, "", "find: '/a': No such file or directory"),
        Ended(127, "", "cannot start find: [Errno 2] No such file or directory"),
        Ended(1, "", "find: '/a': Input/output error"),
        Ended(1, "", "find: '/a': No such file or directory\nfind: '/b': Input/output error"),
    ],
)
def test_nothing_else_says_that_something_is_absent(ended: Ended) -> None:
    assert not absent(ended)
    if ended.status:
        with pytest.raises(PhaseError):
            look(FakeMember("head1", answer=lambda _argv, _given: ended), "/a", ("find", "/a"))
