"""Hosts that another inventory lists, and how they are written down in `sealift.yaml`.

Which file says what is for `builders.hosts_cluster` and `builders.hosts_ansible`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builders import hosts_ansible, hosts_cluster
from builders.document import LARGEST_FILE, parse
from builders.fields import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from builders.hosts_facts import Facts

NO_SERVICES = "none"
"""The role of hosts that none of the platform's services is for."""
_PLAIN = re.compile(r"[A-Za-z/~][A-Za-z0-9@._/~-]*\Z")
_WORDS = frozenset({"null", "true", "false"})


@dataclass(frozen=True, slots=True)
class Found:
    """Hosts by name, groups of their names, and what was not taken over, in words."""

    hosts: Mapping[str, Facts]
    groups: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    def text(self, fold: Callable[[Iterable[str]], str]) -> str:
        """Spell them as `sealift.yaml` wants them; `fold` spells names as one set."""
        lines = ["hosts:"]
        lines += [f"  {name}: {_flow(facts)}" for name, facts in self.hosts.items()]
        groups = {name: members for name, members in self.groups.items() if members}
        if groups:
            lines.append("groups:")
            lines += [f"  {name}: {json.dumps(fold(of))}" for name, of in groups.items()]
        if not all(facts.platform for facts in self.hosts.values()):
            lines += ["roles:", f"  {NO_SERVICES}: []"]
        return "\n".join(lines) + "\n"


def read(file: Path) -> Found:
    """Read a cluster's YAML, or an inventory of Ansible's, in whichever form it is.

    Raises:
        RecipeError: it is none of these, or says what makes no sense; says where.
    """
    try:
        content = file.read_bytes()[: LARGEST_FILE + 1]
    except OSError as fault:
        raise RecipeError(f"it cannot be read: {fault.strerror}", where=str(file)) from fault
    is_yaml = file.suffix in (".yaml", ".yml")
    try:
        node = parse(content, file)
    except RecipeError:
        if is_yaml:
            raise
        node = None
    if node is None or (node.sort != "map" and not is_yaml):
        hosts, groups, notes = hosts_ansible.read_ini(content, file)
    elif node.sort == "map" and hosts_cluster.is_cluster(node):
        hosts, groups, notes = hosts_cluster.read(node)
    else:
        hosts, groups, notes = hosts_ansible.read_yaml(node)
    if not hosts:
        raise RecipeError(
            "no hosts are in this file",
            where=str(file),
            expected="a cluster's `nodes` with `controllers`, or an inventory of Ansible",
        )
    return Found(hosts, groups, tuple(notes))


def _flow(facts: Facts) -> str:
    said = {
        "kind": "ssh",
        "address": facts.address,
        "user": facts.user,
        "port": facts.port,
        "key": facts.key,
        "gateway": facts.gateway,
        "priority": facts.priority,
        "sudo": facts.sudo,
    }
    words = [f"{key}: {_scalar(value)}" for key, value in said.items() if value is not None]
    if len(words) > 1:
        words.pop(0)  # any other of these says as much
    if not facts.platform:
        words.append(f"roles: [{NO_SERVICES}]")
    return "{" + ", ".join(words) + "}"


def _scalar(value: str | int) -> str:
    """Spell a value; what could be taken for something else stands in quotes, as in JSON."""
    if isinstance(value, int) or (_PLAIN.match(value) and value not in _WORDS):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
