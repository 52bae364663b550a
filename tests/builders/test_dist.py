"""Kind `dist`: the plan of a frontend, its build without a sandbox, and what becomes of the output.

The npm here is a shell script that runs a script of `package.json`; the real one is tried in
`test_dist_real.py`.
"""

from __future__ import annotations

import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from builders import dist
from builders.derive import SCRIPTS
from builders.dist import FrontendError, plan
from builders.npm_lock import GitDependencyError, LockError, StaleLockError
from builders.npm_project import ProjectError
from builders.recipe import Route
from store.local import LocalStore
from tests.builders.npm_packages import (
    HOST,
    HOST_NODE,
    Tree,
    bench,
    failure,
    frontend,
    project,
    toolchain,
)
from tests.builders.registry import serving
from tests.builders.workbench import source_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builders.realise import Result
    from builders.recipe import Recipe
    from builders.step import Step
    from tests.builders.registry import Registry
    from tests.builders.workbench import Bench

PAGE = "mkdir -p dist/assets; echo page > dist/index.html; echo run > dist/assets/app.js"

FETCH = "echo '   throw new Error(x)'; echo 'TypeError: fetch failed'; echo 'code: ENOTFOUND'"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as served:
        yield served


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Bench]:
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        yield bench(store)


@pytest.fixture
def tree(registry: Registry) -> Tree:
    made = Tree(registry)
    made.add("node_modules/react", "19.0.0")
    return made


def planned(
    folder: Path, tree: Tree, recipe: Recipe | None = None, **manifest: Any
) -> tuple[Step, ...]:
    """Write the project and plan it."""
    tree.write(folder / "web", **{"scripts": {"build": PAGE}, **manifest})
    return replanned(folder, tree.registry, recipe)


def replanned(folder: Path, registry: Registry, recipe: Recipe | None = None) -> tuple[Step, ...]:
    recipe = recipe or frontend()
    made = project(folder, registry, recipe, toolchain())
    return plan(recipe, source_tree(folder / "web"), made)


def build(host: Bench, steps: tuple[Step, ...]) -> Result:
    return host.build([*HOST, HOST_NODE, *steps])


def output(host: Bench, result: Result) -> Path:
    assert result.ok, [fault.error.reason for fault in result.failures]
    return host.store.real(result.outputs["web"])


def test_a_frontend_is_planned_from_its_lock(tmp_path: Path, tree: Tree) -> None:
    tree.add("node_modules/@types/react", "19.0.1")
    *fetched, modules, final = planned(tmp_path, tree)
    assert [step.name for step in fetched] == ["react-19.0.0.tgz", "types-react-19.0.1.tgz"]
    assert {step.key for step in fetched} < set(modules.inputs.values())
    assert final.key == "web"
    assert final.inputs["modules"] == modules.key
    assert final.source is not None


def test_the_object_holds_a_web_root_and_a_tarball(host: Bench, tmp_path: Path, tree: Tree) -> None:
    out = output(host, build(host, planned(tmp_path, tree)))
    assert sorted(path.name for path in out.iterdir()) == ["dist.tar", "sealift.json", "web"]
    assert (out / "web/assets/app.js").read_text() == "run\n"
    assert json.loads((out / "sealift.json").read_text()) == {
        "format": 1,
        "name": "web",
        "frontend": {"root": "web", "routes": [{"path": "/web/"}]},
    }


def test_the_tarball_is_sorted_and_nobodys(host: Bench, tmp_path: Path, tree: Tree) -> None:
    script = (
        f"{PAGE}; echo x > dist/tool; chmod 750 dist/tool; ln -s tool dist/link; "
        "ln dist/tool dist/twin; mkdir dist/a; echo y > dist/a.b; echo z > dist/é"
    )
    out = output(host, build(host, planned(tmp_path, tree, scripts={"build": script})))
    with tarfile.open(out / "dist.tar") as archive:
        members = archive.getmembers()
    assert [(member.name, member.mode) for member in members] == [
        ("a", 0o755),
        ("a.b", 0o644),
        ("assets", 0o755),
        ("assets/app.js", 0o644),
        ("index.html", 0o644),
        ("link", 0o777),
        ("tool", 0o755),
        ("twin", 0o755),
        ("é", 0o644),
    ]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {
        (0, 0, "", "", 315532800)
    }
    assert [member.name for member in members if member.issym()] == ["link"]
    assert not [member.name for member in members if member.islnk()]


def test_the_build_sees_its_packages_and_environment(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    script = (
        "mkdir dist; echo $VITE_TITLE $npm_config_offline $NODE_OPTIONS > dist/env; "
        "cp node_modules/react/index.js dist; : > node_modules/.tmp/state"
    )
    recipe = frontend(env={"VITE_TITLE": "site", "NODE_OPTIONS": "--max-old-space-size=8192"})
    out = output(host, build(host, planned(tmp_path, tree, recipe, scripts={"build": script})))
    assert (out / "web/env").read_text() == "site true --max-old-space-size=8192\n"
    assert (out / "web/index.js").read_text() == "// react\n"


def test_another_script_and_folder_can_be_asked_for(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    recipe = frontend(
        options={"script": "pages", "output": "build/site"}, routes=(Route("/a/"), Route("/b/"))
    )
    scripts = {"pages": "mkdir -p build/site; echo x > build/site/index.html"}
    out = output(host, build(host, planned(tmp_path, tree, recipe, scripts=scripts)))
    record = json.loads((out / "sealift.json").read_text())
    assert record["frontend"]["routes"] == [{"path": "/a/"}, {"path": "/b/"}]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", "made no folder 'dist'"),
        ("echo x > dist", "made no folder 'dist'"),
        ("mkdir -p dist/empty", "left the folder 'dist' empty"),
        ("mkdir real; echo x > real/x; ln -s /usr dist", "made no folder 'dist'"),
        (f"{PAGE}; ln -s /etc/passwd dist/passwd", "'passwd' in the output leads to no file"),
        (f"{PAGE}; ln -s nothing dist/x", "'x' in the output leads to no file"),
        (f"{PAGE}; ln -s ../package.json dist/x", "'x' in the output leads to no file"),
        (f"{PAGE}; mkfifo dist/pipe", "'pipe' in the output leads to no file"),
        (
            "echo 'a.tsx(3,7): error TS2322: no' >&2; exit 2",
            "npm run build: a.tsx(3,7): error TS2322",
        ),
        (f"{FETCH}; exit 1", "npm run build: TypeError: fetch failed (a build has no network)"),
        ("exit 7", "npm run build failed"),
    ],
)
def test_a_build_that_gives_nothing_to_show_fails_with_the_reason(
    host: Bench, tmp_path: Path, tree: Tree, script: str, said: str
) -> None:
    if "mkfifo" in script and not os.access("/usr/bin/mkfifo", os.X_OK):
        pytest.skip("there is no mkfifo here")
    error = failure(build(host, planned(tmp_path, tree, scripts={"build": script})))
    assert error.reason.startswith("web: ")
    assert said in error.reason
    assert "sealift log web" in (error.hint or "")
    assert not [info for info in host.store.paths() if info.path.name == "web"]


def test_a_script_that_never_ends_is_ended(
    host: Bench, tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dist, "PATIENCE", 1)
    error = failure(build(host, planned(tmp_path, tree, scripts={"build": "exec sleep 60"})))
    assert error.reason.endswith("did not end within 0 minutes; is it a server?")


def test_nothing_that_happens_elsewhere_changes_a_byte(tmp_path: Path, tree: Tree) -> None:
    digests = []
    for name in ("one", "another-place"):
        folder = tmp_path / name
        folder.mkdir()
        with LocalStore.open(folder.resolve() / "store") as store:
            host = bench(store)
            result = build(host, planned(folder, tree))
            output(host, result)
            found = store.info(result.outputs["web"])
            assert found is not None
            digests.append(found.nar_sha256)
    assert digests[0] == digests[1]


def test_a_changed_source_leaves_the_packages_as_they_are(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    first = build(host, planned(tmp_path, tree))
    (tmp_path / "web/main.ts").write_text("// new")
    second = build(host, replanned(tmp_path, tree.registry))
    assert first.built.keys() >= {"web"}
    assert list(second.built) == ["web"]


def test_a_lock_that_the_recipe_names_counts(tmp_path: Path, tree: Tree) -> None:
    tree.write(tmp_path / "web", scripts={"build": "x"})
    recipe = frontend(lock="web.json")
    with pytest.raises(LockError, match=r"no web\.json"):
        replanned(tmp_path, tree.registry, recipe)
    folder = project(tmp_path, tree.registry).settings.locks_dir
    folder.mkdir(parents=True)
    (tmp_path / "web/package-lock.json").rename(folder / "web.json")
    assert replanned(tmp_path, tree.registry, recipe)[-1].key == "web"


@pytest.mark.parametrize(
    ("gone", "error", "said"),
    [
        ("package-lock.json", LockError, "no package-lock.json in the source"),
        ("package.json", ProjectError, "has no package.json"),
    ],
)
def test_a_source_without_its_files_is_refused(
    tmp_path: Path, tree: Tree, gone: str, error: type[Exception], said: str
) -> None:
    tree.write(tmp_path / "web")
    (tmp_path / "web" / gone).unlink()
    with pytest.raises(error, match=said):
        replanned(tmp_path, tree.registry)


def test_a_lock_of_other_packages_is_refused_with_the_remedy(tmp_path: Path, tree: Tree) -> None:
    with pytest.raises(StaleLockError) as caught:
        planned(tmp_path, tree, dependencies={"react": "^20.0.0"})
    assert caught.value.hint == "sealift lock web"
    assert (caught.value.expected, caught.value.got) == ("^20.0.0", "19.0.0")


def test_a_git_dependency_is_refused_by_name(tmp_path: Path, tree: Tree) -> None:
    pin = tree.packages["node_modules/react"]["integrity"]
    git = {
        "version": "1.0.0",
        "resolved": "git+ssh://git@example.org/samlp.git#1",
        "integrity": pin,
    }
    tree.packages["node_modules/samlp"] = git
    with pytest.raises(GitDependencyError, match="node_modules/samlp") as caught:
        planned(tmp_path, tree)
    assert "overrides" in (caught.value.hint or "")


@pytest.mark.parametrize("scripts", [{}, {"start": "vite"}, None, []])
def test_a_script_that_is_not_there_is_refused(tmp_path: Path, tree: Tree, scripts: Any) -> None:
    with pytest.raises(FrontendError, match="no script 'build'"):
        planned(tmp_path, tree, scripts=scripts)


@pytest.mark.parametrize("folder", ["..", "/tmp", "dist/../..", ".", ""])  # noqa: S108
def test_an_output_outside_of_the_source_is_refused(
    tmp_path: Path, tree: Tree, folder: str
) -> None:
    with pytest.raises(FrontendError, match="not a folder below the source"):
        planned(tmp_path, tree, frontend(options={"output": folder}))


def test_the_compressor_enters_the_derivation(
    tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = planned(tmp_path, tree)[-1].arguments
    monkeypatch.setattr(dist, "COMPRESSOR", "extract.py")
    assert planned(tmp_path, tree)[-1].arguments != before
    assert (SCRIPTS / "compress.mjs").is_file()
