"""Inventories of Ansible, as INI and as YAML: hosts, groups, and how each host is reached.

A host's own variables go before its groups', a child's before its parents'. What is computed
(`{{ … }}`) cannot be taken over, and passwords are not.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builders.fields import RecipeError, mapping, place
from builders.hosts_facts import Facts, note, renamed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builders.fields import Node

MOST = 10_000
_ALL = "all"
_UNGROUPED = "ungrouped"
_SECTION = re.compile(r"\[([^\[\]:]+)(?::(children|vars))?\]\s*(?:[#;].*)?\Z")
_RANGE = re.compile(r"\[([0-9]{1,9}|[a-z]):([0-9]{1,9}|[a-z])(?::([1-9][0-9]{0,8}))?\]")
_PORT = re.compile(r"(.+[^:\]]):([0-9]{1,5})\Z")
_JUMP = re.compile(r"(?:-J\s*|ProxyJump[= ]\s*)([^\s\"']+)")
_FROM = {
    "address": ("ansible_host", "ansible_ssh_host"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "key": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
}
_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
_SECRET = re.compile(r"ansible_.*pass(?:word|phrase)?\Z")

_Result = tuple["dict[str, Facts]", "dict[str, tuple[str, ...]]", list[str]]


@dataclass(slots=True)
class _Group:
    """A group while the file is read."""

    hosts: dict[str, dict[str, str]] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def read_ini(content: bytes, file: Path) -> _Result:
    """Read the form with sections.

    Raises:
        RecipeError: a line makes no sense; says which.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as fault:
        raise RecipeError(f"not UTF-8 text: {fault.reason}", where=str(file)) from fault
    groups: dict[str, _Group] = {}
    name, part = _UNGROUPED, None
    for number, line in enumerate(lines, start=1):
        said = line.strip()
        if not said or said[0] in "#;":
            continue
        if said.startswith("["):
            found = _SECTION.match(said)
            if found is None:
                raise _fault("this is no section", file, number, said)
            name, part = found[1].strip(), found[2]
            groups.setdefault(name, _Group())
            continue
        _line(groups.setdefault(name, _Group()), part, said, place(file, number))
    return _result(groups)


def read_yaml(node: Node) -> _Result:
    """Read the form of nested mappings.

    Raises:
        RecipeError: something is no mapping that should be one.
    """
    groups: dict[str, _Group] = {}
    for name, value in mapping(node).items():
        _group(name, value, groups)
    return _result(groups)


def _line(group: _Group, part: str | None, said: str, where: str) -> None:
    if part == "children":
        group.children.append(said.split(maxsplit=1)[0])
        return
    if part == "vars":
        key, equals, value = said.partition("=")
        if not equals:
            raise RecipeError("a variable without a value", where=where, got=said)
        group.variables[key.strip()] = value.strip().strip("\"'")
        return
    try:
        words = shlex.split(said, comments=True)
    except ValueError as fault:
        raise RecipeError(f"this line makes no sense: {fault}", where=where, got=said) from fault
    variables = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    for name in _ranged(words[0], where):
        host, port = _parted(name)
        own = {"ansible_port": port} if port else {}
        group.hosts.setdefault(host, {}).update({**own, **variables})


def _parted(name: str) -> tuple[str, str | None]:
    found = _PORT.match(name)
    return (found[1], found[2]) if found else (name, None)


def _group(name: str, node: Node, groups: dict[str, _Group]) -> None:
    group = groups.setdefault(name, _Group())
    if node.sort == "null":
        return
    values = mapping(node)
    for pattern, of in _inner(values, "hosts").items():
        own = {} if of.sort == "null" else _plain(mapping(of))
        for host in _ranged(pattern, of.where):
            group.hosts.setdefault(host, {}).update(own)
    group.variables.update(_plain(_inner(values, "vars")))
    for child, of in _inner(values, "children").items():
        group.children.append(child)
        _group(child, of, groups)


def _inner(values: dict[str, Node], key: str) -> dict[str, Node]:
    return mapping(values[key]) if key in values and values[key].sort != "null" else {}


def _plain(values: dict[str, Node]) -> dict[str, str]:
    return {key: value.text for key, value in values.items() if value.sort not in ("map", "seq")}


def _ranged(pattern: str, where: str) -> list[str]:
    """Expand `web[01:12]` and `db-[a:c]`; both ends belong to a range."""
    names = [pattern]
    while any(_RANGE.search(name) for name in names):
        found = []
        for name in names:
            match = _RANGE.search(name)
            if match is None:
                found.append(name)
                continue
            found += [name[: match.start()] + each + name[match.end() :] for each in _each(match)]
            if len(found) > MOST:
                raise RecipeError(f"more than {MOST} hosts", where=where, got=pattern)
        names = found
    return names


def _each(match: re.Match[str]) -> Iterator[str]:
    first, last, step = match[1], match[2], int(match[3] or 1)
    if first.isdigit() and last.isdigit():
        numbers = range(int(first), int(last) + 1, step)
        return (str(number).zfill(len(first)) for number in numbers[: MOST + 1])
    return (chr(code) for code in range(ord(first[0]), ord(last[0]) + 1, step))


def _result(groups: dict[str, _Group]) -> _Result:
    hosts: dict[str, Facts] = {}
    notes: list[str] = []
    called: dict[str, str] = {}
    for group in groups.values():
        for host in group.hosts:
            called.setdefault(host, renamed(host))
    for host, name in called.items():
        if name in hosts:
            raise RecipeError(f"two hosts would be called {name}", got=host)
        variables = _variables(host, groups)
        hosts[name] = _facts(host, name, variables, notes)
    members = {
        name: tuple(dict.fromkeys(called[host] for host in _members(name, groups, ())))
        for name in groups
        if name not in (_ALL, _UNGROUPED)
    }
    return hosts, members, notes


def _members(name: str, groups: Mapping[str, _Group], path: tuple[str, ...]) -> Iterator[str]:
    if name in path or name not in groups:
        return
    yield from groups[name].hosts
    for child in groups[name].children:
        yield from _members(child, groups, (*path, name))


def _variables(host: str, groups: Mapping[str, _Group]) -> dict[str, str]:
    """Merge what is said of a host: all, then its groups from the outside in, then its own."""
    holders = [name for name in groups if host in _members(name, groups, ())]
    # An outer group has all that an inner one has, so the larger goes first.
    holders.sort(key=lambda name: (name != _ALL, -len(list(_members(name, groups, ())))))
    merged = dict(groups[_ALL].variables) if _ALL in groups else {}
    for name in holders:
        merged.update(groups[name].variables)
    for name in holders:
        merged.update(groups[name].hosts.get(host, {}))
    return merged


def _facts(host: str, name: str, variables: Mapping[str, str], notes: list[str]) -> Facts:
    said: dict[str, str] = {}
    for word, keys in _FROM.items():
        value = next((variables[key] for key in keys if key in variables), None)
        if value is not None and "{{" in value:
            notes.append(f"{word} of {host}: {value} is computed")
        elif value:
            said[word] = value
    notes += [
        f"{key} of {host}: keys let sealift in, not passwords"
        for key in variables
        if _SECRET.match(key)
    ]
    if name != host:
        notes.append(note(host))
    jump = _JUMP.search(" ".join(variables[key] for key in _ARGUMENTS if key in variables))
    port = said.get("port", "")
    return Facts(
        address=said.get("address") or (host if name != host else None),
        user=said.get("user"),
        port=int(port) if port.isdigit() else None,
        key=said.get("key"),
        gateway=jump[1] if jump else None,
        sudo="never" if variables.get("ansible_become", "").lower() in ("false", "no") else None,
    )


def _fault(reason: str, file: Path, number: int, got: str) -> RecipeError:
    return RecipeError(reason, where=place(file, number), got=got)
