"""What differs between two closures."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from deploy import bill
from deploy.activate import deploy
from deploy.diff import Package, Parts, compare, diff, split
from deploy.errors import BadReleaseError
from store.info import PathInfo
from store.path import StorePath

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.synthetic import Site, Tiny


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


def component(name: str, version: str, *members: str, kind: str = "pypi") -> dict[str, Any]:
    group, _, bare = name.rpartition("/")
    rows = [{"name": "sealift:member", "value": member} for member in members]
    found = {
        "name": bare,
        "version": version,
        "bom-ref": f"{kind}/{name}@{version}",
        "properties": rows,
    }
    found |= {"group": group} if group else {}
    return found | ({"purl": f"pkg:{kind}/{name}@{version}"} if kind else {})


def release(folder: Path, *components: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / bill.FILE).write_text(json.dumps({"components": components}))
    return folder


class TestInside:
    def changes(self, tmp_path: Path, was: list[Any], now: list[Any]) -> list[bill.Change]:
        old = bill.read(release(tmp_path / "old", *was))
        new = bill.read(release(tmp_path / "new", *now))
        assert old is not None
        assert new is not None
        return list(bill.compare(old, new))

    def test_by_ecosystem_with_those_who_have_it(self, tmp_path: Path) -> None:
        same = component("jinja2", "3.1", "api", "web")
        was = [
            same,
            component("flask", "3.1.2", "api", "web"),
            component("@vue/core", "1.0", "page", kind="npm"),
            component("debian/libssl3", "3.0.1", "api", kind="deb"),
            component("api", "digest", "api", kind=""),
        ]
        now = [
            same,
            component("flask", "3.1.3", "api", "web"),
            component("react", "19", "page", kind="npm"),
            component("debian/libssl3", "3.0.2", "api", kind="deb"),
            component("api", "other digest", "api", kind=""),
        ]
        assert self.changes(tmp_path, was, now) == [
            bill.Change("Debian", "libssl3", ("3.0.1",), ("3.0.2",), ("api",)),
            bill.Change("PyPI", "flask", ("3.1.2",), ("3.1.3",), ("api", "web")),
            bill.Change("npm", "@vue/core", ("1.0",), (), ("page",)),
            bill.Change("npm", "react", (), ("19",), ("page",)),
            bill.Change("own", "api", ("",), ("",), ("api",)),
        ]

    def test_libraries_without_a_package_url_are_not_the_site_s_own(self, tmp_path: Path) -> None:
        was, now = (component("libwebp", version, "api", kind="") for version in ("1.5", "1.6"))
        for each in (was, now):
            each["properties"].append({"name": "sealift:carried", "value": "inside of a wheel"})
        assert self.changes(tmp_path, [was], [now]) == [
            bill.Change("carried", "libwebp", ("1.5",), ("1.6",), ("api",))
        ]

    def test_members_that_moved_otherwise_stand_apart(self, tmp_path: Path) -> None:
        was = [component("flask", "2", "api"), component("flask", "3", "web")]
        now = [component("flask", "3", "api", "web", "new")]
        assert self.changes(tmp_path, was, now) == [
            bill.Change("PyPI", "flask", (), ("3",), ("new",)),
            bill.Change("PyPI", "flask", ("2",), ("3",), ("api",)),
        ]

    def test_other_bytes_of_the_same_version_are_a_change(self, tmp_path: Path) -> None:
        one = component("flask", "3", "api")
        other = one | {"bom-ref": "another"}
        assert self.changes(tmp_path, [one], [other]) == [
            bill.Change("PyPI", "flask", ("3",), ("3",), ("api",))
        ]

    def test_nothing_changed(self, tmp_path: Path) -> None:
        same = [component("flask", "3", "api")]
        assert self.changes(tmp_path, same, same) == []

    def test_an_older_release_says_nothing(self, tmp_path: Path) -> None:
        assert bill.read(tmp_path) is None

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{}", '{"components": 7}', '{"components": [{}]}', '{"components": ["a"]}'],
    )
    def test_a_damaged_bill_is_an_error(self, tmp_path: Path, text: str) -> None:
        (tmp_path / bill.FILE).write_text(text)
        with pytest.raises(BadReleaseError, match="bill of materials is damaged"):
            bill.read(tmp_path)


def described(site: Site, plain: Path, *components: dict[str, Any]) -> Path:
    """Let a release carry a bill of materials."""
    info = site.store.info(site.store.parse(plain))
    assert info is not None
    with site.store.temporary() as folder:
        tree = shutil.copytree(plain, folder / "release", symlinks=True)
        tree.chmod(0o755)
        (tree / bill.FILE).write_text(json.dumps({"components": components}))
        added = site.store.add(tree, "release", references=info.references, durable=False)
    return site.store.real(added.path)


def test_two_generations(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    one, _ = pair
    head = site.head()
    plain = site.release(one)
    old = described(site, plain, component("flask", "2", one.name))
    new = described(site, plain, component("flask", "3", one.name))
    for path in (plain, old, new):
        deploy(head, path)
    found = diff(head, 2, 3)
    assert found.inside == (bill.Change("PyPI", "flask", ("2",), ("3",), (one.name,)),)
    assert found.services == found.frontends == Parts()
    assert diff(head, 1, 2).inside is None
