"""`package-lock.json`: what is read, what is refused, and what the errors name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders.npm_lock import (
    GitDependencyError,
    LockError,
    StaleLockError,
    UnpinnedError,
    check_manifest,
    strongest,
)
from tests.builders.npm_packages import PIN, RENEW, read
from tests.builders.registry import integrity

MIRROR = "https://npm.example.org/mirror/"


def lock_text(*, version: int = 3, root: Any = None, **packages: Any) -> str:
    entries = {name.replace("__", "/"): entry for name, entry in packages.items()}
    locked = {f"node_modules/{name}": entry for name, entry in entries.items()}
    content = {"lockfileVersion": version, "packages": {"": root or {}, **locked}}
    return json.dumps(content, indent=2)


def entry(**fields: Any) -> dict[str, Any]:
    return {"version": "1.0.0", "integrity": PIN, **fields}


def test_an_address_is_made_where_the_lock_has_none() -> None:
    lock = read(
        lock_text(
            plain=entry(),
            alias=entry(name="@isaacs/cliui", version="8.0.2"),
            build=entry(version="1.2.3+exp.1"),
        )
    )
    assert [
        package.tarball("https://registry.npmjs.org") for package in lock.packages.values()
    ] == [
        "https://registry.npmjs.org/plain/-/plain-1.0.0.tgz",
        "https://registry.npmjs.org/@isaacs/cliui/-/cliui-8.0.2.tgz",
        "https://registry.npmjs.org/build/-/build-1.2.3.tgz",
    ]


@pytest.mark.parametrize(
    ("resolved", "fetched"),
    [
        ("https://registry.npmjs.org/a/-/a-1.0.0.tgz", f"{MIRROR}a/-/a-1.0.0.tgz"),
        ("https://registry.yarnpkg.com/a/-/a-1.0.0.tgz", f"{MIRROR}a/-/a-1.0.0.tgz"),
        ("https://npm.pkg.github.com/a-1.tgz", "https://npm.pkg.github.com/a-1.tgz"),
        (
            "https://registry.npmjs.org.evil.example/a.tgz",
            "https://registry.npmjs.org.evil.example/a.tgz",
        ),
    ],
)
def test_a_mirror_takes_the_place_of_the_public_registry_alone(resolved: str, fetched: str) -> None:
    package = read(lock_text(a=entry(resolved=resolved))).packages["node_modules/a"]
    assert package.tarball(MIRROR) == fetched


def test_links_bundled_and_extraneous_packages_need_no_pin() -> None:
    lock = read(
        lock_text(
            link={"link": True, "resolved": "packages/link"},
            carried=entry(inBundle=True, integrity=None),
            gone={"extraneous": True},
        )
    )
    assert lock.packages["node_modules/link"].link == "packages/link"
    assert lock.packages["node_modules/carried"].integrity == ""
    assert "node_modules/gone" not in lock.packages


@pytest.mark.parametrize(
    ("packages", "error", "said"),
    [
        (
            {"a": entry(resolved="git+ssh://git@github.com/x/a.git#0ff1ce")},
            GitDependencyError,
            "'node_modules/a' comes from git",
        ),
        ({"a": entry(resolved="github:x/a")}, GitDependencyError, "github:x/a"),
        ({"a": entry(integrity=None)}, UnpinnedError, "'node_modules/a' has no integrity"),
        ({"a": entry(integrity=integrity(b"", "sha1"))}, UnpinnedError, "nothing better than sha1"),
        ({"a": entry(integrity="sha512-AAAA")}, UnpinnedError, "nothing better than sha512"),
        ({"a": entry(integrity="sha512-" + "!" * 88)}, UnpinnedError, "'node_modules/a'"),
        ({"a": entry(resolved="file:../a-1.0.0.tgz")}, LockError, "cannot be fetched from 'file:"),
        ({"a": entry(resolved=17)}, LockError, "cannot be fetched from 17"),
        ({"a": entry(version=None)}, LockError, "has no version"),
        ({"a": entry(version="1.0.0/../..")}, LockError, "has no version"),
        ({"a": entry(name="../b")}, LockError, "has a name that npm does not know"),
        ({"a": entry(name=7)}, LockError, "has a name that npm does not know"),
        ({"a": 5}, LockError, "is not a mapping"),
        ({"a": {"link": True, "resolved": "../outside"}}, LockError, "outside of the source"),
        ({"a": {"link": True, "resolved": "/etc"}}, LockError, "outside of the source"),
        ({"a": {"link": True}}, LockError, "outside of the source"),
        ({"..": entry()}, LockError, "is not a place in node_modules"),
        ({"..__x": entry()}, LockError, "is not a place in node_modules"),
        ({".bin": entry()}, LockError, "is not a place in node_modules"),
        ({"a__b": entry()}, LockError, "is not a place in node_modules"),
        ({"a\n": entry()}, LockError, "is not a place in node_modules"),
        ({"a__node_modules__..": entry()}, LockError, "is not a place in node_modules"),
    ],
)
def test_what_cannot_be_built_from_is_named(
    packages: dict[str, Any], error: type[LockError], said: str
) -> None:
    with pytest.raises(error) as caught:
        read(lock_text(**packages))
    assert type(caught.value) is error
    assert said in caught.value.reason


def test_an_error_names_the_line() -> None:
    text = lock_text(fine=entry(), broken=entry(integrity=None))
    with pytest.raises(UnpinnedError) as caught:
        read(text)
    line = text.splitlines().index('    "node_modules/broken": {') + 1
    assert caught.value.where == f"package-lock.json:{line}"
    assert caught.value.hint == RENEW


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"lockfileVersion": 3,}', "not JSON"),
        ('{"lockfileVersion": 1, "dependencies": {}}', "only lockfileVersion 2 and 3"),
        ('{"lockfileVersion": 4, "packages": {}}', "only lockfileVersion 2 and 3"),
        ('{"lockfileVersion": 3}', "'packages' is not a mapping"),
        ('{"lockfileVersion": 3, "packages": []}', "'packages' is not a mapping"),
        ('{"lockfileVersion": 3, "packages": {"": 1}}', "'packages' is not a mapping"),
        ('{"lockfileVersion": 3, "packages": {}, "packages": {}}', "'packages' stands twice"),
    ],
)
def test_what_is_no_lock_is_refused(text: str, said: str) -> None:
    with pytest.raises(LockError, match=said):
        read(text)


def test_version_2_is_read_as_version_3() -> None:
    text = lock_text(version=2, a=entry())
    assert read(text).packages.keys() == {"node_modules/a"}


def test_a_package_in_a_workspace_of_its_own_is_named() -> None:
    text = json.dumps({"lockfileVersion": 3, "packages": {"apps/x/node_modules/a": entry()}})
    with pytest.raises(LockError, match="'apps/x/node_modules/a' lies in a folder of the source"):
        read(text)


@pytest.mark.parametrize("section", ["dependencies", "devDependencies"])
def test_a_lock_that_lacks_what_it_needs_is_stale(section: str) -> None:
    with pytest.raises(StaleLockError, match="lacks 'react'") as caught:
        read(lock_text(root={section: {"react": "^19.0.0"}}))
    assert caught.value.hint == RENEW


def test_optional_packages_may_be_missing() -> None:
    root = {"optionalDependencies": {"fsevents": "2"}, "dependencies": {"fsevents": "2"}}
    assert read(lock_text(root=root)).packages == {}


@pytest.mark.parametrize(
    ("manifest", "locked", "name"),
    [
        ({"dependencies": {"react": "^20.0.0"}}, {"dependencies": {"react": "^19.0.0"}}, "react"),
        ({"dependencies": {}}, {"dependencies": {"react": "^19.0.0"}}, "react"),
        ({"devDependencies": {"vite": "8"}}, {"dependencies": {"vite": "8"}}, "vite"),
        ({"optionalDependencies": {"a": "1"}}, {}, "a"),
        ({"peerDependencies": {"a": "1"}}, {}, "a"),
    ],
)
def test_a_moved_manifest_makes_the_lock_stale(
    manifest: dict[str, Any], locked: dict[str, Any], name: str
) -> None:
    names = {"react": entry(), "vite": entry(), "a": entry()}
    lock = read(lock_text(version=3, root=locked, **names))
    with pytest.raises(StaleLockError, match=f"'{name}' in") as caught:
        check_manifest(lock, json.dumps(manifest), where="package.json", renew=RENEW)
    assert caught.value.slug == "lock-stale"
    assert caught.value.hint == RENEW


def test_a_request_that_is_also_optional_counts_as_optional() -> None:
    both = {"dependencies": {"a": "1"}, "optionalDependencies": {"a": "1"}}
    lock = read(lock_text(root={"optionalDependencies": {"a": "1"}}))
    check_manifest(lock, json.dumps(both), where="package.json", renew=RENEW)


def test_the_strongest_pin_counts() -> None:
    weak, strong = integrity(b"x"), integrity(b"x", "sha512")
    assert strongest([weak, f"{strong}?foo", integrity(b"x", "sha1")]) == strong
    assert strongest(["sha512-short", weak]) == weak
    assert strongest([]) is None
