"""Output that cannot be written: quiet where nobody reads, one error elsewhere, never an answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sealift.output import write_file
from store.database import DiskFullError
from store.errors import InputError
from tests.sealift.conftest import SEALIFT

if TYPE_CHECKING:
    from tests.sealift.conftest import Folder

RECIPE = "kind: env\nrequirements: [flask]\n"


def run(folder: Folder, out: int, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SEALIFT, *words],
        cwd=folder.root,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def words(folder: Folder, request: pytest.FixtureRequest) -> list[str]:
    folder.recipe("api", RECIPE)
    folder.recipe("python-3.11", "kind: deb\npackages: [libc6]\n")
    folder.recipe("base", "kind: deb\npackages: [libc6]\n")
    return list(request.param)


@pytest.mark.parametrize(
    "words", [["list"], ["--version"], ["--help"], ["list", "--json"], ["show", "no", "--json"]],
    indirect=True,
)  # fmt: skip
class TestStreams:
    def test_a_reader_that_left_hears_nothing(self, folder: Folder, words: list[str]) -> None:
        ours, theirs = os.pipe()
        os.close(ours)
        try:
            done = run(folder, theirs, *words)
        finally:
            os.close(theirs)
        assert (done.returncode, done.stderr) == (141, "")

    def test_a_full_disk_is_one_error(self, folder: Folder, words: list[str]) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            done = run(folder, full, *words)
        finally:
            os.close(full)
        assert done.returncode == 6
        assert done.stderr.splitlines()[0] == "error: the disk is full  [disk-full]"
        assert "at        standard output" in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("words", [["show", "no"]], indirect=True)
def test_where_not_even_errors_can_be_told(folder: Folder, words: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = subprocess.run(
            [SEALIFT, *words], cwd=folder.root, stderr=full, stdout=full, timeout=60, check=False
        )
    finally:
        os.close(full)
    assert done.returncode == 6


class TestFile:
    def test_it_is_there_whole(self, tmp_path: Path) -> None:
        file = tmp_path / "out"
        write_file(file, "1")
        file.chmod(0o640)
        (tmp_path / "link").symlink_to("out")
        write_file(tmp_path / "link", "2")
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("2", 0o640)
        assert (tmp_path / "link").is_symlink()
        assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "out"]

    def test_what_cannot_be_encoded_leaves_the_old_one(self, tmp_path: Path) -> None:
        file = tmp_path / "out"
        file.write_text("old")
        with pytest.raises(UnicodeEncodeError):
            write_file(file, "new \udc80")
        assert file.read_text() == "old"
        assert list(tmp_path.iterdir()) == [file]

    def test_a_device_is_no_file_to_replace(self) -> None:
        with pytest.raises(DiskFullError) as caught:
            write_file(Path("/dev/full"), "1")
        assert caught.value.where == "/dev/full"

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No such file") as caught:
            write_file(tmp_path / "gone" / "out", "1")
        assert caught.value.where == str(tmp_path / "gone" / "out")
        assert caught.value.exit_code == 2


THREADS = """
import sys
import threading
from sealift import output

sys.setswitchinterval(1e-6)
output.guard()

def write(number):
    for line in range(2000):
        sys.stdout.write(f"{number} {line} {'x' * (line % 397)}\\n")
        if line % 50 == 0:
            sys.stdout.flush()

threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
for each in threads:
    each.start()
for each in threads:
    each.join()
"""


def test_lines_of_several_threads_are_whole() -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREADS], stdout=subprocess.PIPE, timeout=60, check=True
    )
    wanted = [
        f"{number} {line} {'x' * (line % 397)}" for number in range(8) for line in range(2000)
    ]
    assert sorted(done.stdout.decode().splitlines()) == sorted(wanted)
