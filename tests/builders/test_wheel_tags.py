"""Which wheel a target takes, compared with the reference implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging import tags

from builders.wheel_tags import Target, choose, parse_wheel, supported
from store.errors import InputError

TARGET = Target((3, 11), (2, 28))


def expected(target: Target) -> list[str]:
    """Ask `packaging` for a target, with the platforms spelled by PEP 600."""
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    platforms = []
    for minor in range(target.glibc[1], 4, -1):
        platforms.append(f"manylinux_2_{minor}_{target.machine}")
        if minor in legacy:
            platforms.append(f"{legacy[minor]}_{target.machine}")
    platforms.append(f"linux_{target.machine}")
    interpreter = f"cp{target.python[0]}{target.python[1]}"
    found = list(tags.cpython_tags(target.python, abis=[interpreter], platforms=platforms))
    found += tags.compatible_tags(target.python, interpreter, platforms)
    return [str(tag) for tag in found]


@pytest.mark.parametrize("python", [(3, 9), (3, 11), (3, 13)])
@pytest.mark.parametrize("glibc", [(2, 17), (2, 28), (2, 36)])
def test_the_order_is_that_of_packaging(python: tuple[int, int], glibc: tuple[int, int]) -> None:
    target = Target(python, glibc)
    assert list(supported(target)) == expected(target)


def pick(*names: str, target: Target = TARGET) -> str | None:
    best = choose([parse_wheel(name) for name in names], target)
    return None if best is None else best.filename


def test_a_declared_glibc_is_a_floor() -> None:
    old = "n-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    mid = "n-1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
    new = "n-1-cp311-cp311-manylinux_2_34_x86_64.whl"
    assert pick(old, mid, new) == mid
    assert pick(old, mid, new, target=Target((3, 11), (2, 17))) == old
    assert pick(old, mid, new, target=Target((3, 11), (2, 36))) == new
    assert pick(new) is None


def test_what_is_nearest_wins() -> None:
    own = "n-1-cp311-cp311-manylinux_2_17_x86_64.whl"
    stable = "n-1-cp38-abi3-manylinux_2_28_x86_64.whl"
    pure = "n-1-py3-none-any.whl"
    assert pick(pure, stable, own) == own
    assert pick(pure, stable) == stable
    assert pick(pure, "n-1-cp312-cp312-manylinux_2_17_x86_64.whl") == pure


def test_a_higher_build_number_wins() -> None:
    assert pick("n-1-9-py3-none-any.whl", "n-1-10-py3-none-any.whl") == "n-1-10-py3-none-any.whl"


@pytest.mark.parametrize(
    "name",
    [
        "n-1-cp311-cp311-win_amd64.whl",
        "n-1-cp311-cp311-macosx_11_0_arm64.whl",
        "n-1-cp311-cp311-manylinux_2_17_aarch64.whl",
        "n-1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "n-1-cp311-cp311t-manylinux_2_17_x86_64.whl",
        "n-1-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl",
        "n-1-py2-none-any.whl",
    ],
)
def test_what_does_not_run_is_not_taken(name: str) -> None:
    assert pick(name) is None


@pytest.mark.parametrize(
    "name", ["", "n.whl", "n-1.whl", "n-1-py3-none-any.zip", "a/n-1-a-b-c.whl"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="not the name of a wheel"):
        parse_wheel(name)


@given(
    st.permutations(["n-1-py3-none-any.whl", "n-1-py2.py3-none-any.whl", "n-1-cp311-none-any.whl"])
)
def test_the_order_of_an_index_does_not_matter(names: list[str]) -> None:
    assert pick(*names) == "n-1-cp311-none-any.whl"
