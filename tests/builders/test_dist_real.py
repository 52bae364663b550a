"""Real frontends with the real Node, npm, vite and TypeScript, in the sandbox.

npm is the reference: for each lock its own `npm ci` must lay the very tree that we lay.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import builders
from benchmarks.complete import resolved_lock
from benchmarks.site import LARGE, LARGE_SOURCE
from builders import dist_lock
from builders.loader import load_recipes
from builders.npm_lock import LockError, StaleLockError
from builders.plan import arrange, plan
from builders.project import Project
from builders.realise import realise
from builders.scripts.node_modules import HIDDEN, MOUNTS
from builders.settings import load_settings
from store.local import LocalStore
from tests.builders.npm_packages import Entry, Tree, package, tarball
from tests.builders.registry import serving
from tests.builders.workbench import source_tree, works

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.plan import Plan
    from builders.realise import Result
    from builders.recipe import Recipe
    from builders.step import SourceTree

pytestmark = [
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(not works(), reason="bubblewrap cannot make a sandbox here"),
]
ROOT = Path(builders.__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "dashboard"
NESTED = Path(__file__).resolve().parent / "npm" / "nested"
FRONTENDS = ("frontend_3010", "kooCAEWeb_5173", "app_5174")
"""Of the example platform: one of each set of packages."""


@dataclass(frozen=True)
class Site:
    """A folder of sources and recipes, and a store with the committed toolchains."""

    folder: Path
    store: LocalStore

    def add(self, name: str, source: Path | None = None, **said: Any) -> Path:
        """Add a frontend, with a copy of its source; give the copy."""
        target = self.folder / "src" / name
        if source is not None:
            shutil.copytree(source, target)
        recipe = {"kind": "dist", "source": name, "route": "/"} | said
        (self.folder / "recipes" / f"{name}.yaml").write_text(json.dumps(recipe))
        return target

    def project(self) -> Project:
        settings = load_settings(file=self.folder / "sealift.yaml")
        return Project(settings, load_recipes(settings.recipes_dir))

    def source(self, recipe: Recipe) -> SourceTree | None:
        path = recipe.source and self.folder / "src" / recipe.source.path
        return source_tree(path) if path else None

    def plan(self, *names: str) -> Plan:
        return plan(self.project(), self.source, names)

    def build(self, *names: str, **options: Any) -> Result:
        return realise(self.plan(*names), self.store, **options)

    def out(self, name: str) -> Path:
        result = self.build(name)
        assert result.ok, [fault.error.reason for fault in result.failures]
        return self.store.real(result.outputs[name])

    def modules(self, name: str) -> Path:
        """Build a frontend's packages and no more."""
        steps = self.plan(name).steps
        key = steps[name].inputs["modules"]
        result = realise(arrange(steps.values(), (key,)), self.store)
        assert result.ok, [fault.error.reason for fault in result.failures]
        return self.store.real(result.outputs[key])

    def npm(self, folder: Path, *arguments: str) -> None:
        """Run the pinned npm outside of any sandbox."""
        node = self.store.real(self.build("node-20").outputs["node-20"])
        private = {"HOME": str(self.folder), "npm_config_cache": str(self.folder / "npm-cache")}
        subprocess.run(
            [node / "bin" / "npm", *arguments],
            cwd=folder,
            env={**dist_lock._network(), **private, "PATH": f"{node}/bin:/usr/bin:/bin"},
            check=True,
            capture_output=True,
            timeout=300,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site").resolve()
    for name in ("toolchains", "locks"):
        shutil.copytree(ROOT / "recipes" / name, folder / "recipes" / name)
    (folder / "src").mkdir()
    (folder / "sealift.yaml").write_text("sources: src\nrecipes: recipes\nstore_dir: store\n")
    with LocalStore.open(folder / "store") as store:
        made = Site(folder, store)
        assert made.build("node-20").ok
        yield made


def listing(root: Path) -> dict[str, tuple[str, Any]]:
    """List a tree: what each name is, with executable bits, link targets and contents."""
    found: dict[str, tuple[str, Any]] = {}
    for path in sorted(root.rglob("*")):
        place, mode = path.relative_to(root).as_posix(), path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[place] = ("link", str(path.readlink()))
        elif stat.S_ISDIR(mode):
            found[place] = ("folder", None)
        elif place != HIDDEN:
            found[place] = ("program" if mode & 0o100 else "file", path.read_bytes())
    return {place: kind for place, kind in found.items() if place not in MOUNTS}


def hidden(root: Path) -> dict[str, Any]:
    """Read npm's record of a tree, without the project's own name and version."""
    record: dict[str, Any] = json.loads((root / HIDDEN).read_text())
    return {key: value for key, value in record.items() if key not in ("name", "version")}


def same(ours: Path, theirs: Path) -> None:
    """Compare two trees, and name what differs."""
    mine, npms = listing(ours), listing(theirs)
    assert sorted(mine.keys() ^ npms.keys()) == []
    assert [place for place in mine if mine[place] != npms[place]] == []


@pytest.mark.parametrize("name", [*FRONTENDS, "nested"])
def test_our_tree_is_that_of_npm_ci(site: Site, tmp_path: Path, name: str) -> None:
    source = NESTED if name == "nested" else EXAMPLES / name
    site.add(f"tree-{name}", source)
    theirs = tmp_path / name
    theirs.mkdir()
    for file in ("package.json", "package-lock.json"):
        shutil.copy(source / file, theirs)
    site.npm(theirs, "ci", "--ignore-scripts", "--no-audit")
    ours = site.modules(f"tree-{name}")
    same(ours, theirs / "node_modules")
    assert hidden(ours) == hidden(theirs / "node_modules")


def test_our_tree_of_900_packages_is_that_of_npm_ci(site: Site, tmp_path: Path) -> None:
    site.add(LARGE, LARGE_SOURCE)
    shutil.copy(LARGE_SOURCE / "package.json", tmp_path)
    # With addresses: npm would ask for 900 indexes to find them.
    lock = resolved_lock("https://registry.npmjs.org")
    (tmp_path / "package-lock.json").write_text(lock)
    site.npm(tmp_path, "ci", "--ignore-scripts", "--no-audit")
    same(site.modules(LARGE), tmp_path / "node_modules")


def test_our_tree_of_odd_packages_is_that_of_npm_ci(site: Site, tmp_path: Path) -> None:
    with serving() as registry:
        tree = Tree(registry)
        dos = {"cli.js": "#!/usr/bin/env node\r\nrun()\r\n", ".gitignore": "x", "a/.gitignore": "y"}
        tool: dict[str, Any] = {"bin": {"tool": "cli.js"}}
        tree.add("node_modules/odd", "1.0.0", package("odd", "1.0.0", dos, **tool), **tool)
        rivals = (
            "node_modules/@z/first",
            "node_modules/a-b",
            "node_modules/a_b",
            "node_modules/B.c",
        )
        for location in rivals:
            name = location.removeprefix("node_modules/")
            said: dict[str, Any] = {"bin": {"rival": "./run.js", "gone": "gone.js"}}
            content = package(name, "1.0.0", {"run.js": f"// {name}"}, **said)
            tree.add(location, "1.0.0", content, **said)
        carried = {
            "node_modules/in/package.json": '{"name": "in", "version": "1.0.0", "bin": "in.js"}',
            "node_modules/in/in.js": "#!/bin/sh\n",
        }
        bundle: dict[str, Any] = {"bundleDependencies": ["in"], "dependencies": {"in": "*"}}
        tree.add("node_modules/out", "1.0.0", package("out", "1.0.0", carried, **bundle), **bundle)
        inner = {"version": "1.0.0", "inBundle": True, "bin": {"in": "in.js"}}
        tree.packages["node_modules/out/node_modules/in"] = inner
        modes = [
            Entry("odd-folder/package.json", b'{"name": "modes", "version": "1.0.0"}', 0o600),
            Entry("odd-folder/run", b"x", 0o711),
            Entry("odd-folder/twice", b"old"),
            Entry("odd-folder/twice", b"new"),
            Entry("no-folder", b"x"),
        ]
        tree.add("node_modules/modes", "1.0.0", tarball(modes))
        tree.add("node_modules/odd/node_modules/modes", "1.0.0", tarball(modes))
        unfit: dict[str, Any] = {
            "optional": True,
            "os": ["aix"],
            "dependencies": {"helper": "1.0.0"},
        }
        tree.add("node_modules/unfit", "1.0.0", **unfit)
        tree.add("node_modules/helper", "1.0.0", optional=True)
        for name in ("unfit", "helper"):
            del tree.manifest["dependencies"][name]
        tree.manifest["optionalDependencies"] = {"unfit": "1.0.0"}
        tree.packages["node_modules/odd"]["dependencies"] = {"modes": "1.0.0"}
        tree.write(site.add("odd"), scripts={"build": "x"})
        tree.write(tmp_path)
        site.npm(tmp_path, "ci", "--ignore-scripts", "--no-audit", f"--registry={registry.url}/")
        ours = site.modules("odd")
    same(ours, tmp_path / "node_modules")
    assert (ours / ".bin/rival").readlink() == Path("../@z/first/run.js")
    assert not (ours / "unfit").exists()
    assert not (ours / "helper").exists()


def test_vite_and_typescript_build_twice_alike(site: Site) -> None:
    for name in FRONTENDS:
        site.add(f"app-{name}", EXAMPLES / name)
        web = site.out(f"app-{name}") / "web"
        assert (web / "index.html").is_file()
        assert list((web / "assets").glob("*.js"))
    again = site.build(*(f"app-{name}" for name in FRONTENDS), check=True)
    assert again.ok, [fault.error.reason for fault in again.failures]
    assert {*(f"app-{name}" for name in FRONTENDS), "node-20"} <= set(again.checked)


def test_what_compresses_has_its_twins_and_they_say_the_same(site: Site) -> None:
    source = site.add("pages")
    source.mkdir()
    script = (
        "mkdir dist && cd dist && seq 4000 > big.js && seq 4000 > own.css && seq 9 > small.js && "
        "head -c 5000 /dev/urandom > noise.wasm && seq 4000 > picture.png && seq 9000 > own.css.gz"
    )
    lock = {"lockfileVersion": 3, "packages": {"": {}}}
    (source / "package.json").write_text(json.dumps({"scripts": {"build": script}}))
    (source / "package-lock.json").write_text(json.dumps(lock))
    web = site.out("pages") / "web"
    plain = "".join(f"{number}\n" for number in range(1, 4001)).encode()
    assert sorted(path.name for path in web.iterdir()) == [
        *("big.js", "big.js.br", "big.js.gz"),
        *("noise.wasm", "own.css", "own.css.br", "own.css.gz", "picture.png", "small.js"),
    ]
    assert gzip.decompress((web / "big.js.gz").read_bytes()) == plain
    assert (web / "big.js.gz").read_bytes()[4:8] == bytes(4)
    assert (web / "own.css.gz").read_bytes().startswith(b"1\n2\n")
    node = site.store.real(site.build("node-20").outputs["node-20"]) / "bin" / "node"
    code = "process.stdout.write(zlib.brotliDecompressSync(fs.readFileSync(process.argv[1])))"
    said = subprocess.run([node, "-e", code, web / "big.js.br"], capture_output=True, check=True)
    assert said.stdout == plain


def test_a_build_is_alone_and_leaves_its_packages_as_they_are(site: Site) -> None:
    source = site.add("alone", NESTED)
    (source / "page.js").write_text('console.log(require("string-width") ? 1 : 2)')
    manifest = json.loads((source / "package.json").read_text())
    manifest["scripts"]["build"] = (
        "mkdir dist; env | sort > dist/env; ls / > dist/root; ls -A ~ > dist/home; "
        "touch node_modules/x 2>> dist/refused || true; "
        "touch node_modules/glob/x 2>> dist/refused || true; "
        "touch node_modules/.cache/x node_modules/.tmp/x node_modules/.vite/x; "
        "npm config get registry >> dist/env; npm view glob >> dist/env 2>&1 || true; "
        "esbuild page.js --bundle --platform=node --outfile=dist/page.js"
    )
    (source / "package.json").write_text(json.dumps(manifest))
    web = site.out("alone") / "web"
    said = (web / "env").read_text()
    assert "ENOTCACHED" in said
    assert "npm_config_offline=true" in said
    assert os.environ["PATH"] not in said
    assert (web / "refused").read_text().count("Read-only file system") == 2
    assert (web / "home").read_text() == ""
    assert "root" not in (web / "root").read_text().split()
    assert "console.log" in (web / "page.js").read_text()


def test_install_scripts_run_for_those_alone_that_are_allowed(site: Site) -> None:
    """esbuild's script puts the real program where its launcher lies."""
    site.add("quiet", NESTED)
    site.add("allowed", NESTED, install_scripts=["esbuild"])
    quiet, allowed = site.modules("quiet"), site.modules("allowed")
    assert (quiet / "esbuild/bin/esbuild").read_bytes().startswith(b"#!")
    assert (allowed / "esbuild/bin/esbuild").read_bytes().startswith(b"\x7fELF")
    before = listing(quiet)
    changed = [name for name, kind in listing(allowed).items() if before[name] != kind]
    assert changed == ["esbuild/bin/esbuild"]


def test_a_stale_lock_is_renewed_and_then_builds(site: Site) -> None:
    source = site.add("moved", NESTED)
    (source / "page.js").write_text("console.log(1)")
    manifest = json.loads((source / "package.json").read_text())
    manifest["dependencies"] = {"esbuild": "^0.25.0"}
    manifest["devDependencies"] = {}
    (source / "package.json").write_text(json.dumps(manifest))
    recipe = site.project().recipes["moved"]
    with pytest.raises(StaleLockError, match=r"does not fit package\.json"):
        site.plan("moved")
    text = dist_lock.lock(recipe, site.source(recipe), site.project())
    assert "sharp" not in text
    assert "registry.npmjs.org" not in text
    (source / "package-lock.json").write_text(text)
    assert (site.out("moved") / "web/page.js").is_file()
    assert dist_lock.lock(recipe, site.source(recipe), site.project()) == text


def test_a_request_that_nothing_fulfils_is_named(site: Site) -> None:
    source = site.add("hopeless", NESTED)
    manifest = json.loads((source / "package.json").read_text())
    manifest["dependencies"]["esbuild"] = "^99.0.0"
    (source / "package.json").write_text(json.dumps(manifest))
    recipe = site.project().recipes["hopeless"]
    with pytest.raises(LockError, match="npm cannot resolve hopeless") as caught:
        dist_lock.lock(recipe, site.source(recipe), site.project())
    assert "esbuild@^99.0.0" in (caught.value.got or "")
