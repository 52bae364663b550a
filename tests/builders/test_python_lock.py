"""Locks of Python packages: what they say, and which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.python_lock import (
    LockError,
    MissingLockError,
    NoWheelError,
    StaleLockError,
    load,
    parse,
    render,
)
from builders.python_pins import Wheel
from builders.requirements import parse_lines
from builders.wheel_tags import Target

if TYPE_CHECKING:
    from pathlib import Path

TARGET = Target((3, 11), (2, 28))
FLASK = Wheel(
    "flask",
    "3.1.3",
    "https://files.pythonhosted.org/packages/7f/9c/x/flask-3.1.3-py3-none-any.whl",
    "f4" * 32,
    103424,
)
NUMPY = Wheel(
    "numpy",
    "2.4.6",
    "https://files.pythonhosted.org/packages/02/03/x/numpy-2.4.6-cp311-cp311-"
    "manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "89" * 32,
    None,
)
ASKED = parse_lines(["flask>=3", "numpy"], "here")


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "app.pylock.toml"
    file.write_text(text)
    return file


def test_a_lock_says_what_it_was_made_of(tmp_path: Path) -> None:
    file = write(tmp_path, render([NUMPY, FLASK], ASKED, TARGET))
    assert load(file, ASKED, TARGET, name="app").wheels == (FLASK, NUMPY)


names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?", fullmatch=True)


@given(
    st.lists(
        st.tuples(names, st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}", fullmatch=True)),
        unique_by=lambda pair: pair[0],
    ),
    st.binary(min_size=32, max_size=32),
    st.none() | st.integers(0, 1 << 40),
)
def test_parse_and_render_are_inverses(
    packages: list[tuple[str, str]], digest: bytes, size: int | None
) -> None:
    wheels = [
        Wheel(name, version, f"https://x/{name.replace('-', '_')}-{version}-py3-none-any.whl",
              digest.hex(), size)
        for name, version in packages
    ]  # fmt: skip
    text = render(wheels, ASKED, TARGET)
    lock = parse(text, where="here")
    assert lock.wheels == tuple(sorted(wheels, key=lambda wheel: wheel.name))
    assert lock.requirements == ASKED.lines
    assert render(lock.wheels, ASKED, TARGET) == text


def test_no_lock_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MissingLockError) as caught:
        load(tmp_path / "app.pylock.toml", ASKED, TARGET, name="app")
    assert (caught.value.slug, caught.value.hint) == ("lock-missing", "sealift lock app")


def test_a_moved_requirement_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, render([FLASK, NUMPY], ASKED, TARGET))
    with pytest.raises(StaleLockError) as caught:
        load(file, parse_lines(["flask>=4", "numpy"], "here"), TARGET, name="app")
    error = caught.value
    assert (error.slug, error.hint) == ("lock-stale", "sealift lock app")
    assert (error.expected, error.got) == ("flask>=4", "flask>=3")


def test_another_interpreter_makes_a_lock_stale(tmp_path: Path) -> None:
    file = write(tmp_path, render([FLASK, NUMPY], ASKED, TARGET))
    with pytest.raises(StaleLockError):
        load(file, ASKED, Target((3, 12), (2, 28)), name="app")
    with pytest.raises(StaleLockError):
        load(file, ASKED, Target((3, 11), (2, 17)), name="app")


def test_a_wheel_for_another_system_is_named(tmp_path: Path) -> None:
    old = Target((3, 11), (2, 17))
    file = write(tmp_path, render([FLASK, NUMPY], ASKED, old))
    with pytest.raises(NoWheelError, match=r"numpy-2\.4\.6.* does not run on"):
        load(file, ASKED, old, name="app")


GOOD = render([FLASK, NUMPY], ASKED, TARGET)
FLASK_TABLE = GOOD[GOOD.index("[[packages]]") : GOOD.index('[[packages]]\nname = "numpy"')]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the lock is empty"),
        (" \n", "the lock is empty"),
        ("a = 1", "not a lock of Python packages: 'tool' is missing"),
        ("\x00", "not a lock"),
        ("packages = 3", "not a lock"),
        ("[tool.sealift]\nrequirements = []\npackages = [1]", "does not say"),
        ('packages = [1]\n[tool.sealift]\nrequirements = ["flask"]', "not a lock"),
        (GOOD.replace("# requirements: sha256-", "# "), "does not say"),
        (GOOD.replace("f4f4", "zzzz"), "not a SHA-256"),
        (GOOD.replace("f4" * 32, "f4"), "not a SHA-256"),
        (GOOD.replace(', hashes = { sha256 = "' + "f4" * 32 + '" }', ""), "not a lock"),
        (GOOD.replace("sha256 = ", "md5 = "), "not a lock"),
        (GOOD.replace("x/flask-3.1.3", "x/other-3.1.3"), "a wheel of other"),
        (GOOD.replace(FLASK_TABLE, FLASK_TABLE * 2), "twice"),
        (GOOD.replace('name = "flask"', 'name = "zlib"'), "out of order"),
        (GOOD.replace("size = 103424", 'size = "big"'), "not a lock"),
    ],
)
def test_damaged_locks_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LockError, match=says) as caught:
        load(write(tmp_path, text), ASKED, TARGET, name="app")
    assert caught.value.where == str(tmp_path / "app.pylock.toml")
    if "lock is empty" in says or "not a lock" in says:
        assert caught.value.hint == "sealift lock app"


def test_a_lock_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(LockError, match="not UTF-8"):
        load(file, ASKED, TARGET, name="app")


def test_a_mirror_takes_the_place_of_the_public_files() -> None:
    assert FLASK.address("http://mirror/pypi/").startswith("http://mirror/pypi/packages/7f/9c/")
    assert FLASK.address("https://files.pythonhosted.org") == FLASK.url
    own = Wheel("a", "1", "http://other/a-1-py3-none-any.whl", "00" * 32, None)
    assert own.address("http://mirror") == own.url


def test_a_local_version_is_spelled_out() -> None:
    wheel = Wheel("torch", "2.0+cpu", "https://x/torch-2.0%2Bcpu-py3-none-any.whl", "00" * 32, None)
    assert wheel.filename == "torch-2.0+cpu-py3-none-any.whl"
