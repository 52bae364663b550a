"""What differs between two closures."""

from __future__ import annotations

import pytest

from deploy.diff import Package, compare, split
from store.info import PathInfo
from store.path import StorePath


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("flask-3.1.3", ("flask", "3.1.3")),
        ("flask-3.1.3-py3-none-any", ("flask", "3.1.3-py3-none-any")),
        ("python-dotenv-1.0", ("python-dotenv", "1.0")),
        ("backend_5010", ("backend_5010", "")),
        ("backend_5010-env", ("backend_5010-env", "")),
        ("python-3.11", ("python", "3.11")),
        ("-1", ("-1", "")),
    ],
)
def test_split(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


def info(name: str, letter: str, size: int) -> PathInfo:
    return PathInfo(StorePath(letter * 32, name), "0" * 64, size, (), 0.0)


def test_compare() -> None:
    was = [
        info("flask-3.1.2", "a", 100),
        info("numpy-2.0", "b", 900),
        info("same-1", "c", 5),
        info("backend", "d", 10),
    ]
    now = [
        info("flask-3.1.3", "f", 130),
        info("pandas-2.2", "g", 70),
        info("same-1", "c", 5),
        info("backend", "h", 11),
    ]
    assert compare(was, now) == (
        Package("backend", ("",), ("",), 1),
        Package("flask", ("3.1.2",), ("3.1.3",), 30),
        Package("numpy", ("2.0",), (), -900),
        Package("pandas", (), ("2.2",), 70),
    )
    assert compare(now, now) == ()


def test_two_versions_side_by_side() -> None:
    was = [info("lib-1", "a", 1)]
    now = [info("lib-1", "a", 1), info("lib-2", "b", 2)]
    assert compare(was, now) == (Package("lib", (), ("2",), 2),)
