"""Sources: which files go in, what is refused, and that nothing unchanged is looked at twice."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import source_walk, stat_cache
from builders.recipe import SourceSpec
from builders.secrets_scan import Finding, scan
from builders.source import collect, source_digest
from builders.source_errors import SecretError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from builders.step import SourceTree

SPEC = SourceSpec("app")
KEY = "-----BEGIN PRIVATE KEY-----\n" + "M" * 64 + "\n"  # no key, but it looks like one


honest_stamp = stat_cache.stamp_of


class Cache:
    """A stat cache in memory that counts what is put."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.puts = 0

    def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.puts += 1
        self.kept[key] = value


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust each stamp at once, as if every file had been written long ago."""
    monkeypatch.setattr(stat_cache, "RACY", -(10**10))


def put(root: Path, *paths: str, content: str = "x") -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


def see(sources: Path, spec: SourceSpec = SPEC, cache: Cache | None = None) -> SourceTree:
    return collect(spec, sources, cache=cache or Cache())


def names(sources: Path, spec: SourceSpec = SPEC) -> list[str]:
    return [file.path for file in see(sources, spec).files]


def refused(sources: Path, spec: SourceSpec = SPEC) -> SourceError:
    with pytest.raises(SourceError) as caught:
        see(sources, spec)
    return caught.value


# What goes in.


def test_files_sorted_with_their_hashes(tmp_path: Path) -> None:
    put(tmp_path / "app", "b.py", "a/c.py", "a.py")
    (tmp_path / "app" / "b.py").chmod(0o755)
    (tmp_path / "app" / "link").symlink_to("a/c.py")
    tree = see(tmp_path)
    assert [(f.path, f.executable, f.link) for f in tree.files] == [
        ("a.py", False, None),
        ("a/c.py", False, None),
        ("b.py", True, None),
        ("link", False, "a/c.py"),
    ]
    assert tree.files[0].sha256.startswith("2d711642b726b044")
    assert tree.root == tmp_path / "app"


NEVER = [
    *(".env", ".env.production", "conf/.env", "server.key", "id_rsa", "a/id_ed25519", "k.p12"),
    *(".netrc", ".pgpass", ".ssh/config", "venv/x.py", ".venv/x.py", "node_modules/a/x.js"),
    *("a/__pycache__/x.pyc", "x.pyc", "dist/x.js", "logs/a.log", "a/logs/b", "gunicorn.pid"),
    *(".git/config", "a/.git/config"),
]


@pytest.mark.parametrize("path", NEVER)
def test_what_never_goes_in_by_default(tmp_path: Path, path: str) -> None:
    put(tmp_path / "app", "app.py", path)
    assert names(tmp_path) == ["app.py"]


@pytest.mark.parametrize("path", [path for path in NEVER if ".git" not in path])
def test_what_never_goes_in_may_be_asked_for(tmp_path: Path, path: str) -> None:
    put(tmp_path / "app", "app.py", path)
    assert path in names(tmp_path, SourceSpec("app", include=(path,)))


def test_git_itself_cannot_be_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "app", "app.py", ".git/config", "sub/.git")
    assert names(tmp_path, SourceSpec("app", include=(".git/", ".git/config", "sub/.git"))) == [
        "app.py"
    ]


def test_a_link_in_place_of_logs_stays_out_like_logs(tmp_path: Path) -> None:
    put(tmp_path / "app", "app.py")
    (tmp_path / "app" / "logs").symlink_to("/var/log")
    assert names(tmp_path) == ["app.py"]


INCLUDES = {
    "a file in a folder left out": (("dist/keep/a.js",), ["app.py", "dist/keep/a.js"]),
    "a pattern in a folder left out": (("dist/*/a.js",), ["app.py", "dist/keep/a.js"]),
    "any depth below": (
        ("dist/**/a.js",),
        ["app.py", "dist/a.js", "dist/keep/a.js"],
    ),
    "a whole folder": (
        ("dist/",),
        ["app.py", "dist/a.js", "dist/keep/a.js", "dist/keep/b.js"],
    ),
    "a folder below": (("dist/keep/",), ["app.py", "dist/keep/a.js", "dist/keep/b.js"]),
    "a name alone does not reach into what is left out": (("a.js",), ["app.py"]),
    "nor does any depth at the start": (("**/a.js",), ["app.py"]),
}


@pytest.mark.parametrize("case", INCLUDES)
def test_include(tmp_path: Path, case: str) -> None:
    include, expected = INCLUDES[case]
    put(tmp_path / "app", "app.py", "dist/a.js", "dist/keep/a.js", "dist/keep/b.js", "dist/.env")
    assert names(tmp_path, SourceSpec("app", include=include)) == expected


def test_below_an_included_folder_the_ignore_files_are_silent(tmp_path: Path) -> None:
    put(tmp_path / "app", "app.py", "made/a.js", "made/deep/b.js", "other/a.js")
    (tmp_path / "app" / ".gitignore").write_text("made/\n*.js\n")
    expected = [".gitignore", "app.py", "made/a.js", "made/deep/b.js"]
    assert names(tmp_path, SourceSpec("app", include=("made/",))) == expected


def test_exclude_has_the_last_word(tmp_path: Path) -> None:
    put(tmp_path / "app", "app.py", "dist/a.js", "dist/a.map", "tests/test.py")
    spec = SourceSpec("app", include=("dist/",), exclude=("*.map", "/tests/"))
    assert names(tmp_path, spec) == ["app.py", "dist/a.js"]


def test_subdir(tmp_path: Path) -> None:
    put(tmp_path / "app", "README.md", "inner/app.py")
    tree = see(tmp_path, SourceSpec("app", subdir="inner"))
    assert [file.path for file in tree.files] == ["app.py"]
    assert tree.root == tmp_path / "app" / "inner"


def test_the_sources_folder_itself(tmp_path: Path) -> None:
    put(tmp_path, "app.py")
    assert names(tmp_path, SourceSpec(".")) == ["app.py"]


def test_a_link_between_sources_is_followed_to_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "real", "app.py")
    (tmp_path / "app").symlink_to("real")
    assert see(tmp_path).root == tmp_path / "real"


def test_ignore_files_above_count_up_to_the_checkout(tmp_path: Path) -> None:
    put(tmp_path / "repo" / "sources" / "app", "a.py", "b.tmp", "c.log", "d.bak", "deep/e.log")
    (tmp_path / "repo" / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.py\n")
    (tmp_path / "repo" / ".gitignore").write_text("*.tmp\n/sources/app/deep/*.log\n")
    (tmp_path / "repo" / "sources" / ".gitignore").write_text("app/*.log\n!*.tmp\n*.bak\n")
    assert names(tmp_path / "repo" / "sources") == ["a.py", "b.tmp"]


def test_without_a_checkout_ignore_files_count_up_to_the_sources(tmp_path: Path) -> None:
    put(tmp_path / "sources" / "app", "a.py", "c.log")
    (tmp_path / ".gitignore").write_text("*.py\n")
    (tmp_path / "sources" / ".gitignore").write_text("*.log\n")
    assert names(tmp_path / "sources") == ["a.py"]


def test_ignore_files_that_are_links_or_not_text(tmp_path: Path) -> None:
    put(tmp_path / "app", "a.py", "rules", content="*.py\n")
    (tmp_path / "app" / ".gitignore").symlink_to("rules")
    (tmp_path / "app" / "inner").mkdir()
    (tmp_path / "app" / "inner" / ".gitignore").write_bytes(b"\xff\xfe\n*.log\n")
    put(tmp_path / "app", "inner/x.log", "inner/y")
    assert names(tmp_path) == [".gitignore", "a.py", "inner/.gitignore", "inner/y", "rules"]


def test_the_same_as_git_would_track(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed, and its own list is what we compare with")
    root = put(
        tmp_path / "app",
        *("a.py", "a.log", "keep.log", "b/a.py", "b/x.tmp", "b/c/x.tmp", "b/c/d.py", "out/x"),
        *("deep/out/x", "deep/build/y", "build/z", "build/keep/z", "é.py", "with space.py"),
    )
    (root / ".gitignore").write_text("*.log\n!keep.log\n/out/\nbuild/*\n!build/keep/\n")
    (root / "b" / ".gitignore").write_text("*.tmp\n!c/x.tmp\n")
    git = ["git", "-c", "core.excludesFile=/dev/null"]
    subprocess.run([*git, "init", "-q"], cwd=root, check=True)
    listed = subprocess.run(
        [*git, "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout.decode()
    assert names(tmp_path) == sorted(listed.rstrip("\0").split("\0"))


# One digest.


def test_the_digest_is_of_names_contents_and_modes_alone(tmp_path: Path) -> None:
    for place in ("one", "other/place"):
        put(tmp_path / place / "app", "a.py", "b/c.py")
    os.utime(tmp_path / "one" / "app" / "a.py", (0, 0))
    (tmp_path / "one" / "app" / "a.py").chmod(0o600)
    assert see(tmp_path / "one").digest == see(tmp_path / "other" / "place").digest


def relink(link: Path, target: str) -> None:
    link.unlink(missing_ok=True)
    os.symlink(target, link)  # noqa: PTH211 - a Path would respell the target


def become_file(link: Path) -> None:
    link.unlink()
    link.write_text("x")


def begin_checkout(top: Path) -> None:
    (top / ".gitignore").write_text("a.py\n")
    (top / ".git").mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "contents": lambda app: (app / "a.py").write_text("y"),
    "executable": lambda app: (app / "a.py").chmod(0o755),
    "name": lambda app: (app / "a.py").rename(app / "z.py"),
    "new file": lambda app: (app / "new.py").write_text(""),
    "new file below": lambda app: (app / "b" / "new.py").write_text(""),
    "file gone": lambda app: (app / "b" / "c.py").unlink(),
    "link target": lambda app: relink(app / "link", "b"),
    "link spelled otherwise": lambda app: relink(app / "link", "./a.py"),
    "file for a link": lambda app: become_file(app / "link"),
    "ignore file": lambda app: (app / ".gitignore").write_text("a.py\n"),
    "ignore file above": lambda app: (app.parent / ".gitignore").write_text("a.py\n"),
    "a checkout begins": lambda app: begin_checkout(app.parent.parent),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_gives_another_digest(tmp_path: Path, change: str) -> None:
    sources = tmp_path / "sources"
    app = put(sources / "app", "a.py", "b/c.py", "always.py")
    (app / "link").symlink_to("always.py")
    cache = Cache()
    before = see(sources, cache=cache).digest
    CHANGES[change](app)
    after = see(sources, cache=cache)
    assert after.digest != before
    assert after == see(sources), "a fresh look sees the same"


# Nothing unchanged is looked at twice.


@pytest.mark.usefixtures("patient")
def test_nothing_changed_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "app", "a.py", "b/c.py", ".gitignore")
    cache = Cache()
    before = see(tmp_path, cache=cache)

    def walk(*_: object, **__: object) -> None:
        pytest.fail("the folder was walked again")

    monkeypatch.setattr(source_walk, "walk", walk)
    assert see(tmp_path, cache=cache) == before
    assert source_digest(SPEC, tmp_path, cache=cache) == before.digest
    assert cache.puts == 1


@pytest.mark.usefixtures("patient")
def test_what_stays_out_may_change_unseen(tmp_path: Path) -> None:
    put(tmp_path / "app", "a.py", "logs/one.log", ".gitignore", content="*.log\n")
    cache = Cache()
    before = see(tmp_path, cache=cache)
    put(tmp_path / "app", "logs/two.log")
    assert see(tmp_path, cache=cache) == before
    assert cache.puts == 1


@pytest.mark.usefixtures("patient")
def test_only_changed_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "app", "a.py", "b.py", "c/d.py")
    cache = Cache()
    see(tmp_path, cache=cache)
    put(tmp_path / "app", "c/d.py", content="changed")
    read: list[str] = []

    def listening(path: str, content: bytes) -> list[Finding]:
        read.append(path)
        return scan(path, content)

    monkeypatch.setattr(source_walk, "scan", listening)
    see(tmp_path, cache=cache)
    assert read == ["c/d.py"]


def coarse(status: os.stat_result) -> stat_cache.Stamp:
    """Stamp as a file system does whose clock ticks once an hour."""
    hour = 3600 * 10**9
    mode, size, *times, inode = honest_stamp(status)
    return [mode, size, *(time_ns // hour * hour for time_ns in times), inode]


def digests_of_edits(sources: Path) -> set[str]:
    """Edit a file in place to the same size ten times, and look each time."""
    app, cache, found = put(sources / "app", "a.py", "b.py"), Cache(), set()
    for at in range(10):
        with (app / "a.py").open("r+") as file:
            file.write(str(at))
        found.add(see(sources, cache=cache).digest)
    return found


def test_files_of_the_same_tick_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stat_cache, source_walk):
        monkeypatch.setattr(module, "stamp_of", coarse)
    monkeypatch.setattr(stat_cache, "RACY", 2 * 3600 * 10**9)
    assert len(digests_of_edits(tmp_path / "guarded")) == 10
    monkeypatch.setattr(stat_cache, "RACY", -(10**14))
    assert len(digests_of_edits(tmp_path / "unguarded")) < 10, "the guard is what helps"


def test_only_a_settled_stamp_is_kept() -> None:
    now, second = 10**18, 10**9
    old = now - 3 * second
    assert stat_cache.settled([1, 0, old, old, 7], now) == [1, 0, old, old, 7]
    for mtime, ctime in ((old, now), (now, old), (old, now - second), (old, now + 9 * second)):
        assert stat_cache.settled([1, 0, mtime, ctime, 7], now) == stat_cache.UNTRUSTED
    year = 365 * 86_400 * second
    assert stat_cache.settled([1, 0, now + year, old, 7], now) != stat_cache.UNTRUSTED


DAMAGED = [b"", b"{", b"[]", b"{}", b'{"digest": "x"}', b"\xff", b"null"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "app", "a.py")
    cache = Cache()
    before = see(tmp_path, cache=cache)
    for key in cache.kept:
        cache.kept[key] = content
    assert see(tmp_path, cache=cache) == before


@pytest.mark.usefixtures("patient")
def test_each_spec_is_remembered_apart(tmp_path: Path) -> None:
    put(tmp_path / "app", "a.py", "b.py")
    cache = Cache()
    assert len(see(tmp_path, cache=cache).files) == 2
    assert len(see(tmp_path, SourceSpec("app", exclude=("b.py",)), cache).files) == 1
    assert len(see(tmp_path, cache=cache).files) == 2


PATHS = ("a.py", "b/a.py", "b/c/d.js", "dist/x.js", ".env", "notes.log", "b/.gitignore")


def replace(file: Path, word: str) -> None:
    (put(file.parent, "t", content=word) / "t").replace(file)


def run(file: Path) -> None:
    if file.is_file():
        file.chmod(0o755)


def link(file: Path) -> None:
    if file.parent.is_dir():
        top = next(folder for folder in file.parents if (folder / "always.py").is_file())
        relink(file, os.path.relpath(top / "always.py", file.parent))


OPERATIONS: dict[str, Callable[[Path, str], object]] = {
    "write": lambda file, word: (
        replace(file, word) if file.is_symlink() else put(file.parent, file.name, content=word)
    ),
    "remove": lambda file, _: file.unlink(missing_ok=True),
    "run": lambda file, _: run(file),
    "link": lambda file, _: link(file),
    "replace": replace,
    "clear": lambda file, _: shutil.rmtree(file.parent / "c", ignore_errors=True),
}


operations = st.lists(
    st.tuples(
        st.sampled_from(sorted(OPERATIONS)),
        st.sampled_from(PATHS),
        st.sampled_from(["x", "y", "*.log\n", "c/\n!c/d.js\n"]),
        st.booleans(),
    ),
    max_size=12,
)


def replay(steps: list[tuple[str, str, str, bool]], *, pause: float) -> None:
    """Change a source step by step; whenever we look, we see what a fresh look sees."""
    spec = SourceSpec("app", include=("dist/x.js",))
    cache = Cache()
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder)
        app = put(sources / "app", "always.py")
        for operation, path, word, look in steps:
            OPERATIONS[operation](app / path, word)
            if look:
                time.sleep(pause)
                assert see(sources, spec, cache) == see(sources, spec)
                time.sleep(pause)


@settings(max_examples=60, deadline=None)
@given(operations)
def test_remembering_never_changes_what_is_seen(steps: list[tuple[str, str, str, bool]]) -> None:
    replay(steps, pause=0)


@settings(max_examples=25, deadline=None)
@given(operations)
def test_nor_when_each_stamp_is_trusted(steps: list[tuple[str, str, str, bool]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stat_cache, "RACY", -(10**10))
        # Longer than a tick of the kernel's clock, on which stamps are told apart.
        replay(steps, pause=0.011)


# What is refused.


def test_no_sources_folder(tmp_path: Path) -> None:
    error = refused(tmp_path / "nowhere")
    assert error.reason == "the sources folder does not exist"
    assert error.where == str(tmp_path / "nowhere")
    assert "--sources DIR" in (error.hint or "")


def test_a_missing_source_is_answered_with_the_nearest(tmp_path: Path) -> None:
    put(tmp_path / "backend_5010", "a.py")
    error = refused(tmp_path, SourceSpec("backend_501"))
    assert error.reason == "source 'backend_501' is not there"
    assert error.hint == "did you mean 'backend_5010'?"


def test_a_missing_subdir(tmp_path: Path) -> None:
    put(tmp_path / "app", "a.py")
    error = refused(tmp_path, SourceSpec("app", subdir="inner"))
    assert error.reason == "source 'app/inner' is not there"


def test_a_file_is_no_source(tmp_path: Path) -> None:
    put(tmp_path, "app")
    assert refused(tmp_path).reason == "source 'app' is not a folder"


@pytest.mark.parametrize("spec", [SourceSpec("app"), SourceSpec("in", subdir="app")])
def test_a_source_that_is_a_link_out_of_the_sources(tmp_path: Path, spec: SourceSpec) -> None:
    put(tmp_path / "secret", "a.py")
    sources = tmp_path / "sources"
    (sources / "in").mkdir(parents=True)
    for place in (sources / "app", sources / "in" / "app"):
        place.symlink_to(tmp_path / "secret")
    error = refused(sources, spec)
    assert "leads out of the sources folder" in error.reason
    assert error.got == str(tmp_path / "secret")


@pytest.mark.usefixtures("patient")
def test_a_source_that_becomes_a_link_out_is_seen_at_once(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    put(sources / "app", "a.py")
    cache = Cache()
    see(sources, cache=cache)
    (sources / "app").rename(tmp_path / "moved")
    (sources / "app").symlink_to(tmp_path / "moved")
    with pytest.raises(SourceError, match="leads out of the sources folder"):
        see(sources, cache=cache)


ESCAPES = {
    "absolute file": "/etc/passwd",
    "absolute folder": "/etc",
    "absolute, though inside": "{root}/a.py",
    "climbing file": "../outside.txt",
    "climbing folder": "..",
    "climbing and coming back": "../app/a.py",
    "climbing from below": "b/../../outside.txt",
    "dangling outside": "../nowhere",
}


@pytest.mark.parametrize("case", ESCAPES)
def test_a_link_that_leads_out(tmp_path: Path, case: str) -> None:
    app = put(tmp_path / "app", "a.py", "b/c.py")
    put(tmp_path, "outside.txt")
    target = ESCAPES[case].format(root=app)
    relink(app / "link", target)
    error = refused(tmp_path)
    assert error.reason == "symbolic link 'link' leads out of the source"
    assert error.where == f"{app}/link"
    assert error.got == target
    assert error.slug == "bad-source"


def test_a_link_that_leads_out_through_a_folder_left_out(tmp_path: Path) -> None:
    app = put(tmp_path / "app", "a.py")
    (app / "logs").symlink_to("/etc")
    (app / "link").symlink_to("logs/passwd")
    assert refused(tmp_path).reason == "symbolic link 'link' leads out of the source"


def test_links_that_stay_inside(tmp_path: Path) -> None:
    app = put(tmp_path / "app", "a.py", "b/c.py", "d/e.py")
    (app / "b" / "up").symlink_to("../a.py")
    (app / "down").symlink_to("b")
    (app / "d" / "beside").symlink_to("../down")
    assert names(tmp_path) == ["a.py", "b/c.py", "b/up", "d/beside", "d/e.py", "down"]


ASTRAY = {
    "dangling": ({"x": "not/yet"}, "symbolic link 'x' leads nowhere"),
    "dangling below": ({"b/x": "../a.pyc"}, "symbolic link 'b/x' leads nowhere"),
    "itself": ({"x": "x"}, "symbolic link 'x' leads round in a circle"),
    "each other": ({"x": "y", "y": "x"}, "symbolic link 'x' leads round in a circle"),
    "its own folder": ({"b/x": "."}, "symbolic link 'b/x' leads round in a circle"),
    "the source": ({"x": "."}, "symbolic link 'x' leads round in a circle"),
    "a folder above": ({"b/x": ".."}, "symbolic link 'b/x' leads round in a circle"),
    "folders in each other": (
        {"b/x": "../d", "d/y": "../b"},
        "symbolic link 'b/x' leads round in a circle",
    ),
    "what is left out": ({"x": "logs/y"}, "symbolic link 'x' leads to 'logs/y', which does not go"),
}


@pytest.mark.parametrize("case", ASTRAY)
def test_a_link_that_leads_nowhere_or_round(tmp_path: Path, case: str) -> None:
    app = put(tmp_path / "app", "a.py", "b/c.py", "d/e.py", "logs/y")
    links, reason = ASTRAY[case]
    for name, target in links.items():
        relink(app / name, target)
    error = refused(tmp_path)
    assert error.reason.startswith(reason)
    assert error.hint


def test_a_link_may_be_left_out(tmp_path: Path) -> None:
    app = put(tmp_path / "app", "a.py")
    (app / "x").symlink_to("nowhere")
    assert names(tmp_path, SourceSpec("app", exclude=("x",))) == ["a.py"]


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    app = put(tmp_path / "app", "a.py", "data/disk.img")
    os.truncate(app / "data" / "disk.img", 6 << 30)
    error = refused(tmp_path)
    assert error.reason == "'data/disk.img' is too large for a source"
    assert error.got == "6144 MiB"
    assert names(tmp_path, SourceSpec("app", exclude=("*.img",))) == ["a.py"]


def test_a_huge_file_goes_in_if_its_path_is_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_walk, "LARGEST_TAKEN", 3)
    put(tmp_path / "app", "a.py", "data/disk.img", content="four")
    assert "is too large" in refused(tmp_path, SourceSpec("app", include=("*.img",))).reason
    spec = SourceSpec("app", include=("data/disk.img", "/a.py"))
    assert names(tmp_path, spec) == ["a.py", "data/disk.img"]


def test_a_pipe_and_a_socket_are_refused_and_not_opened(tmp_path: Path) -> None:
    app = put(tmp_path / "app", "a.py")
    os.mkfifo(app / "pipe")
    error = refused(tmp_path)
    assert error.reason == "'pipe' is a special file (a pipe, socket or device)"
    assert error.where == f"{app}/pipe"
    (app / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(app / "s"))
        assert "'s' is a special file" in refused(tmp_path).reason
        assert names(tmp_path, SourceSpec("app", exclude=("s",))) == ["a.py"]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    app = put(tmp_path / "app", "a.py")
    (Path(os.fsdecode(os.fsencode(app) + b"/b\xff.py"))).write_text("x")
    assert refused(tmp_path).reason == "name b'b\\xff.py' is not UTF-8"


def test_an_ignore_file_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    app = put(tmp_path / "app", "a.py")
    os.mkfifo(app / ".gitignore")
    assert "'.gitignore' is a special file" in refused(tmp_path).reason


def test_a_source_with_nothing_in_it(tmp_path: Path) -> None:
    put(tmp_path / "app", "logs/a.log")
    assert refused(tmp_path).reason == "source 'app' holds no file that goes in"


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = put(tmp_path / "app", "a.py")

    def denied(path: str, _: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    # Root, who runs tests in containers, reads whatever the modes say.
    monkeypatch.setattr(os, "open", denied)
    error = refused(tmp_path)
    assert error.reason == "cannot be read: Permission denied"
    assert error.where == f"{app}/a.py"


def test_a_file_that_never_holds_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "app", "a.py")
    ticks = iter(range(1000))
    monkeypatch.setattr(source_walk, "stamp_of", lambda _: [0o100644, next(ticks), 0, 0, 0])
    assert refused(tmp_path).reason == "the file changes while it is read"


SECRET_FILES = {
    "private key": ("conf/key.txt", KEY, "1", "a private key"),
    "password": ("conf/site.env", "A=1\nDB_PASSWORD=hunter2\n", "2", "a value for DB_PASSWORD"),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("case", SECRET_FILES)
def test_a_secret_is_named_by_line_and_never_shown(tmp_path: Path, case: str) -> None:
    path, content, line, what = SECRET_FILES[case]
    put(tmp_path / "app", "a.py")
    put(tmp_path / "app", path, content=content)
    cache = Cache()
    for _ in range(2):
        with pytest.raises(SecretError) as caught:
            see(tmp_path, cache=cache)
        error = caught.value
        assert error.slug == "secret-in-source"
        assert error.reason == f"source 'app' holds {what}"
        assert error.where == f"{tmp_path}/app/{path}:{line}"
        assert f"allow_secrets: [{path}]" in (error.hint or "")
        said = f"{error} {error.got} {error.hint} {cache.kept}"
        assert "hunter2" not in said
        assert "MMMM" not in said


def test_all_secrets_are_named_at_once(tmp_path: Path) -> None:
    put(tmp_path / "app", "a.env", content="API_TOKEN=hunter2\nMODE=x\nDB_PASS=hunter2\n")
    put(tmp_path / "app", "z.pem", content=KEY)
    error = refused(tmp_path)
    assert (error.where or "").endswith("/a.env:1")
    assert error.got == "also a.env:3 (a value for DB_PASS), z.pem:1 (a private key)"


def test_a_secret_goes_in_if_the_recipe_says_so(tmp_path: Path) -> None:
    put(tmp_path / "app", "certs/test.pem", "other.pem", content=KEY)
    spec = SourceSpec("app", allow_secrets=("certs/*.pem",))
    assert (refused(tmp_path, spec).where or "").endswith("/other.pem:1")
    (tmp_path / "app" / "other.pem").unlink()
    assert names(tmp_path, spec) == ["certs/test.pem"]


@pytest.mark.usefixtures("patient")
def test_permission_taken_back_is_noticed(tmp_path: Path) -> None:
    put(tmp_path / "app", "test.pem", content=KEY)
    cache = Cache()
    see(tmp_path, SourceSpec("app", allow_secrets=("test.pem",)), cache)
    with pytest.raises(SecretError):
        see(tmp_path, SPEC, cache)


def test_an_included_env_file_is_searched(tmp_path: Path) -> None:
    put(tmp_path / "app", ".env", content="DB_PASSWORD=hunter2\n")
    error = refused(tmp_path, SourceSpec("app", include=(".env",)))
    assert error.slug == "secret-in-source"
    assert (error.where or "").endswith("/.env:1")


def test_large_files_are_hashed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "app", "big.bin", content="data" * 100)
    whole = see(tmp_path).digest
    monkeypatch.setattr(source_walk, "LARGEST_SCANNED", 10)
    assert see(tmp_path).digest == whole


def test_the_example_platform_has_no_secrets_in_its_sources() -> None:
    sources = Path(__file__).parents[2] / "examples" / "dashboard"
    for folder in sorted(path for path in sources.iterdir() if path.is_dir()):
        assert names(sources, SourceSpec(folder.name))
