"""What a recipe of kind `phase` may say, read as far as that goes without a cluster.

Texts that may be templates stay nodes, so that what is wrong with them can be said with its place;
they are rendered for each host by `builders.phase_render`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from builders.fields import boolean, fail, integer, mapping, sequence, string, text, wrong_type
from builders.phase_types import SECRET_SORTS, Parameter, declare, parameter_name
from builders.phase_values import Reading, read
from builders.recipe_words import missing, variable
from builders.settings_cluster import PHASE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builders.fields import Node

Row: TypeAlias = "Mapping[str, Node]"
"""One thing that a phase brings: its keys with what they say."""
LAST_PHASE = 99
UNUSED = 7
"""A number that the platform's phases leave out; it is told of, and does nothing."""
_GIVEN = ("addresses", "cluster", "host", "hosts", "phases", "ports_open", "secret")
_OWN = ("dict", "false", "namespace", "none", "range", "true")
_SYNTAX = ("and", "else", "elif", "for", "if", "import", "in", "is", "not", "or", "recursive")
TAKEN = frozenset((*_GIVEN, *_OWN, *_SYNTAX))
"""Words that mean something else in a template."""
_PORT = ("port", "proto", "to", "unit", "when")
_USER = ("name", "uid", "gid", "group", "home", "shell", "groups", "when")
_DIRECTORY = ("path", "owner", "group", "mode", "when")
_FILE = ("path", "text", "secret", "owner", "group", "mode", "units", "reload", "when")
_UNIT = ("name", "enabled", "when")
_REFUSAL = ("when", "say", "at")
_LISTS = ("units", "groups")
"""Keys of rows that hold several texts."""
_TRUTHS = ("reload", "enabled")
"""Keys of rows that are true or false, and no templates."""


def number(node: Node) -> int:
    """Read the number of a phase."""
    found = integer(node, 0, LAST_PHASE)
    if found == UNUSED:
        hint = "take another number"
        raise fail(node, f"phase {UNUSED} is unused, and stays so", hint=hint)
    return found


def phase_name(node: Node) -> str:
    """Read the name of another phase."""
    if PHASE.match(text(node)) is None:
        raise fail(node, f"{node.text!r} is no name of a phase", expected="for example storage")
    return node.text


def parameter(node: Node) -> str:
    """Read the name of one of the phase's parameters."""
    return parameter_name(node).text


def parameters(node: Node) -> Mapping[str, Parameter]:
    """Read the declarations of parameters; each default is tried at once.

    Raises:
        RecipeError: an unknown key or type, or a default that is not of its type.
    """
    mapping(node)
    found = {}
    for name, said in node.entries:
        parameter_name(name)
        if name.text in TAKEN:
            reason = f"{name.text!r} means something else in templates"
            raise fail(name, reason, hint="take another name")
        found[name.text] = declare(name, said)
        if found[name.text].default is not None:
            read(found[name.text], None, Reading(None, {}), said.where)
    return MappingProxyType(found)


def secrets(node: Node) -> Mapping[str, str]:
    """Read secrets that files name as they are: what each of them is.

    Raises:
        RecipeError: no name, or an unknown sort.
    """
    values = mapping(node)
    for name, sort in node.entries:
        variable(name)
        if string(sort) not in SECRET_SORTS:
            raise fail(sort, f"{sort.text!r} is no sort of secret", expected="password or bytes")
    return MappingProxyType({name: sort.text for name, sort in values.items()})


def texts(node: Node) -> tuple[Node, ...]:
    """Read a list of texts, which may be templates."""
    for item in sequence(node):
        text(item)
    return node.items


def refusals(node: Node) -> tuple[Row, ...]:
    """Read which values of parameters do not go together, and what is said then."""
    return _rows(node, _REFUSAL, *_REFUSAL)


def ports(node: Node) -> tuple[Row, ...]:
    """Read which ports the phase's units listen on."""
    return _rows(node, _PORT)


def users(node: Node) -> tuple[Row, ...]:
    """Read which users there are to be."""
    return _rows(node, _USER, "name", "uid")


def directories(node: Node) -> tuple[Row, ...]:
    """Read which folders there are to be."""
    return _rows(node, _DIRECTORY, "path")


def files(node: Node) -> tuple[Row, ...]:
    """Read which files there are to be: each a text, or a secret.

    Raises:
        RecipeError: an unknown key, a wrong value, or a file that is neither or both.
    """
    found = _rows(node, _FILE, "path")
    for at, row in enumerate(found):
        if ("text" in row) == ("secret" in row):
            reason = "a file is a text or a secret"
            raise fail(node.items[at], reason, expected="one of the keys `text` and `secret`")
    return found


def units(node: Node) -> tuple[Row, ...]:
    """Read which units the phase cares about; a name alone is one that is enabled."""
    return tuple(
        {"name": item} if item.sort == "str" else _row(item, _UNIT, ("name",))
        for item in sequence(node)
    )


def _rows(node: Node, keys: tuple[str, ...], *required: str) -> tuple[Row, ...]:
    return tuple(_row(item, keys, required) for item in sequence(node))


def _row(node: Node, keys: tuple[str, ...], required: tuple[str, ...]) -> Row:
    values = mapping(node, keys)
    for key in required:
        if key not in values:
            raise missing(node, key)
    for key, inner in values.items():
        _check(key)(inner)
    return MappingProxyType(values)


def _check(key: str) -> Callable[[Node], object]:
    if key in _TRUTHS:
        return boolean
    if key in _LISTS:
        return texts
    return _any_text if key == "text" else _short


def _short(node: Node) -> str:
    # `null` is what people write for nothing, and would become the text `None`.
    return text(node)


def _any_text(node: Node) -> str:
    """Check the text of a file, which may have many lines, and may be empty."""
    if node.sort in ("null", "seq", "map"):
        raise wrong_type(node, "the text of a file")
    return node.text
