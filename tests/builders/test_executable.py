"""Kind `executable`: what is planned, and the parts that archives and wheels are made by.

That the result starts, and where, is tried by `tests/sealift/test_packaged.py`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders import executable
from builders.fields import RecipeError
from builders.loader import load_recipe
from builders.python_lock import LockError
from builders.recipe import Kind, Recipe, SourceSpec
from builders.requirements import RequirementError, read_requirements
from builders.scripts import launcher, one_file, zips
from builders.scripts.executable import carried_of
from builders.scripts.pure_wheel import purify
from builders.settings import load_settings
from builders.source import collect
from builders.source_errors import SourceError
from store.errors import InputError
from tests.builders.registry import serving
from tests.builders.test_source import Cache
from tests.builders.wheels import Site, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.step import Step

PROJECT = '[project]\nname = "tool"\nversion = "1.0"\ndependencies = ["Small>=1", "other"]\n'
OPTIONS = {"requirements": "pyproject.toml", "extra_requirements": (), "glibc": "2.28", "pure": ()}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving() as registry:
        yield Site(tmp_path / "site", registry)


@pytest.fixture
def recipe(site: Site) -> Recipe:
    folder = site.root / "sources" / "tool"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    roles = {"tools": Kind.ENV, "compiler": Kind.DEB, "build": Kind.ENV}
    for role, kind in roles.items():
        site.add(Recipe(role, kind, site.root / f"{role}.yaml"))
    recipe = Recipe(
        "tool",
        Kind.EXECUTABLE,
        site.root / "tool.yaml",
        source=SourceSpec("tool"),
        options=OPTIONS,
        inputs={"python": "python", **{role: role for role in roles}},
    )
    site.pin(site.add(recipe), make_wheel("small"), make_wheel("other"))
    return recipe


def steps(site: Site, recipe: Recipe) -> dict[str, Step]:
    planned = executable.plan(recipe, site.source(recipe), site.project)
    return {step.key: step for step in planned}


# The plan.


def test_the_steps(site: Site, recipe: Recipe) -> None:
    planned = steps(site, recipe)
    assert {"tool", "tool:env", "tool:wheel", "tool:launcher"} <= planned.keys()
    assert planned["tool"].arguments["command"] == "tool"
    assert planned["tool"].arguments["variable"] == "TOOL_CACHE"
    assert planned["tool"].source is None  # code reaches it as a wheel
    assert planned["tool:wheel"].source is not None
    assert planned["tool:launcher"].inputs == {"python": "python", "base": "compiler"}


def test_a_command_of_another_name(site: Site, recipe: Recipe) -> None:
    other = replace(recipe, options={**OPTIONS, "command": "my-tool.2"})
    assert steps(site, other)["tool"].arguments["variable"] == "MY_TOOL_2_CACHE"


@pytest.mark.parametrize(
    ("role", "kind"), [("tools", "env"), ("compiler", "deb"), ("build", "env")]
)
def test_an_input_of_another_kind_is_named(
    site: Site, recipe: Recipe, role: str, kind: str
) -> None:
    site.add(Recipe("wrong", Kind.APT, site.root / "wrong.yaml"))
    wrong = replace(recipe, inputs={**recipe.inputs, role: "wrong"})
    with pytest.raises(InputError) as caught:
        steps(site, wrong)
    assert caught.value.reason == f"tool: input {role!r} is 'wrong', a recipe of kind apt"
    assert caught.value.expected == f"a recipe of kind {kind}"


def test_packages_in_further_roles_are_carried(site: Site, recipe: Recipe) -> None:
    site.add(Recipe("openssh", Kind.DEB, site.root / "openssh.yaml"))
    carrying = replace(recipe, inputs={**recipe.inputs, "ssh": "openssh"})
    final = steps(site, carrying)["tool"]
    assert final.inputs["carried:ssh"] == "openssh"
    assert not [role for role in steps(site, recipe)["tool"].inputs if role.startswith("carried:")]
    wrong = replace(recipe, inputs={**recipe.inputs, "ssh": "build"})
    with pytest.raises(InputError, match="input 'ssh' is 'build', a recipe of kind env"):
        steps(site, wrong)


def test_a_carried_package_lies_below_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    for name in ("usr/bin/ssh", "sealift.json"):
        (tmp_path / name).write_text("x")
    found = carried_of({"openssh": str(tmp_path)})
    assert found == {"python/carried/openssh/usr/bin/ssh": tmp_path / "usr/bin/ssh"}


def test_the_launchers_code_decides(site: Site, recipe: Recipe) -> None:
    code = steps(site, recipe)["tool:launcher"].arguments["code"]
    assert {"launcher.c", "launcher.h", "place.c", "stamp.c", "unpack.c"} == code.keys()


def test_pure_names_what_is_locked(site: Site, recipe: Recipe) -> None:
    pure = replace(recipe, options={**OPTIONS, "pure": ("Small",)})
    assert steps(site, pure)["tool"].arguments["pure"] == ["small"]
    wrong = replace(recipe, options={**OPTIONS, "pure": ("smal",)})
    with pytest.raises(LockError, match="'smal', which is not locked"):
        steps(site, wrong)


# Sources beside the recipes.

RECIPE = """\
kind: executable
source:
  path: .
  beside: recipes
  only: [tool, pyproject.toml]
"""


def test_a_source_beside_the_recipes_whatever_the_sources_are(tmp_path: Path) -> None:
    checkout, site = tmp_path / "checkout", tmp_path / "site"
    for file in ("tool/a.py", "tests/b.py", "toolbox/c.py", "pyproject.toml", "recipes/tool.yaml"):
        (checkout / file).parent.mkdir(parents=True, exist_ok=True)
        (checkout / file).write_text(RECIPE)
    site.mkdir()
    (site / "sealift.yaml").write_text(f"recipes: {checkout / 'recipes'}\nsources: /nowhere\n")
    spec = load_recipe(checkout / "recipes" / "tool.yaml").source
    assert spec == SourceSpec(".", beside=True, only=("tool", "pyproject.toml"))
    tree = collect(spec, load_settings(site).source_base(spec), cache=Cache())
    assert [file.path for file in tree.files] == ["pyproject.toml", "tool/a.py"]
    assert load_settings(site).source_base(SourceSpec("app")) == Path("/nowhere")


def test_what_only_names_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    spec = SourceSpec(".", only=("a", "b"))
    with pytest.raises(SourceError, match="has no 'b', which `only` names"):
        collect(spec, tmp_path, cache=Cache())


def test_only_reaches_into_folders_and_leaves_out_what_never_goes_in(tmp_path: Path) -> None:
    for name in ("a/b/x", "a/c/y", "a/b/.env", "a/b2/z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    tree = collect(SourceSpec(".", only=("a/b",)), tmp_path, cache=Cache())
    assert [file.path for file in tree.files] == ["a/b/x"]


def test_beside_anything_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tool.yaml"
    file.write_text(RECIPE.replace("beside: recipes", "beside: tests"))
    with pytest.raises(RecipeError, match="a source beside 'tests'"):
        load_recipe(file)


# Requirements of a project.


def asked(tmp_path: Path, text: str) -> tuple[str, ...]:
    file = tmp_path / "pyproject.toml"
    file.write_text(text)
    return read_requirements(file, root=tmp_path).lines


def test_a_projects_dependencies_are_requirements(tmp_path: Path) -> None:
    assert asked(tmp_path, PROJECT) == ("other", "small>=1")
    assert asked(tmp_path, '[project]\nname = "a"\n') == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool]\n", "no pyproject.toml with a table"),
        ("project = 3\n", "no pyproject.toml with a table"),
        ("[project\n", "no pyproject.toml with a table"),
        ('[project]\ndynamic = ["dependencies"]\n', "dependencies are dynamic"),
        ('[project]\ndependencies = ["a @ file:///a"]\n', "not a package of the index"),
    ],
)
def test_a_project_that_cannot_be_locked(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RequirementError, match=says):
        asked(tmp_path, text)


# Archives.


def test_an_archive_says_nothing_of_when_it_was_written(tmp_path: Path) -> None:
    written = []
    for time in (10**9, 2 * 10**9):
        (tmp_path / "run").write_text("x")
        (tmp_path / "run").chmod(0o700 if time == 10**9 else 0o755)
        os.utime(tmp_path / "run", (time, time))
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to("run")
        zips.write(
            tmp_path / "a.zip",
            {"b": b"x" * 1000, "a/run": tmp_path / "run", "l": tmp_path / "link"},
        )
        written.append((tmp_path / "a.zip").read_bytes())
    assert written[0] == written[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        modes = {info.filename: oct(info.external_attr >> 16) for info in archive.infolist()}
        assert archive.read("l") == b"run"
    assert modes == {"a/run": "0o100755", "b": "0o100644", "l": "0o120777"}


def test_an_archive_is_the_same_in_whatever_order_it_was_packed(tmp_path: Path) -> None:
    members = {"_bootstrap/b.py": b"b" * 99, "_bootstrap/a.py": b"a", "__main__.py": b"main"}
    for name, order in (("one", list(members)), ("two", sorted(members))):
        with (tmp_path / name).open("wb") as stream:
            stream.write(b"#!/usr/bin/env python3\n")
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for each in order:
                    archive.writestr(zips.member(each, 0o100755), members[each])
        (tmp_path / name).chmod(0o755)
    one, two = tmp_path / "one", tmp_path / "two"
    assert one.read_bytes() != two.read_bytes()
    for file in (one, two):
        zips.rewrite(file)
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes().startswith(b"#!/usr/bin/env python3\nPK")
    assert one.stat().st_mode & 0o777 == 0o755
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == members
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100755}


def test_a_shifted_archive_is_read_where_it_stands(tmp_path: Path) -> None:
    zips.write(tmp_path / "a.zip", {"a": b"x", "b": b"y"})
    data = (tmp_path / "a.zip").read_bytes()
    moved = bytes(1000) + zips.shifted(data, 1000)
    (tmp_path / "b.zip").write_bytes(moved)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert [archive.read(name) for name in "ab"] == [b"x", b"y"]
        assert [moved[info.header_offset :][:2] for info in archive.infolist()] == [b"PK", b"PK"]


def test_only_plain_archives_can_be_shifted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.comment = b"said"
    for data in ((tmp_path / "a.zip").read_bytes(), bytes(100)):
        with pytest.raises(ValueError, match="not a plain zip archive"):
            zips.shifted(data, 1)


def test_the_stamp_says_where_each_part_begins(tmp_path: Path) -> None:
    size = one_file.STAMP.size
    elf = b"\x7fELF" + one_file.MARK + bytes(size - len(one_file.MARK)) + b"rest"
    (tmp_path / "launcher").write_bytes(elf)
    zips.write(tmp_path / "a.zip", {"a": b"x"})
    zips.write(tmp_path / "b.zip", {"b": b"y" * 5000})
    one = tmp_path / "one"
    one_file.join(one, tmp_path / "launcher", tmp_path / "a.zip", tmp_path / "b.zip")
    data = one.read_bytes()
    said = one_file.STAMP.unpack_from(data, 4)
    assert said[2:6] == (len(elf), len(elf) + (tmp_path / "a.zip").stat().st_size, len(data), 12288)
    assert data[said[2] :].startswith(b"PK\3\4")
    assert data[said[3] :].startswith(b"PK\3\4")
    assert one.stat().st_mode & 0o111
    with pytest.raises(SystemExit, match="stamp"):
        one_file.join(one, tmp_path / "a.zip", tmp_path / "a.zip", tmp_path / "b.zip")


# Wheels for any Python.


def test_a_wheel_loses_its_extension_modules(tmp_path: Path) -> None:
    name, data = make_wheel(
        "small",
        files={"small/__init__.py": "", "small/_fast.so": b"\x7fELF"},
        tag="cp311-cp311-linux",
    )
    (tmp_path / name).write_bytes(data)
    (tmp_path / "out").mkdir()
    pure = purify(tmp_path / name, tmp_path / "out")
    assert pure.name == "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pure) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert "small/_fast.so" not in members
    about = members["small-1.0.dist-info/WHEEL"].decode().splitlines()
    assert about[-2:] == ["Root-Is-Purelib: true", "Tag: py3-none-any"]
    assert sum(line.startswith("Tag:") for line in about) == 1
    rows = members["small-1.0.dist-info/RECORD"].decode().splitlines()
    for row in rows[:-1]:
        path, said, size = row.rsplit(",", 2)
        digest = base64.urlsafe_b64encode(hashlib.sha256(members[path]).digest()).decode()
        assert (said, size) == (f"sha256={digest.rstrip('=')}", str(len(members[path])))
    assert {row.partition(",")[0] for row in rows} == members.keys()


def test_a_wheel_that_has_none_is_named_by_mistake(tmp_path: Path) -> None:
    name, data = make_wheel("small", files={"small/__init__.py": ""})
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SystemExit, match="has no extension modules"):
        purify(tmp_path / name, tmp_path)


# The launcher.


def test_an_interpreter_of_the_stores_own_c_library_cannot_be_carried(tmp_path: Path) -> None:
    mine = Path(os.path.realpath("/proc/self/exe")).read_bytes()
    (tmp_path / "python3").write_bytes(mine)
    launcher.check_loader(tmp_path / "python3")
    other = mine.replace(launcher.LOADER, b"/opt/lib/ld-linux-x86-64.s")
    (tmp_path / "python3").write_bytes(other)
    with pytest.raises(SystemExit, match="take one that runs on the machine's"):
        launcher.check_loader(tmp_path / "python3")


@pytest.mark.parametrize("word", ['a"b', "a b", "a\\b", "", "a;b"])
def test_no_word_breaks_out_of_the_code(word: str) -> None:
    with pytest.raises(SystemExit, match="cannot stand in the launcher"):
        launcher.quoted(word)
