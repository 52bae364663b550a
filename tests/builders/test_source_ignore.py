"""Gitignore patterns, by the rules of gitignore(5) and in step with git itself."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.ignore import parse

if TYPE_CHECKING:
    from pathlib import Path

MATCHES = [
    # pattern, path, folder?, left out?
    ("*.log", "a.log", False, True),
    ("*.log", "deep/er/a.log", False, True),
    ("*.log", "a.logs", False, False),
    ("/a", "a", False, True),
    ("/a", "b/a", False, False),
    ("a/b", "a/b", False, True),
    ("a/b", "x/a/b", False, False),
    ("logs/", "logs", True, True),
    ("logs/", "logs", False, False),
    ("logs/", "x/logs", True, True),
    ("**/a/b", "x/y/a/b", False, True),
    ("**/a/b", "a/b", False, True),
    ("a/**", "a/x/y", False, True),
    ("a/**", "a", True, False),
    ("a/**/b", "a/b", False, True),
    ("a/**/b", "a/x/y/b", False, True),
    ("a/**/b", "a/xb", False, False),
    ("a*b", "axxb", False, True),
    ("a/*", "a/b", False, True),
    ("a/*", "a/b/c", False, False),
    ("a**b", "axb", False, True),
    ("?", "a", False, True),
    ("?", "ab", False, False),
    ("[ab].c", "b.c", False, True),
    ("[!ab].c", "b.c", False, False),
    ("[^ab].c", "x.c", False, True),
    ("[a-c]", "b", False, True),
    ("[]]", "]", False, True),
    ("[[:digit:]]x", "7x", False, True),
    ("[[:nonsense:]]x", "7x", False, False),
    ("[ab", "[ab", False, False),
    ("a[b/c]d", "a/d", False, False),
    ("\\#a", "#a", False, True),
    ("\\!a", "!a", False, True),
    ("#a", "#a", False, False),
    ("a ", "a", False, True),
    ("a\\ ", "a ", False, True),
    ("a\\*", "a*", False, True),
    ("a\\*", "ab", False, False),
    ("a\\", "a\\", False, False),
    ("a.b", "axb", False, False),
    ("a\r", "a", False, True),
    ("", "a", False, False),
    ("*", "a\nb", False, True),
]


@pytest.mark.parametrize(("glob", "path", "folder", "out"), MATCHES)
def test_patterns(glob: str, path: str, *, folder: bool, out: bool) -> None:
    assert bool(parse(glob).verdict(path, folder=folder)) is out


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = parse("*.log\n!keep.log\nb/keep.log\n")
    assert patterns.verdict("a.log", folder=False) is True
    assert patterns.verdict("keep.log", folder=False) is False
    assert patterns.verdict("b/keep.log", folder=False) is True
    assert patterns.verdict("other", folder=False) is None


def test_patterns_of_a_folder_below_start_there() -> None:
    assert parse("/a", "x/").verdict("x/a", folder=False) is True


class Checkout:
    """A repository of git's, asked what it would ignore."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run("init", "-q")

    def run(self, *words: str, given: bytes = b"") -> bytes:
        quiet = ["-c", "core.excludesFile=/dev/null", "-c", "init.defaultBranch=main"]
        command = ["git", *quiet, *words]
        done = subprocess.run(command, cwd=self.root, input=given, capture_output=True, check=False)
        return done.stdout

    def ignored(self, path: str) -> bool:
        """Ask about one path, folders above it not considered by us either."""
        said = self.run("check-ignore", "--no-index", "-v", "-z", "--stdin", given=path.encode())
        found = said.split(b"\0")
        return len(found) > 1 and not found[2].startswith(b"!")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    if shutil.which("git") is None:
        pytest.skip("git is not installed, and its own verdict is what we compare with")
    return Checkout(tmp_path_factory.mktemp("checkout"))


globs = st.text(alphabet="ab*?/[]!-^\\. #", min_size=1, max_size=8)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    globs=st.lists(globs, min_size=1, max_size=3),
    name=st.text(alphabet="ab.-]!# ", min_size=1, max_size=4),
)
def test_single_names_are_judged_as_git_judges_them(
    checkout: Checkout, globs: list[str], name: str
) -> None:
    if name in (".", "..") or name == ".gitignore":
        return
    (checkout.root / ".gitignore").write_text("\n".join(globs) + "\n")
    ours = bool(parse("\n".join(globs)).verdict(name, folder=False))
    assert ours is checkout.ignored(name)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    globs=st.lists(globs, min_size=1, max_size=3),
    parts=st.lists(st.text(alphabet="ab", min_size=1, max_size=2), min_size=2, max_size=4),
)
def test_deep_paths_are_judged_as_git_judges_them(
    checkout: Checkout, globs: list[str], parts: list[str]
) -> None:
    (checkout.root / ".gitignore").write_text("\n".join(globs) + "\n")
    patterns = parse("\n".join(globs))
    # Git goes down from the top, and into nothing that it leaves out; so do those who walk.
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
    ours = any(patterns.verdict(folder, folder=True) for folder in above)
    ours = ours or bool(patterns.verdict("/".join(parts), folder=False))
    assert ours is checkout.ignored("/".join(parts))
