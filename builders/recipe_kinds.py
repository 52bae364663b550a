"""What each kind of recipe may say: its options with their defaults, and its default inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from builders.fields import boolean, fail, string, strings, unknown
from builders.recipe import EMPTY, Kind
from builders.recipe_phase import (
    directories,
    files,
    number,
    parameter,
    parameters,
    phase_name,
    ports,
    refusals,
    secrets,
    texts,
    units,
    users,
)
from builders.recipe_sdists import build_requirements, python_package
from builders.recipe_suites import suites
from builders.recipe_units import WEB, web
from builders.recipe_words import (
    deb_package,
    file_pattern,
    links,
    missing,
    module,
    npm_package,
    recipe_name,
    relative,
    version,
)
from builders.requirements import DEFAULT_FILE, PROJECT_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builders.fields import Node

ABSENT = object()
REQUIRED = object()

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Option:
    """One key: how it is read, and its default; `ABSENT` leaves it out of the recipe's options."""

    read: Callable[[Node], Any]
    default: Any = ABSENT


@dataclass(frozen=True, slots=True)
class KindRules:
    """The keys of one kind beyond those of every recipe."""

    options: Mapping[str, Option]
    inputs: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    source: bool = False
    """Whether it must have a source."""
    project: bool = False
    """Whether it may have one, a Python project; others must have none."""
    service: bool = False
    web: bool = False
    env: bool = False
    """Whether its build runs commands of the source's own, which an environment can steer."""


def _one_of(*words: str) -> Callable[[Node], str]:
    def read(node: Node) -> str:
        word = string(node)
        if word not in words:
            raise fail(node, f"{word!r} is not taken", expected="one of " + ", ".join(words))
        return word

    return read


def _list_of(read: Callable[[Node], str], *, least: int = 0) -> Callable[[Node], tuple[str, ...]]:
    def read_list(node: Node) -> tuple[str, ...]:
        found = strings(node, read)
        if len(found) < least:
            raise fail(node, "the list is empty", expected="at least one")
        return found

    return read_list


_GLIBC = Option(version, "2.28")
_PYTHON = {"base": "base", "python": "python-3.11"}
_FROM_SOURCE = {
    "build_packages": Option(_list_of(deb_package)),
    "sdists": Option(_list_of(python_package)),
    "build_requirements": Option(build_requirements),
}
_PYTHON_APPLICATION = KindRules(
    options=_FROM_SOURCE
    | {
        "requirements": Option(relative, DEFAULT_FILE),
        "extra_requirements": Option(_list_of(string), ("gunicorn",)),
        "glibc": _GLIBC,
        "python": Option(version),
        "smoke": Option(module),
    },
    inputs=_PYTHON | {"tools": "python-tools"},
    source=True,
    service=True,
)
_DEB = {
    "packages": Option(_list_of(deb_package, least=1), REQUIRED),
    "suites": Option(suites),
    "closure": Option(boolean),
    "executables": Option(_list_of(relative), ()),
    "prune": Option(_list_of(file_pattern), ()),
    "links": Option(links),
    "merge_usr": Option(boolean, default=False),
}
_LANGUAGE = {"language": Option(string, REQUIRED), "version": Option(version, REQUIRED)}
_DEB_TOOLCHAIN = KindRules(
    options=_LANGUAGE | {key: _DEB[key] for key in ("packages", "suites", "closure", "prune")}
)
_NODE_TOOLCHAIN = KindRules(
    options=_LANGUAGE
    | {"npm": Option(version, REQUIRED), "from": Option(_one_of("npm", "archive"), "npm")},
    inputs=_PYTHON | {"tools": "python-tools", "patchelf": "patchelf", "runtime": "cxx-runtime"},
)
_KINDS: Mapping[Kind, KindRules] = {
    Kind.PEX: _PYTHON_APPLICATION,
    Kind.SHIV: _PYTHON_APPLICATION,
    Kind.ENV: KindRules(
        options=_FROM_SOURCE
        | {
            "requirements": Option(_list_of(string, least=1), REQUIRED),
            "glibc": _GLIBC,
            "python": Option(version),
        },
        inputs=_PYTHON,
        project=True,
    ),
    Kind.DIST: KindRules(
        options={
            "script": Option(string, "build"),
            "output": Option(relative, "dist"),
            "install_scripts": Option(_list_of(npm_package), ()),
            "node": Option(version),
        },
        inputs=_PYTHON | {"node": "node-20"},
        source=True,
        web=True,
        env=True,
    ),
    Kind.NODE: KindRules(
        options={
            "node": Option(version),
            "skip_install_scripts": Option(_list_of(npm_package), ()),
        },
        inputs=_PYTHON | {"node": "node-20"},
        source=True,
        service=True,
    ),
    Kind.DEB: KindRules(options=_DEB),
    Kind.EXECUTABLE: KindRules(
        options=_FROM_SOURCE
        | {
            "requirements": Option(relative, PROJECT_FILE),
            "extra_requirements": Option(_list_of(string), ()),
            "glibc": _GLIBC,
            "command": Option(recipe_name),
            "pure": Option(_list_of(python_package), ()),
        },
        inputs=_PYTHON
        | {"tools": "python-tools", "compiler": "compiler", "build": "sealift-build"},
        source=True,
    ),
    Kind.APT: KindRules(
        options={
            "packages": _DEB["packages"],
            "base": Option(recipe_name, REQUIRED),
            "suites": _DEB["suites"],
        }
    ),
    Kind.PHASE: KindRules(
        options={
            "number": Option(number, REQUIRED),
            "packages": Option(_list_of(deb_package), ()),
            "hosts": Option(parameter),
            "after": Option(_list_of(phase_name), ()),
            "irreversible": Option(texts, ()),
            "parameters": Option(parameters, EMPTY),
            "secrets": Option(secrets, EMPTY),
            "refusals": Option(refusals, ()),
            "ports": Option(ports, ()),
            "users": Option(users, ()),
            "directories": Option(directories, ()),
            "files": Option(files, ()),
            "units": Option(units, ()),
        }
    ),
    Kind.RELEASE: KindRules(
        options={
            "services": Option(_list_of(recipe_name, least=1)),
            "packages": Option(_list_of(recipe_name)),
            "web": Option(web, WEB),
        },
        inputs=_PYTHON | {name: name for name in ("nginx", "openssl", "supervisor")},
    ),
}
DEFAULT_INPUTS = frozenset(name for rules in _KINDS.values() for name in rules.inputs.values())
"""Recipes that others are built with unless they say otherwise; sealift brings them."""
_TOOLCHAINS = {"glibc": _DEB_TOOLCHAIN, "node": _NODE_TOOLCHAIN, "python": _DEB_TOOLCHAIN}
_NAMES = {kind.value: kind for kind in (*_KINDS, Kind.TOOLCHAIN)}


def kind_rules(node: Node, values: Mapping[str, Node]) -> tuple[Kind, KindRules]:
    """Return a recipe's kind, and what recipes of that kind may say.

    Raises:
        RecipeError: there is no kind, or none of that name.
    """
    kind = _choice(node, values, "kind", _NAMES)
    if kind is not Kind.TOOLCHAIN:
        return kind, _KINDS[kind]
    return kind, _choice(node, values, "language", _TOOLCHAINS)


def read_options(node: Node, values: Mapping[str, Node], rules: KindRules) -> dict[str, Any]:
    """Read the options of a kind, with their defaults.

    Raises:
        RecipeError: an option is wrong, or a required one is missing.
    """
    found = {}
    for key, option in rules.options.items():
        if key in values:
            found[key] = option.read(values[key])
        elif option.default is REQUIRED:
            raise missing(node, key)
        elif option.default is not ABSENT:
            found[key] = option.default
    return found


def _choice(node: Node, values: Mapping[str, Node], key: str, choices: Mapping[str, _T]) -> _T:
    if key not in values:
        raise missing(node, key)
    word = string(values[key])
    if word not in choices:
        raise unknown(values[key], choices.keys(), key)
    return choices[word]
