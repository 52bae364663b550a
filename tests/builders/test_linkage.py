"""What libraries ask of a system, and what nothing brings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builders.elf import OwnGlibcError
from builders.linkage import elf_files, missing, need, need_of
from tests.builders.debs import elf_bytes

if TYPE_CHECKING:
    from pathlib import Path


def runtime(folder: Path, **record: object) -> Path:
    """Lay what a toolchain says of itself."""
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "libstdc++.so.6").touch()
    (folder / "sealift.json").write_text(json.dumps({"format": 1, **record}))
    return folder


def wheel(folder: Path, *needed: str, glibc: str = "2.17", name: str = "a.so") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(elf_bytes((*needed, "libc.so.6"), glibc))
    return folder


@pytest.mark.parametrize(
    ("head", "wheels", "wanted"), [("2.36", "2.17", "2.36"), ("2.9", "2.17", "2.17")]
)
def test_the_later_of_interpreter_and_wheels(
    tmp_path: Path, head: str, wheels: str, wanted: str
) -> None:
    files = elf_files([wheel(tmp_path / "w", glibc=wheels)])
    assert need(files, runtime(tmp_path / "p", glibc=head), where="x") == {"glibc": wanted}


def test_with_a_glibc_of_its_own_it_asks_for_none(tmp_path: Path) -> None:
    python = runtime(tmp_path / "p", glibc=None, own_glibc="2.41")
    files = elf_files([wheel(tmp_path / "w", glibc="2.41")])
    assert need(files, python, where="x") == {"glibc": None, "own_glibc": "2.41"}


def test_a_wheel_that_needs_a_later_one_than_that_is_refused(tmp_path: Path) -> None:
    python = runtime(tmp_path / "p", glibc=None, own_glibc="2.41")
    files = elf_files([wheel(tmp_path / "w", glibc="2.100")])
    with pytest.raises(OwnGlibcError) as caught:
        need(files, python, where="app")
    assert (caught.value.where, caught.value.got) == ("app", "glibc 2.100")
    assert "a.so" in caught.value.reason


def test_only_libraries_and_programs_are_read(tmp_path: Path) -> None:
    folder = wheel(tmp_path / "w", name="b.cpython-313-x86_64-linux-gnu.so")
    wheel(folder, name="libz.so.1.2")
    wheel(folder, name="data.bin", glibc="2.99")
    wheel(folder, name="tool").joinpath("tool").chmod(0o755)
    (folder / "text.so").write_text("INPUT(libz.so.1)")
    (folder / "empty.so").touch()
    (folder / "cut.so").write_bytes(elf_bytes()[:100])
    (folder / "link.so").symlink_to("nowhere")
    names = {name.rpartition("/")[2] for name in elf_files([folder])}
    assert names == {"b.cpython-313-x86_64-linux-gnu.so", "libz.so.1.2", "tool"}


def test_a_library_that_nobody_brings_is_named(tmp_path: Path) -> None:
    python = runtime(tmp_path / "p")
    folder = wheel(tmp_path / "w", "libstdc++.so.6", "libGL.so.1", "libown.so.1")
    wheel(folder, name="libown.so.1")
    found = missing(elf_files([folder]), python)
    assert found == [("libGL.so.1", str(folder / "a.so"))]


def test_what_says_nothing_asks_for_nothing(tmp_path: Path) -> None:
    assert need_of(tmp_path) == {}
    assert need({}, tmp_path, where="x") == {"glibc": None}
