"""What recipes of Python packages say of those that are built from source."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from builders.fields import fail, mapping, string, strings
from builders.requirements import RequirementError, normalise, parse_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builders.fields import Node

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")


def python_package(node: Node) -> str:
    """Read the name of a Python package, without a version; gives it as PEP 503 spells it."""
    name = string(node)
    if _NAME.match(name) is None:
        expected = "a name alone; versions stand in the requirements"
        raise fail(node, f"{name!r} is no name of a Python package", expected=expected)
    return normalise(name)


def build_requirements(node: Node) -> Mapping[str, tuple[str, ...]]:
    """Read, for packages that are built from source, what is asked for to build them."""
    values = mapping(node)
    return MappingProxyType(
        {python_package(key): strings(values[key.text], _requirement) for key, _ in node.entries}
    )


def _requirement(node: Node) -> str:
    line = string(node)
    try:
        parse_lines([line], node.where)
    except RequirementError as error:
        raise fail(node, error.reason, expected=error.expected) from error
    return line
