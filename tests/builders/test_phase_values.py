"""Types of a phase's parameters: which values they take, and what is said of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.document import parse
from builders.fields import Node, RecipeError
from builders.kept_node import from_json, meaning, plain, to_json
from builders.phase_types import declare
from builders.phase_values import Reading, read
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.phase_types import Parameter

FILE = Path("/site/sealift.yaml")
HOSTS = ("head1", "head2", "head3")


def node(text: str) -> Node:
    return parse(text.encode(), FILE)


def declared(text: str) -> Parameter:
    name, said = node(f"x: {text}").entries[0]
    return declare(name, said)


def select(wanted: str) -> Sequence[str]:
    names = wanted.split(",") if wanted else list(HOSTS)
    if not set(names) <= set(HOSTS):
        raise InputError(f"there is no host {wanted!r}", hint="sealift inventory list")
    return [name for name in HOSTS if name in names]


def value(declaration: str, text: str, *, secrets: dict[str, str] | None = None) -> Any:
    reading = Reading(select, {} if secrets is None else secrets)
    return read(declared(declaration), node(f"v: {text}").entries[0][1], reading, "there")


TAKEN: list[tuple[str, str, Any]] = [
    ("name", "shared_data", "shared_data"),
    ("name", "22", "22"),
    ("word", "network.ping-timeout", "network.ping-timeout"),
    ("word", "3.10", "3.10"),
    ("text", "any thing, 'quoted'", "any thing, 'quoted'"),
    ("text", "''", ""),
    ("path", "/mnt/gluster", "/mnt/gluster"),
    ("path", "/", "/"),
    ("port", "6379", 6379),
    ("integer", "-4", -4),
    ("{type: integer, min: 1, max: 9}", "9", 9),
    ("number", "1.5", 1.5),
    ("number", "2", 2),
    ("boolean", "true", True),
    ("seconds", "0.5", 0.5),
    ("size", "512M", "512M"),
    ("size", "0", "0"),
    ("address", "10.0.0.1", "10.0.0.1"),
    ("address", "FE80::1", "fe80::1"),
    ("address", "ntp.example.org", "ntp.example.org"),
    ("network", "10.0.0.0/24", "10.0.0.0/24"),
    ("{type: choice, of: [rsync, mariabackup]}", "rsync", "rsync"),
    ("hosts", "head3,head1", ["head1", "head3"]),
    ("hosts", "[head3, head1]", ["head1", "head3"]),
    ("host", "head2", "head2"),
    ("secret", "DB_PASSWORD", "DB_PASSWORD"),
    ("{type: list, of: port}", "[1, 2]", [1, 2]),
    ("{type: list, of: {type: integer, min: 3}}", "[]", []),
    ("{type: map, of: word}", "{net.core.somaxconn: 128}", {"net.core.somaxconn": "128"}),
    (
        "{type: map, of: {type: record, of: {a: word, b: {type: port, default: 5}}}}",
        "{one: {a: x}}",
        {"one": {"a": "x", "b": 5}},
    ),
    ("{type: word, default: null}", "null", None),
]


@pytest.mark.parametrize(("declaration", "text", "wanted"), TAKEN)
def test_taken(declaration: str, text: str, wanted: Any) -> None:
    found = value(declaration, text)
    assert found == wanted
    assert type(found) is type(wanted)
    assert json.loads(json.dumps(found)) == found


REFUSED = [
    ("name", "a b", "no name"),
    ("name", "-a", "no name"),
    ("name", f"{'a' * 64}", "no name"),
    ("word", "'a b'", "no word"),
    ("word", "'a\"b'", "no word"),
    ("word", "'a#b'", "no word"),
    ("word", "'$x'", "no word"),
    ("word", "[a]", "wrong type"),
    ("text", "3.10", "wrong type"),
    ("text", '"a\\nb"', "line break"),
    ("path", "mnt", "no path"),
    ("path", "/a/../b", "detour"),
    ("path", "/a//b", "detour"),
    ("path", "'/a b'", "no path"),
    ("port", "0", "out of range"),
    ("port", "65536", "out of range"),
    ("port", "'80'", "wrong type"),
    ("integer", "1.5", "wrong type"),
    ("{type: integer, min: 1}", "0", "out of range"),
    ("boolean", "'true'", "wrong type"),
    ("boolean", "yes", "wrong type"),
    ("seconds", "-1", "out of range"),
    ("size", "5m", "no size"),
    ("address", "10.0.0.256", "no address"),
    ("address", "a b", "no address"),
    ("network", "10.0.0.1/24", "no network"),
    ("{type: choice, of: [a, b]}", "c", "unknown word 'c'"),
    ("hosts", "head9", "there is no host"),
    ("host", "'head1,head2'", "one host is wanted"),
    ("secret", "'a b'", "no name of a secret"),
    ("{type: list, of: port}", "[x]", "wrong type"),
    ("{type: list, of: port}", "{a: 1}", "wrong type"),
    ("{type: map, of: word}", "{'a b': x}", "no key"),
    ("{type: record, of: {a: word}}", "{}", "'a' must be given"),
    ("{type: record, of: {a: word}}", "{a: x, b: y}", "unknown key 'b'"),
    ("word", "null", "cannot be nothing"),
]


@pytest.mark.parametrize(("declaration", "text", "reason"), REFUSED)
def test_refused_with_its_place(declaration: str, text: str, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        value(declaration, text)
    assert reason in caught.value.reason
    assert str(caught.value.where).startswith(f"{FILE}:1:")


DECLARATIONS = {
    "colour": "unknown type 'colour'",
    "{type: list}": "without `of`",
    "{type: record}": "without `of`",
    "{type: choice, of: []}": "among no words",
    "{type: port, of: word}": "'of' says nothing of type 'port'",
    "{type: word, min: 1}": "'min' says nothing of type 'word'",
    "{default: x}": "'type' is missing",
    "{type: secret, of: key}": "unknown sort of secret",
    "{type: record, of: {A: word}}": "no name of a parameter",
    "{type: word, more: x}": "unknown key 'more'",
}


@pytest.mark.parametrize("said", DECLARATIONS)
def test_a_declaration_that_makes_no_sense(said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        declared(said)
    assert DECLARATIONS[said] in caught.value.reason


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("{type: list, of: port}", "list of port"),
        ("{type: integer, min: 1, max: 9000000}", "integer from 1 to 9000000"),
        ("{type: choice, of: [a, b]}", "a | b"),
        ("{type: secret, of: bytes}", "secret of bytes"),
        ("{type: map, of: {type: record, of: {a: word}}}", "map of record of {a: word}"),
    ],
)
def test_a_type_is_said_in_a_line(said: str, wanted: str) -> None:
    assert str(declared(said).type) == wanted


def test_what_is_not_given() -> None:
    reading = Reading(select, {})
    assert read(declared("{type: word, default: x}"), None, reading, "there") == "x"
    assert read(declared("hosts"), None, reading, "there") == list(HOSTS)
    record = "{type: record, of: {a: {type: word, default: x}}}"
    assert read(declared(record), None, reading, "there") == {"a": "x"}
    with pytest.raises(RecipeError, match="'x' must be given") as caught:
        read(declared("word"), None, reading, "there")
    assert caught.value.where == "there"


def test_secrets_are_told_with_what_they_are() -> None:
    secrets: dict[str, str] = {}
    value("{type: map, of: secret}", "{a: ONE, b: TWO}", secrets=secrets)
    value("{type: secret, of: bytes}", "KEY", secrets=secrets)
    assert secrets == {"ONE": "password", "TWO": "password", "KEY": "bytes"}
    with pytest.raises(RecipeError, match="KEY is a password here and something else"):
        value("secret", "KEY", secrets=secrets)


WORDS = st.text(alphabet="ab1 \"'\n#:é", max_size=8)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_a_node_is_kept_as_it_was(tree: Any) -> None:
    found = node(json.dumps(tree, ensure_ascii=True))
    kept = json.loads(json.dumps(to_json(found)))
    assert from_json(kept, FILE) == found


def test_what_is_kept_means_the_same_wherever_it_stands() -> None:
    one, other = (to_json(node(text)) for text in ("{a: [1, b]}", "\n\na:\n - 1\n - b\n"))
    assert one != other
    assert meaning(one) == meaning(other)
    assert meaning(one) != meaning(to_json(node("{a: [1, c]}")))
    assert meaning(to_json(node("{a: '1'}"))) != meaning(to_json(node("{a: 1}")))
    assert plain(node("{a: [1, b, 1.50, true, null]}")) == {"a": [1, "b", "1.50", True, None]}
