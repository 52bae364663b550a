"""What ELF files ask for is read as the linker wrote it; damaged ones are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.elf import Elf, ElfError, glibc_floor, parse
from tests.builders.debs import elf_bytes


def elf(*needed: str, glibc: str = "2.34", runpath: str = "") -> Elf:
    parsed = parse(elf_bytes(needed, glibc, runpath=runpath), where="lib")
    assert parsed is not None
    return parsed


def test_needs_are_read() -> None:
    parsed = elf("liba.so.1", "libb.so.2", runpath="$ORIGIN/../lib:/opt/lib")
    assert parsed.needed == ("liba.so.1", "libb.so.2")
    assert parsed.search == ("$ORIGIN/../lib", "/opt/lib")
    assert parsed.versions == {"libc.so.6": ("GLIBC_2.34",)}
    assert parsed.interpreter is None


def test_the_floor_is_the_highest_version_by_number() -> None:
    floor = glibc_floor([elf(glibc="2.4"), elf(glibc="2.2.5"), elf(glibc="2.36"), elf(glibc="2.9")])
    assert floor == "2.36"


def test_private_symbols_and_other_libraries_count_for_nothing() -> None:
    assert glibc_floor([elf(glibc="PRIVATE")]) is None
    # Relative relocations that glibc 2.35 would pass over in silence.
    assert glibc_floor([elf(glibc="ABI_DT_RELR"), elf(glibc="2.2.5")]) == "2.36"
    assert glibc_floor([]) is None


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01", b"\x7fELF\x02\x02" + bytes(60)]
)
def test_what_is_not_of_our_kind_is_passed_over(data: bytes) -> None:
    assert parse(data, where="file") is None


def test_a_file_cut_short_is_refused() -> None:
    with pytest.raises(ElfError) as caught:
        parse(elf_bytes()[:150], where="lib/libx.so")
    assert caught.value.where == "lib/libx.so"


@given(at=st.integers(6, len(elf_bytes()) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(at: int, byte: int) -> None:
    data = elf_bytes()
    with suppress(ElfError):
        parse(data[:at] + bytes([byte]) + data[at + 1 :], where="lib")


def test_this_interpreter_is_read_as_readelf_reads_it() -> None:
    tool = shutil.which("readelf")
    if tool is None:
        pytest.skip("needs readelf of binutils")
    file = Path(sys.executable).resolve()
    done = subprocess.run([tool, "-dW", str(file)], capture_output=True, text=True, check=True)
    theirs = [line.split("[")[1][:-1] for line in done.stdout.splitlines() if "(NEEDED)" in line]
    parsed = parse(file.read_bytes(), where=str(file))
    assert parsed is not None
    assert list(parsed.needed) == theirs
    assert parsed.interpreter is not None
