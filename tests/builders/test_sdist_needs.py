"""What a built wheel may ask of a head, and why builds fail, told from their logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders.build import BuildError
from builders.sdist_faults import MissingRequirementError, NetworkError, OutsideError, cause_of
from builders.wheel_needs import NeedsError, check_needs
from builders.wheel_tags import Target
from tests.builders.debs import elf_bytes
from tests.builders.wheels import zip_of

if TYPE_CHECKING:
    from pathlib import Path

TARGET = Target((3, 11), (2, 34))
TAG = "cp311-cp311-manylinux_2_34_x86_64"


def wheel(folder: Path, members: dict[str, bytes], tag: str = TAG) -> Path:
    file = folder / f"small-1.0-{tag}.whl"
    file.write_bytes(zip_of(members.items()))
    return file


def interpreter(folder: Path) -> Path:
    library = folder / "python" / "lib"
    library.mkdir(parents=True)
    (library / "libz.so.1").write_bytes(b"")
    return folder / "python"


def test_a_wheel_may_need_what_is_in_it_and_what_runs_it(tmp_path: Path) -> None:
    members = {
        "small.so": elf_bytes(("libc.so.6", "libz.so.1", "libown-12345678.so.1", "libstdc++.so.6")),
        "small.libs/libown-12345678.so.1": elf_bytes(),
        "small.py": b"x = 1\n",
    }
    check_needs(wheel(tmp_path, members), TARGET, interpreter(tmp_path), title="small")


def test_a_newer_glibc_than_is_promised_is_named_with_its_symbol(tmp_path: Path) -> None:
    members = {"small.so": elf_bytes(glibc="2.36"), "old.so": elf_bytes(glibc="2.17")}
    with pytest.raises(NeedsError, match=r"needs glibc 2\.36, and the recipe promises 2\.34") as of:
        check_needs(wheel(tmp_path, members), TARGET, interpreter(tmp_path), title="small")
    assert of.value.got == "GLIBC_2.36 in small.so"
    assert 'glibc: "2.36"' in (of.value.hint or "")


@pytest.mark.parametrize("tag", ["cp312-cp312-linux_x86_64", "cp311-cp311-manylinux_2_35_x86_64"])
def test_a_wheel_for_another_target_is_refused(tmp_path: Path, tag: str) -> None:
    file = wheel(tmp_path, {"small.py": b""}, tag)
    with pytest.raises(NeedsError, match="does not run on cp311-manylinux_2_34"):
        check_needs(file, TARGET, interpreter(tmp_path), title="small")


def test_a_library_that_nobody_brings_is_named(tmp_path: Path) -> None:
    file = wheel(tmp_path, {"small.so": elf_bytes(("libGL.so.1",))})
    with pytest.raises(NeedsError, match=r"needs libGL\.so\.1 of the head") as caught:
        check_needs(file, TARGET, interpreter(tmp_path), title="small")
    assert caught.value.got == "small.so"


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        ("OSError: [Errno 101] Network is unreachable", NetworkError, "reaches for the network"),
        ("curl: (6) Could not resolve host: x.org", NetworkError, "reaches for the network"),
        ("wget: unable to resolve host address 'x'", NetworkError, "reaches for the network"),
        (
            "OSError: [Errno 30] Read-only file system: '/usr/x'",
            OutsideError,
            "outside its folder: /usr/x",
        ),
        ("ModuleNotFoundError: No module named 'numpy'", MissingRequirementError, "'numpy'"),
        ("x.c:1:10: fatal error: zlib.h: No such file or directory", BuildError, "header zlib.h"),
        ("/usr/bin/ld: cannot find -lxml2: No such file", BuildError, "library xml2"),
        ("Package 'xmlsec1', required by 'virtual:world', not found", BuildError, "know xmlsec1"),
        ("Package xmlsec1 was not found in the search path.", BuildError, "know xmlsec1"),
    ],
)
def test_a_cause_is_told_from_the_log(line: str, kind: type[BuildError], told: str) -> None:
    cause = cause_of(["compiling", line, "error: command failed"])
    assert cause is not None
    assert cause.kind is kind
    assert told in cause.reason
    assert cause.line == line
    assert cause.hint


def test_another_failure_keeps_its_own_words() -> None:
    assert cause_of(["error: it does not compile", "make: *** [all] Error 1"]) is None
