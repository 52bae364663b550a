"""The `suites:` of a recipe: Debian's by name, others with mirror, components and keyring."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builders.fields import fail, mapping, sequence, strings, text
from builders.recipe import SuiteSpec
from builders.recipe_words import missing, relative, suite, url

if TYPE_CHECKING:
    from builders.fields import Node

_COMPONENT = re.compile(r"[a-z][a-z0-9.-]*\Z")


def suites(node: Node) -> tuple[str | SuiteSpec, ...]:
    """Read a list of suites; each is a name, or a mapping that says where it is found."""
    found: list[str | SuiteSpec] = []
    for item in sequence(node):
        spec = _spec(item) if item.sort == "map" else suite(item)
        if spec in found:
            raise fail(item, "the suite is listed twice")
        found.append(spec)
    if not found:
        raise fail(node, "the list is empty", expected="at least one")
    return tuple(found)


def _spec(node: Node) -> SuiteSpec:
    values = mapping(node, ("suite", "mirror", "components", "keyring"))
    if "suite" not in values:
        raise missing(node, "suite")
    if "mirror" in values and "keyring" not in values:
        raise fail(
            node,
            "a mirror of its own has a keyring of its own",
            hint="add `keyring:`, a file below the recipes folder whose keys sign the suite",
        )
    components = strings(values["components"], _component) if "components" in values else ()
    return SuiteSpec(
        suite=suite(values["suite"]),
        mirror=url(values["mirror"]) if "mirror" in values else None,
        components=components or ("main",),
        keyring=relative(values["keyring"]) if "keyring" in values else None,
    )


def _component(node: Node) -> str:
    word = text(node)
    if _COMPONENT.match(word) is None:
        raise fail(node, f"{word!r} is no component", expected="for example main or universe")
    return word
