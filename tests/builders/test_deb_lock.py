"""Packages are pinned from signed indexes, newest first, and from nothing else."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import builders
from builders.apt_solver import NoPackageError
from builders.deb_index import SignatureError, read_suite, verify
from builders.deb_lock import lock
from builders.deb_pins import LockError, load_lock, parse_lock
from builders.deb_sources import SUITES
from builders.debian import BadIndexError
from builders.fetch import FetchError
from builders.project import Project
from builders.recipe import Kind, Recipe
from builders.settings import Mirrors, load_settings
from tests.builders.registry import Registry, serving, status

if TYPE_CHECKING:
    from collections.abc import Iterator

MIRROR = Path(__file__).with_name("mirror")
KEYRING = MIRROR / "archive.gpg"
WANTED = ("nginx", "nginx-common", "zlib1g")
SNAPSHOT = "https://snapshot.debian.org/archive"


def read(name: str) -> bytes:
    return (MIRROR / name).read_bytes()


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A mirror with three suites, of which one is served by hash."""
    with serving() as served:
        for suite in SUITES:
            served.put(f"/dists/{suite}/InRelease", read(f"{suite}.InRelease"))
            served.put(index(suite), read(f"{suite}.Packages.xz"))
        yield served


def index(suite: str) -> str:
    folder = f"/dists/{suite}/main/binary-amd64"
    if suite != "bookworm":
        return f"{folder}/Packages.xz"
    line = next(line for line in read("bookworm.InRelease").decode().splitlines() if "xz" in line)
    return f"{folder}/by-hash/SHA256/{line.split()[0]}"


@pytest.fixture
def project(tmp_path: Path, registry: Registry) -> Project:
    (tmp_path / "sealift.yaml").write_text("sources: .\n")
    settings = load_settings(tmp_path)
    mirrors = Mirrors(debian=registry.url, debian_security=registry.url + "/")
    return Project(replace(settings, keyring=KEYRING, mirrors=mirrors), {})


def recipe(*packages: str, **options: Any) -> Recipe:
    options["packages"] = packages
    return Recipe("web", Kind.DEB, Path("recipes/web.yaml"), options=options)


def test_the_newest_version_of_each_package_is_pinned(project: Project) -> None:
    text = lock(recipe(*WANTED), None, project)
    made = parse_lock(text)
    assert str(made) == text == lock(recipe(*WANTED), None, project)
    assert {name: pinned.version for name, pinned in made.packages.items()} == {
        "nginx": "1.22.1-9+deb12u1",
        "nginx-common": "1.22.1-9",
        "zlib1g": "1:1.2.13.dfsg-1",
    }
    assert made.packages["nginx"].suite == "bookworm-security"
    assert made.packages["zlib1g"].suite == "bookworm"
    assert set(made.suites) == {"bookworm", "bookworm-security"}


def test_a_recipe_may_name_its_suites(project: Project) -> None:
    made = parse_lock(lock(recipe("nginx", suites=("bookworm",)), None, project))
    assert made.packages["nginx"].version == "1.22.1-9"


def test_another_architecture_is_not_taken(project: Project) -> None:
    assert '"1.99.0-1"' not in lock(recipe("nginx"), None, project)


def test_downloads_come_from_the_mirror_and_then_from_what_remembers(project: Project) -> None:
    made = parse_lock(lock(recipe(*WANTED), None, project))
    moment = "20260712T101637Z"
    security = "pool/nginx_1.22.1-9+deb12u1_amd64.deb"
    mirrors = Mirrors(debian="http://one/debian", debian_security="http://two/security")
    assert made.urls("nginx", mirrors) == (
        f"http://two/security/{security}",
        f"{SNAPSHOT}/debian-security/{moment}/{security}",
    )
    assert made.urls("nginx-common", mirrors) == (
        "http://one/debian/pool/nginx-common_1.22.1-9_all.deb",
        f"{SNAPSHOT}/debian/{moment}/pool/nginx-common_1.22.1-9_all.deb",
    )
    assert made.packages["nginx"].integrity.startswith("sha256-7u7u")


def test_a_package_that_no_suite_has_is_named(project: Project) -> None:
    with pytest.raises(NoPackageError, match="'nginz'") as caught:
        lock(recipe("nginx", "nginz"), None, project)
    assert caught.value.where == "recipes/web.yaml"


def swap(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def test_a_changed_release_is_refused(project: Project, registry: Registry) -> None:
    changed = swap(read("bookworm.InRelease"), b"Origin: Tests", b"Origin: Tested")
    registry.put("/dists/bookworm/InRelease", changed)
    with pytest.raises(SignatureError) as caught:
        lock(recipe("nginx"), None, project)
    assert caught.value.where == f"{registry.url}/dists/bookworm/InRelease"
    assert "BAD signature" in str(caught.value.got)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (read("stranger.InRelease"), SignatureError),
        (b"Codename: bookworm-updates\n", SignatureError),
        (b"", SignatureError),
        (read("bookworm.InRelease"), BadIndexError),
        (read("expired.InRelease"), BadIndexError),
        (read("senseless.InRelease"), BadIndexError),
    ],
    ids=["by a stranger", "unsigned", "empty", "of another suite", "expired", "without sense"],
)
def test_releases_that_are_not_believed(
    project: Project, registry: Registry, data: bytes, error: type[BadIndexError]
) -> None:
    registry.put("/dists/bookworm-updates/InRelease", data)
    with pytest.raises(BadIndexError) as caught:
        lock(recipe("nginx"), None, project)
    assert type(caught.value) is error
    assert "bookworm-updates" in str(caught.value.where)


def test_what_stands_around_the_signed_text_is_not_read() -> None:
    signed = b"Codename: evil\nDate: never\n\n" + read("bookworm.InRelease") + b"\nSHA256: evil\n"
    text = verify(signed, keyring=KEYRING, where="here")
    assert "evil" not in text
    assert "Codename: bookworm\n" in text


def test_one_known_signer_of_several_is_enough_and_none_may_be_bad() -> None:
    """A second signature by an unknown key is ordinary: Debian signs with several."""
    both = read("both.InRelease")
    assert "Codename" in verify(both, keyring=KEYRING, where="here")
    with pytest.raises(SignatureError):
        verify(swap(both, b"Date: Sat", b"Date: Sun"), keyring=KEYRING, where="here")


def test_without_a_keyring_nothing_is_believed(project: Project, tmp_path: Path) -> None:
    other = Project(replace(project.settings, keyring=tmp_path / "none.gpg"), {})
    with pytest.raises(SignatureError, match="no keyring") as caught:
        lock(recipe("nginx"), None, other)
    assert "debian-archive-keyring" in str(caught.value.hint)


def test_without_gpgv_nothing_is_believed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SignatureError, match="gpgv is not installed"):
        lock(recipe("nginx"), None, project)


def test_an_index_that_its_release_does_not_pin_is_refused(
    project: Project, registry: Registry
) -> None:
    text = lzma.decompress(read("bookworm.Packages.xz")).replace(b"1.22.1-9", b"9.99.9-9")
    changed = lzma.compress(text)
    registry.put(index("bookworm"), changed.ljust(len(read("bookworm.Packages.xz")))[:340])
    with pytest.raises(BadIndexError, match="not what its Release pins") as caught:
        lock(recipe("nginx", suites=("bookworm",)), None, project)
    assert "sha256" in str(caught.value.got)


def test_an_index_that_is_gone(project: Project, registry: Registry) -> None:
    registry.faults[index("bookworm")] = status(404)
    with pytest.raises(FetchError):
        lock(recipe("nginx"), None, project)


def test_a_suite_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(FetchError) as caught:
        read_suite(registry.url, "trixie", frozenset(WANTED), keyring=KEYRING)
    assert caught.value.where == f"{registry.url}/dists/trixie/InRelease"


class TestLoad:
    """A lock that is not just right stops the build, with the command that renews it."""

    @pytest.fixture
    def file(self, tmp_path: Path, project: Project) -> Path:
        file = tmp_path / "web.json"
        file.write_text(lock(recipe(*WANTED), None, project))
        return file

    def test_round_trip(self, file: Path) -> None:
        assert str(load_lock(file, WANTED, "web")) == file.read_text()

    @pytest.mark.parametrize(
        ("wanted", "moved"), [((*WANTED, "sed"), "sed"), (("nginx", "zlib1g"), "nginx-common")]
    )
    def test_other_packages(self, file: Path, wanted: tuple[str, ...], moved: str) -> None:
        with pytest.raises(LockError, match=f"other packages: {moved}$") as caught:
            load_lock(file, wanted, "web")
        assert caught.value.hint == "sealift lock web"

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(LockError, match="no lock yet") as caught:
            load_lock(tmp_path / "none.json", WANTED, "web")
        assert caught.value.hint == "sealift lock web"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("{", ""),
            ('"format": 1', '"format": 2'),
            ('"format"', '"form"'),
            ('"version"', '"versions"'),
            ('"sha256": "', '"sha256": "x'),
            ('"size": 100', '"size": "100"'),
            ('"size": 100', '"size": -100'),
            ('"1.22.1-9"', '"../../1.22.1-9"'),
            ('"pool/', '"../pool/'),
            ('"pool/', '"/pool/'),
            ('"suite": "bookworm"', '"suite": "sid"'),
            ('"suites": {', '"suites": [], "other": {'),
            ('"packages": {', '"packages": 7, "other": {'),
        ],
    )
    def test_damaged(self, file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(LockError, match="damaged") as caught:
            load_lock(file, WANTED, "web")
        assert caught.value.where == str(file)


def test_committed_locks_are_as_the_locker_writes_them() -> None:
    locks = Path(builders.__file__).resolve().parents[1] / "recipes" / "locks"
    for name in ("base", "compiler", "patchelf", "python-3.11", "nginx", "cluster"):
        text = (locks / f"{name}.json").read_text()
        assert str(parse_lock(text)) == text


@pytest.mark.network
def test_the_real_mirror_is_believed(project: Project) -> None:
    settings = load_settings(project.settings.root)
    if not settings.keyring.is_file():
        pytest.skip("needs the package debian-archive-keyring")
    made = parse_lock(lock(recipe("dash"), None, Project(settings, {})))
    assert made.packages["dash"].filename.startswith("pool/main/d/dash/")
