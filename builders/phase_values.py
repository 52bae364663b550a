"""Values of a phase's parameters, each read as its type wants it.

A recipe gives defaults, a site's settings give values; both are nodes, so one reader does. What it
returns are JSON values. Numbers stay numbers; everything else that has a grammar is a text that
keeps to it, so that a template may write it as it is.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from builders.fields import (
    RecipeError,
    boolean,
    fail,
    integer,
    mapping,
    number,
    sequence,
    string,
    text,
    unknown,
)
from builders.phase_types import LARGEST, WORD, Parameter, Sort, Type
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builders.fields import Node

    Select = Callable[[str], Sequence[str]]
    """Gives the names of the cluster's hosts that a set means; all of them for the empty text."""

Value: TypeAlias = Any
"""Any JSON value."""
LAST_PORT = 65_535

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_PATH = re.compile(r"/[A-Za-z0-9._@:%+,=~/-]{0,254}\Z")
_OF_A_WORD = "1 to 255 of: letters, digits and _ * @ % + : / . , = ~ | ! ^ -"
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,14})[KMGT]?\Z")
_DNS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*\Z")
_LONGEST_DNS = 253
_SECRET = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a value may name, and the secrets that were found: by name, which sort each is.

    Without `select` hosts are not looked up, as when a recipe is loaded.
    """

    select: Select | None
    secrets: dict[str, str]


def read(parameter: Parameter, node: Node | None, reading: Reading, where: str) -> Value:
    """Read a parameter's value, or its default where `node` is None.

    Raises:
        RecipeError: it is not what the type wants; or neither is there: then at `where`.
    """
    given = parameter.default if node is None else node
    if given is None:
        if parameter.type.sort is Sort.HOSTS and reading.select is not None:
            return list(reading.select(""))
        if parameter.type.sort is Sort.RECORD:
            return _record(parameter.type, {}, reading, where)
        expected = f"{parameter.type}: {parameter.help}".removesuffix(": ")
        raise RecipeError(f"{parameter.name!r} must be given", where=where, expected=expected)
    if given.sort == "null":
        return _null(parameter, given)
    return value(parameter.type, given, reading)


def _null(parameter: Parameter, given: Node) -> None:
    if parameter.default is None or parameter.default.sort != "null":
        raise fail(given, f"{parameter.name!r} cannot be nothing", hint="leave it out")


def value(wanted: Type, node: Node, reading: Reading) -> Value:
    """Read a value of a type.

    Raises:
        RecipeError: it is none, or it names a host that the cluster has not.
    """
    plain = _PLAIN.get(wanted.sort)
    return _OTHER[wanted.sort](wanted, node, reading) if plain is None else plain(wanted, node)


def _list(wanted: Type, node: Node, reading: Reading) -> Value:
    return [value(wanted.of[0], item, reading) for item in sequence(node)]


def _map(wanted: Type, node: Node, reading: Reading) -> Value:
    return {_key(key): value(wanted.of[0], inner, reading) for key, inner in _entries(node)}


def _given_record(wanted: Type, node: Node, reading: Reading) -> Value:
    given = mapping(node, [each.name for each in wanted.fields])
    return _record(wanted, given, reading, node.where)


def _record(wanted: Type, given: Mapping[str, Node], reading: Reading, where: str) -> Value:
    return {each.name: read(each, given.get(each.name), reading, where) for each in wanted.fields}


def _entries(node: Node) -> tuple[tuple[Node, Node], ...]:
    mapping(node)
    return node.entries


def _key(node: Node) -> str:
    return _matching(node, WORD, "key", _OF_A_WORD)


def _hosts(wanted: Type, node: Node, reading: Reading) -> Value:
    words = ",".join(text(item) for item in node.items) if node.sort == "seq" else text(node)
    if reading.select is None:
        return words
    try:
        names = list(reading.select(words))
    except InputError as error:
        raise fail(
            node, error.reason, expected=error.expected, got=error.got, hint=error.hint
        ) from error
    if wanted.sort is Sort.HOSTS:
        return names
    if len(names) != 1:
        raise fail(node, "one host is wanted here", got=f"{len(names)}: {words}")
    return names[0]


def _secret(wanted: Type, node: Node, reading: Reading) -> str:
    name = _matching(node, _SECRET, "name of a secret", "for example DB_PASSWORD")
    sort = wanted.among[0]
    if reading.secrets.setdefault(name, sort) != sort:
        raise fail(node, f"the secret {name} is a {sort} here and something else elsewhere")
    return name


def _matching(node: Node, grammar: re.Pattern[str], what: str, expected: str) -> str:
    word = text(node)
    if grammar.match(word) is None:
        raise fail(node, f"{word!r} is no {what}", expected=expected)
    return word


def _choice(wanted: Type, node: Node) -> str:
    if text(node) not in wanted.among:
        raise unknown(node, wanted.among, "word")
    return node.text


def _name(_wanted: Type, node: Node) -> str:
    return _matching(node, _NAME, "name", "letters, digits and . _ - after a letter or digit")


def _word(_wanted: Type, node: Node) -> str:
    return _matching(node, WORD, "word", _OF_A_WORD)


def _text(_wanted: Type, node: Node) -> str:
    # Nothing, where a word may be left out of a file.
    return "" if node.sort == "str" and not node.text else string(node)


def _path(_wanted: Type, node: Node) -> str:
    path = _matching(node, _PATH, "path", "an absolute path of letters, digits and . _ @ : + -")
    if any(part in ("", ".", "..") for part in path[1:].split("/")) and path != "/":
        raise fail(node, f"path {path!r} makes a detour", expected="neither '.' nor '..' nor '//'")
    return path


def _size(_wanted: Type, node: Node) -> str:
    return _matching(node, _SIZE, "size", "digits and K, M, G or T, for example 512M")


def _address(_wanted: Type, node: Node) -> str:
    word = text(node)
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        dns = len(word) <= _LONGEST_DNS and _DNS.match(word)
        if not dns or word.rpartition(".")[2].isdigit():
            expected = "an IP address or a name of the DNS"
            raise fail(node, f"{word!r} is no address", expected=expected) from None
        return word


def _network(_wanted: Type, node: Node) -> str:
    try:
        return str(ipaddress.ip_network(text(node)))
    except ValueError as fault:
        expected = "for example 10.0.0.0/24"
        raise fail(node, f"this is no network: {fault}", expected=expected) from fault


def _integer(wanted: Type, node: Node) -> int:
    least = -LARGEST if wanted.least is None else int(wanted.least)
    return integer(node, least, LARGEST if wanted.most is None else int(wanted.most))


def _number(wanted: Type, node: Node) -> int | float:
    least = -float(LARGEST) if wanted.least is None else wanted.least
    found = number(node, least, float(LARGEST) if wanted.most is None else wanted.most)
    return int(found) if node.sort == "int" else found


def _seconds(wanted: Type, node: Node) -> int | float:
    least = 0 if wanted.least is None else wanted.least
    return _number(Type(Sort.NUMBER, least=least, most=wanted.most), node)


_PLAIN: Mapping[Sort, Callable[[Type, Node], Value]] = {
    Sort.NAME: _name,
    Sort.WORD: _word,
    Sort.TEXT: _text,
    Sort.PATH: _path,
    Sort.PORT: lambda _wanted, node: integer(node, 1, LAST_PORT),
    Sort.INTEGER: _integer,
    Sort.NUMBER: _number,
    Sort.BOOLEAN: lambda _wanted, node: boolean(node),
    Sort.SECONDS: _seconds,
    Sort.SIZE: _size,
    Sort.ADDRESS: _address,
    Sort.NETWORK: _network,
    Sort.CHOICE: _choice,
}
_OTHER: Mapping[Sort, Callable[[Type, Node, Reading], Value]] = {
    Sort.LIST: _list,
    Sort.MAP: _map,
    Sort.RECORD: _given_record,
    Sort.HOSTS: _hosts,
    Sort.HOST: _hosts,
    Sort.SECRET: _secret,
}
