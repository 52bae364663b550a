"""Patterns leave out what they name and all below it, and nothing else."""

from __future__ import annotations

import pytest

from builders.deb import DOCUMENTATION
from builders.prune import pruner


@pytest.mark.parametrize(
    ("path", "out"),
    [
        ("usr/share/doc/nginx/changelog.gz", True),
        ("usr/share/doc/nginx/examples/a/b", True),
        ("usr/share/doc/nginx/copyright", False),
        ("share/doc/nginx/copyright", False),
        ("usr/share/doc/nginx", False),
        ("usr/share/man/man1/sh.1.gz", True),
        ("usr/share/locale/de/x.mo", True),
        ("usr/share/manual", False),
        ("usr/bin/man", False),
    ],
)
def test_documentation_goes_and_licences_stay(path: str, *, out: bool) -> None:
    assert pruner(DOCUMENTATION)(path) is out


@pytest.mark.parametrize(
    ("pattern", "path", "out"),
    [
        ("/etc", "etc/nginx/nginx.conf", True),
        ("/etc", "usr/share/etc/file", False),
        ("etc", "usr/share/etc/file", True),
        ("usr/sbin/[!n]*", "usr/sbin/nginx", False),
        ("usr/sbin/[!n]*", "usr/sbin/zic", True),
        ("usr/lib/*/gconv", "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", True),
        ("usr/lib/*.so", "usr/lib/x/y.so", False),
        ("usr/**/y.so", "usr/lib/x/y.so", True),
    ],
)
def test_patterns_are_those_of_git(pattern: str, path: str, *, out: bool) -> None:
    assert pruner([pattern])(path) is out


def test_without_patterns_all_stays() -> None:
    assert not pruner([])("any/thing")
