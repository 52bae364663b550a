"""Slugs and exit codes, of which scripts know: all of them are documented, each in its row."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import builders
import deploy
import sealift
import store
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"
RAISED_THERE = frozenset({"heads-refused"})
"""What is put together of several errors, without a class of its own."""
TOLD_OF_HEADS = frozenset({(1, "stopped"), (1, "halted")})
"""How it ends for one of several heads, never for a command."""


def kinds(of: type[Error] = Error) -> Iterator[type[Error]]:
    yield of
    for each in of.__subclasses__():
        yield from kinds(each)


def known() -> set[tuple[int, str]]:
    """Return exit code and slug of all errors of the program, wherever they are defined.

    Not of those that stand for what a head told: they are made when it does.
    """
    for package in (store, builders, deploy, sealift):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    return {
        (each.exit_code, each.slug)
        for each in kinds()
        if each.__module__.partition(".")[0] in {"store", "builders", "deploy", "sealift"}
        and getattr(sys.modules[each.__module__], each.__name__, None) is each
    }


def documented() -> set[tuple[int, str]]:
    text = COMMANDS.read_text().partition("## Exit codes")[2]
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    return {(int(code), slug) for code, said in rows for slug in re.findall(r"`([a-z-]+)`", said)}


def test_each_is_documented_with_its_exit_code() -> None:
    assert known() - documented() - TOLD_OF_HEADS == set()


def test_none_is_documented_that_is_not_there() -> None:
    slugs = {slug for _, slug in known()} | RAISED_THERE
    assert {slug for _, slug in documented()} - slugs == set()


def test_what_belongs_elsewhere_is_called_so_in_one_way() -> None:
    """As in `bundle-other-site`: the thing, and of what it is another."""
    assert {slug for _, slug in known() if re.search(r"foreign|^other|-other$", slug)} == set()
