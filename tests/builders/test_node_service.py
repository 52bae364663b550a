"""Kind `node`: the plan of a service, its build without a sandbox, and what is refused by name.

The Node here is a shell script that knows `--check`; the real one is tried in
`test_node_service_real.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import node_service, npm_modules
from builders.node_service import plan
from builders.npm_lock import GitDependencyError, LockError, StaleLockError, UnpinnedError
from builders.npm_project import ProjectError
from builders.recipe import Certificate, Health, Kind, Probe, Recipe, Service, SourceSpec
from builders.sandbox import SandboxMode
from store.errors import InputError
from store.local import LocalStore
from tests.builders.npm_packages import (
    HOST,
    HOST_NODE,
    Tree,
    failure,
    lay_python,
    lay_tools,
    package,
    project,
    toolchain,
)
from tests.builders.registry import serving
from tests.builders.workbench import BUILDERS, Bench, lay_base, source_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.build import Build
    from builders.step import Step
    from tests.builders.registry import Registry

SERVER = 'const tool = require("tool");\nrequire("./lib/answer");\n'
FILES = {"server.js": SERVER, "lib/answer.js": "module.exports = 42;\n"}


def lay_node(build: Build) -> None:
    """Lay a Node that finds fault with what says FAULT."""
    tool = build.out / "bin" / "node"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\n! grep -q FAULT "$2"\n')
    tool.chmod(0o755)


ROWS = {
    **BUILDERS,
    "base": lay_base,
    "host-python": lay_python,
    "host-tools": lay_tools,
    "host-node": lay_node,
    "node-modules": npm_modules.build,
    "node-service": node_service.build,
}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as served:
        yield served


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Bench]:
    with LocalStore.open(tmp_path.resolve() / "store") as store:
        yield Bench(store, ROWS, SandboxMode.OFF)


@pytest.fixture
def tree(registry: Registry) -> Tree:
    made = Tree(registry)
    made.add("node_modules/tool", "2.0.0")
    return made


def recipe(*command: str, options: dict[str, Any] | None = None, **said: Any) -> Recipe:
    words = command or ("node", "server.js", "--port", "{port}")
    service = Service(7000, Health(Probe.HTTP, "/metadata"), command=words, **said)
    return Recipe(
        "web",
        Kind.NODE,
        Path("recipes/web.yaml"),
        source=SourceSpec("web"),
        inputs={"base": "base", "python": "python-3.11", "node": "node-20"},
        options={"skip_install_scripts": (), **(options or {})},
        service=service,
    )


def planned(
    folder: Path,
    tree: Tree,
    wanted: Recipe | None = None,
    files: dict[str, str] | None = None,
    **manifest: Any,
) -> tuple[Step, ...]:
    """Write the project and plan it."""
    source = folder / "web"
    tree.write(source, **manifest)
    for name, text in (FILES if files is None else files).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    wanted = wanted or recipe()
    return plan(wanted, source_tree(source), project(folder, tree.registry, wanted, toolchain()))


def output(host: Bench, steps: tuple[Step, ...]) -> Path:
    result = host.build([*HOST, HOST_NODE, *steps])
    assert result.ok, [fault.error.reason for fault in result.failures]
    return host.store.real(result.outputs["web"])


def reason(host: Bench, steps: tuple[Step, ...]) -> str:
    return failure(host.build([*HOST, HOST_NODE, *steps])).reason


def service_of(out: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((out / "sealift.json").read_text())["service"]
    return said


def test_the_object_is_the_source_with_its_packages(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    steps = planned(tmp_path, tree)
    out = output(host, steps)
    assert (out / "server.js").read_text() == SERVER
    modules = (out / "node_modules").readlink()
    assert modules.name == "node_modules"
    assert modules.is_relative_to(host.store.store_dir)
    assert (out / "node_modules/tool/index.js").read_text() == "// tool\n"
    assert not (out / ".sealift").exists()


def test_it_is_started_by_the_store_s_node(host: Bench, tmp_path: Path, tree: Tree) -> None:
    said = service_of(output(host, planned(tmp_path, tree)))
    node, *words = said["command"]
    assert node.startswith(f"{host.store.store_dir}/")
    assert node.endswith("/bin/node")
    assert words == ["{path}/server.js", "--port", "{port}"]
    assert said["env"] == {"NODE_ENV": "production"}
    assert (said["cwd"], said["port"]) == ("{path}", 7000)


def test_options_of_node_come_before_the_file(host: Bench, tmp_path: Path, tree: Tree) -> None:
    wanted = recipe("node", "--max-old-space-size=256", "./server.js", "-x", env={"NODE_ENV": "t"})
    said = service_of(output(host, planned(tmp_path, tree, wanted)))
    assert said["command"][1:] == ["--max-old-space-size=256", "{path}/server.js", "-x"]
    assert said["env"] == {"NODE_ENV": "t"}


def test_secrets_are_loaded_before_the_service(host: Bench, tmp_path: Path, tree: Tree) -> None:
    pair = Certificate("CERT", "KEY", "web")
    wanted = recipe(secrets=("TOKEN", "CERT", "KEY"), certificates=(pair,))
    out = output(host, planned(tmp_path, tree, wanted))
    said = service_of(out)
    assert said["command"][1:3] == ["--require", "{path}/.sealift/secrets.cjs"]
    assert said["secrets"] == ["TOKEN", "CERT", "KEY"]
    assert said["certificates"] == [{"certificate": "CERT", "key": "KEY", "subject": "web"}]
    preload = (out / ".sealift/secrets.cjs").read_text()
    assert '["TOKEN", "CERT"]' in preload
    assert "KEY" not in preload


def test_state_lies_outside_and_the_source_s_own_is_its_seed(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    files = {**FILES, "data/first.json": "{}"}
    out = output(host, planned(tmp_path, tree, recipe(state=("data/",)), files))
    assert str((out / "data").readlink()).endswith("/web/data")
    assert (out / ".seed/data/first.json").read_text() == "{}"


def test_what_only_development_needs_is_left_out(host: Bench, tmp_path: Path, tree: Tree) -> None:
    tree.add("node_modules/tester", "1.0.0", dev=True)
    tree.manifest["devDependencies"] = {"tester": tree.manifest["dependencies"].pop("tester")}
    tree.add("node_modules/both", "1.0.0", devOptional=True)
    steps = planned(tmp_path, tree)
    assert not [step for step in steps if step.name.startswith("tester")]
    out = output(host, steps)
    assert {p.name for p in (out / "node_modules").iterdir() if p.name[0] != "."} == {
        "tool",
        "both",
    }


def test_services_with_the_same_packages_share_their_tree(tmp_path: Path, tree: Tree) -> None:
    one = planned(tmp_path, tree)
    other = planned(tmp_path, tree, recipe("node", "lib/answer.js"))
    assert one[-2] == other[-2]
    assert one[-1].arguments != other[-1].arguments


def test_a_changed_line_is_one_step(host: Bench, tmp_path: Path, tree: Tree) -> None:
    output(host, planned(tmp_path, tree))
    changed = planned(tmp_path, tree, files={**FILES, "server.js": f"{SERVER}// one more\n"})
    result = host.build([*HOST, HOST_NODE, *changed])
    assert list(result.built) == ["web"]


def test_the_code_of_a_package_can_be_the_service(host: Bench, tmp_path: Path, tree: Tree) -> None:
    content = package("idp", "1.0.0", {"bin/run.js": "run();\n"})
    tree.add("node_modules/idp", "1.0.0", content)
    wanted = recipe("node", "node_modules/idp/bin/run.js", "--port", "{port}")
    out = output(host, planned(tmp_path, tree, wanted, files={}))
    assert service_of(out)["command"][1] == "{path}/node_modules/idp/bin/run.js"


def test_a_file_that_a_package_does_not_have_is_refused(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    wanted = recipe("node", "node_modules/tool/run.js")
    said = reason(host, planned(tmp_path, tree, wanted))
    assert "node_modules/tool/run.js is not there; its package has index.js" in said


ENTRIES = {
    "another ending": ("server", "no file 'server' to start with", "'server.js'"),
    "another folder": ("answer.js", "no file 'answer.js'", "'lib/answer.js'"),
    "a letter": ("servr.js", "no file 'servr.js'", "'server.js'"),
    "nothing near": ("zzz.js", "no file 'zzz.js'", None),
    "no such package": ("node_modules/tolo", "no locked package is there", "'node_modules/tool'"),
    "out of the source": ("../web/server.js", "is no file of it", None),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_an_entry_that_is_not_there_is_refused_with_what_is_near(
    tmp_path: Path, tree: Tree, case: str
) -> None:
    file, said, near = ENTRIES[case]
    with pytest.raises(ProjectError, match=said) as caught:
        planned(tmp_path, tree, recipe("node", file))
    assert caught.value.hint == (f"did you mean {near}?" if near else None)


@pytest.mark.parametrize(
    "command",
    [("npx", "saml-idp"), ("npm", "start"), ("node",), ("node", "--inspect"), ("python", "x")],
)
def test_a_command_that_node_does_not_run_is_refused(
    tmp_path: Path, tree: Tree, command: tuple[str, ...]
) -> None:
    with pytest.raises(ProjectError, match="is not one that Node runs") as caught:
        planned(tmp_path, tree, recipe(*command))
    assert caught.value.got == " ".join(command)


def test_install_scripts_are_refused_by_name_unless_they_can_be_done_without(
    tmp_path: Path, tree: Tree
) -> None:
    tree.add("node_modules/bcrypt", "5.0.0", hasInstallScript=True)
    tree.add("node_modules/tool/node_modules/@a/argon", "1.0.0", hasInstallScript=True)
    with pytest.raises(LockError, match=r"none is run: @a/argon, bcrypt") as caught:
        planned(tmp_path, tree)
    assert "skip_install_scripts: [@a/argon, bcrypt]" in str(caught.value.hint)
    options = {"skip_install_scripts": ("bcrypt", "@a/argon")}
    assert planned(tmp_path, tree, recipe(options=options))[-1].key == "web"


def test_a_script_that_is_skipped_must_be_one(tmp_path: Path, tree: Tree) -> None:
    wanted = recipe(options={"skip_install_scripts": ("tool",)})
    with pytest.raises(LockError, match="'tool', which has no install script here"):
        planned(tmp_path, tree, wanted)


def test_native_code_is_refused_unless_its_binary_is_there(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    files = {"binding.gyp": "{}", "deps/zlib/binding.gyp": "{}"}
    tree.add("node_modules/@a/native", "1.0.0", package("@a/native", "1.0.0", files))
    assert "@a/native: native code without a binary" in reason(host, planned(tmp_path, tree))
    prebuilt = {**files, "prebuilds/linux-x64/native.node": "\x7fELF"}
    tree.add("node_modules/@a/native", "1.0.1", package("@a/native", "1.0.1", prebuilt))
    assert output(host, planned(tmp_path, tree)).is_dir()


def test_native_code_that_can_be_done_without_passes(
    host: Bench, tmp_path: Path, tree: Tree
) -> None:
    content = package("native", "1.0.0", {"binding.gyp": "{}"})
    tree.add("node_modules/native", "1.0.0", content, hasInstallScript=True)
    wanted = recipe(options={"skip_install_scripts": ("native",)})
    assert output(host, planned(tmp_path, tree, wanted)).is_dir()


def test_a_node_that_the_service_does_not_run_on_is_refused(tmp_path: Path, tree: Tree) -> None:
    with pytest.raises(ProjectError, match="does not run on the Node of its recipe") as caught:
        planned(tmp_path, tree, engines={"node": ">=22"})
    assert (caught.value.expected, caught.value.got) == ("node >=22", "node-20: 20.20.2")
    assert '`node: "' in str(caught.value.hint)
    assert planned(tmp_path, tree, engines={"node": "^20 || >=22"})[-1].key == "web"


def test_engines_of_a_package_are_no_matter_as_for_npm(tmp_path: Path, tree: Tree) -> None:
    tree.add("node_modules/new", "1.0.0", engines={"node": ">=99"})
    assert planned(tmp_path, tree)[-1].key == "web"


@pytest.mark.parametrize("name", ["node_modules/tool/own.js", "sealift.json", ".sealift/x"])
def test_sources_in_the_way_are_refused(host: Bench, tmp_path: Path, tree: Tree, name: str) -> None:
    said = reason(host, planned(tmp_path, tree, files={**FILES, name: "x"}))
    assert "web: " in said
    log = host.store.var_dir / "log"
    text = "".join(file.read_text() for file in log.glob("*.log"))
    assert f"the source has a file '{name.partition('/')[0]}'" in text


@pytest.mark.parametrize("state", ["server.js", "package.json", "lib/answer.js/x"])
def test_state_that_would_hold_code_back_is_refused(tmp_path: Path, tree: Tree, state: str) -> None:
    with pytest.raises(InputError, match="state"):
        planned(tmp_path, tree, recipe(state=(state,)))


IMPORTS = {
    "require": 'const t = require("tester/deep/file");',
    "import": 'import t from "tester";',
    "bare import": "import 'tester';",
    "import()": 'await import("tester")',
    "export": 'export { a } from "tester";',
}


@pytest.mark.parametrize("case", IMPORTS)
def test_code_that_needs_a_package_left_out_is_refused(
    host: Bench, tmp_path: Path, tree: Tree, case: str
) -> None:
    tree.add("node_modules/tester", "1.0.0", dev=True)
    tree.manifest["devDependencies"] = {"tester": tree.manifest["dependencies"].pop("tester")}
    files = {**FILES, "lib/answer.js": IMPORTS[case]}
    said = reason(host, planned(tmp_path, tree, files=files))
    assert "lib/answer.js imports 'tester', which package.json has for development alone" in said
    unused = {**files, "server.js": "", "test/all.js": IMPORTS[case]}
    assert output(host, planned(tmp_path, tree, files=unused)).is_dir()


def test_an_entry_that_is_no_javascript_is_refused(host: Bench, tmp_path: Path, tree: Tree) -> None:
    files = {**FILES, "server.js": "FAULT"}
    assert "node ended with exit code 1" in reason(host, planned(tmp_path, tree, files=files))


def test_workspaces_are_refused(tmp_path: Path, tree: Tree) -> None:
    tree.packages["node_modules/own"] = {"resolved": "packages/own", "link": True}
    with pytest.raises(LockError, match="'node_modules/own' is a link into the source tree"):
        planned(tmp_path, tree)


def test_what_nothing_pins_is_refused_by_name(tmp_path: Path, tree: Tree) -> None:
    kept = dict(tree.packages["node_modules/tool"])
    del tree.packages["node_modules/tool"]["integrity"]
    with pytest.raises(UnpinnedError, match="node_modules/tool"):
        planned(tmp_path, tree)
    tree.packages["node_modules/tool"] = {**kept, "resolved": "git+ssh://git@host/tool.git#1"}
    with pytest.raises(GitDependencyError, match="node_modules/tool"):
        planned(tmp_path, tree)
    tree.packages["node_modules/tool"] = kept
    with pytest.raises(StaleLockError):
        planned(tmp_path, tree, dependencies={"tool": "^3.0.0"})


@pytest.mark.parametrize("gone", ["package.json", "package-lock.json"])
def test_a_source_without_its_files_is_refused(tmp_path: Path, tree: Tree, gone: str) -> None:
    planned(tmp_path, tree)
    (tmp_path / "web" / gone).unlink()
    made = project(tmp_path, tree.registry, recipe(), toolchain())
    with pytest.raises(InputError, match=f"no {gone}"):
        plan(recipe(), source_tree(tmp_path / "web"), made)
