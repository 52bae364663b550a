"""What a phase wants of one host, with every template filled in: the values of its `phase.json`.

Pure. Each text is rendered and then held to its grammar, so that what comes out can be laid;
`deploy.phases.configuration` reads it, and is as strict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builders.fields import RecipeError, fail
from builders.phase_templates import Rendered, render, wanted, word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builders.cluster import Cluster, ClusterHost
    from builders.fields import Node
    from builders.phases import Phase
    from builders.recipe import Web
    from builders.recipe_phase import Row

    Context = Mapping[str, Any]

ROOT = "root"
ETC = "/etc/"
LAST_PORT = 65_535
LAST_ID = 2**31 - 1
PROTOCOLS = ("tcp", "udp", "vrrp")
WHOM = ("peers", "daemons", "nodes", "anyone", "own")
OPEN_MODE, SECRET_MODE, FOLDER_MODE = "0644", "0600", "0755"
SECRETS_UNIT = "sealift-phases.service"
"""Opens the secrets of phases in memory, at each boot."""
_DROP_IN = "10-sealift-secrets.conf"
_PATH = re.compile(r"/[A-Za-z0-9._@:%+,=~\\/-]{1,254}\Z")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,30}\Z")
_UNIT = re.compile(r"[0-9A-Za-z:_.@\\-]{1,200}\.(?:service|socket|target|timer|mount|path)\Z")
_MODE = re.compile(r"[0-7]{3,4}\Z")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")
_SECRET = re.compile(r"[A-Za-z][0-9A-Za-z_.+-]{0,63}\Z")
_DIGITS = re.compile(r"[0-9]{1,10}\Z")


@dataclass(frozen=True, slots=True)
class Rendering:
    """What one host is to have: JSON values, and the texts of files by their paths."""

    about: Mapping[str, Any]
    texts: Mapping[str, str]


def configure(
    phase: Phase,
    host: ClusterHost,
    phases: Mapping[str, Phase],
    cluster: Cluster,
    web: Sequence[Web],
) -> Rendering:
    """Render what a phase wants of a host.

    `phases` are all that the site has, `web` what web servers listen on.

    Raises:
        RecipeError: a template cannot be rendered, or what comes out cannot be used.
    """
    known = context(phase, host, phases, cluster)
    known["ports_open"] = _open_ports(host, phases, cluster, web)
    options = phase.recipe.options
    _refuse(phase, cluster, known)
    units = _once(options["units"], known, "name", _unit)
    files, texts = _files(phase, units, known)
    secrets = dict(phase.secrets)
    for name in (name for file in files for name in _names(file)):
        secrets.setdefault(name, "password")
    about = {
        "phase": phase.name,
        "number": phase.number,
        "host": host.name,
        "description": phase.recipe.description,
        "hosts": [
            {"name": each.name, "address": each.address, "priority": rank}
            for rank, each in enumerate(phase.hosts)
        ],
        "after": list(phase.after),
        "irreversible": [word(node, known, "`irreversible`") for node in options["irreversible"]],
        "parameters": dict(phase.parameters),
        "users": _users(options["users"], known),
        "directories": _once(options["directories"], known, "path", _directory),
        "files": files,
        "units": units,
        "ports": ports(phase, known),
        "secrets": secrets,
    }
    return Rendering(about, texts)


def _refuse(phase: Phase, cluster: Cluster, known: Context) -> None:
    """Tell what of the parameters does not go together.

    Raises:
        RecipeError: something does not.
    """
    for row in _wanted(phase.recipe.options["refusals"], known):
        at = word(row["at"], known, "`at`")
        where = f"{cluster.file}: cluster.phases.{phase.name}.{at}"
        raise RecipeError(word(row["say"], known, "`say`"), where=where)


def context(
    phase: Phase, host: ClusterHost, phases: Mapping[str, Phase], cluster: Cluster
) -> dict[str, Any]:
    """Return what templates of a phase find on a host, but for the ports of all phases."""
    rows = _rows(phase.hosts)
    return {
        **phase.parameters,
        "host": next(row for row in rows if row["name"] == host.name),
        "hosts": rows,
        "addresses": {each.name: each.address for each in cluster.hosts},
        "cluster": {"name": cluster.name, "hosts": _rows(cluster.hosts)},
        "phases": {name: dict(each.parameters) for name, each in phases.items()},
    }


def _rows(hosts: Sequence[ClusterHost]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "address": each.address, "index": at, "priority": each.priority}
        for at, each in enumerate(hosts, 1)
    ]


def _open_ports(
    host: ClusterHost, phases: Mapping[str, Phase], cluster: Cluster, web: Sequence[Web]
) -> list[dict[str, Any]]:
    """List the ports of a host that somebody listens on: of its phases, and of web servers."""
    found: list[dict[str, Any]] = []
    for phase in phases.values():
        if host in phase.hosts:
            rows = ports(phase, context(phase, host, phases, cluster))
            found += [{**_numbers(row), "phase": phase.name} for row in rows]
    served = {port for each in web for port in (each.http, each.https) if port is not None}
    for port in sorted(served):
        row = {"port": str(port), "proto": "tcp", "to": "anyone", "unit": None}
        found.append({**_numbers(row), "phase": "web"})
    return found


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    first, _, last = row.get("port", "0").partition("-")
    return {"port": "", "unit": None, **row, "first": int(first), "last": int(last or first)}


def ports(phase: Phase, known: Context) -> list[dict[str, Any]]:
    """Return the ports that a phase's units listen on.

    Raises:
        RecipeError: one makes no sense.
    """
    return [_port(row, known) for row in _wanted(phase.recipe.options["ports"], known)]


def _wanted(rows: Sequence[Row], known: Context) -> list[Row]:
    return [row for row in rows if wanted(row.get("when"), known)]


def _once(
    rows: Sequence[Row],
    known: Context,
    key: str,
    make: Callable[[Row, Context], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Render rows, of which no two may have one name."""
    found: dict[str, dict[str, Any]] = {}
    for row in _wanted(rows, known):
        made = make(row, known)
        if made[key] in found:
            raise fail(row[key], f"{made[key]} is there twice", hint="`when` chooses one")
        found[made[key]] = made
    return list(found.values())


def _port(row: Row, known: Context) -> dict[str, Any]:
    protocol = _among(row, "proto", known, PROTOCOLS)
    found = {"proto": protocol, "to": _among(row, "to", known, WHOM)}
    if "unit" in row:
        found["unit"] = _unit_name(row["unit"], known)
    if protocol != "vrrp":
        found["port"] = _range(row, known)
    return found


def _range(row: Row, known: Context) -> str:
    if "port" not in row:
        where = next(iter(row.values()))
        raise fail(where, "a port without a number", expected="port: 24007, or port: 49152-49251")
    text = word(row["port"], known, "the port")
    match = _PORTS.match(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= LAST_PORT:
        raise fail(row["port"], f"{text!r} is neither a port nor a range of them")
    return text


def _user(row: Row, known: Context) -> dict[str, Any]:
    found: dict[str, Any] = {"name": _account(row["name"], known)}
    for key in ("uid", "gid"):
        if key in row:
            found[key] = _id(row[key], known)
    if "group" in row:
        found["group"] = _account(row["group"], known)
    for key in ("home", "shell"):
        if key in row:
            found[key] = _path(row[key], known)
    if "groups" in row:
        found["groups"] = [_account(each, known) for each in row["groups"].items]
    return found


def _users(rows: Sequence[Row], known: Context) -> list[dict[str, Any]]:
    """Render users, of which no two may have one number either."""
    found = _once(rows, known, "name", _user)
    numbers: dict[int, str] = {}
    for row, made in zip(_wanted(rows, known), found, strict=True):
        other = numbers.setdefault(made["uid"], made["name"])
        if other != made["name"]:
            reason = f"{made['name']} would have the number of {other}, {made['uid']}"
            raise fail(row["uid"], reason, hint="give each of them a number of its own")
    return found


def _id(node: Node, known: Context) -> int:
    text = word(node, known, "the number of a user or group")
    if not _DIGITS.match(text) or not 1 <= int(text) <= LAST_ID:
        raise fail(node, f"{text!r} is no number of a user or group", expected=f"1 to {LAST_ID}")
    return int(text)


def _directory(row: Row, known: Context) -> dict[str, Any]:
    return {"path": _path(row["path"], known), **_owned(row, known, FOLDER_MODE)}


def _files(
    phase: Phase, units: Sequence[Mapping[str, Any]], known: Context
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return what is said of each file, and the texts; two of one path are refused."""
    files: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    for row in _wanted(phase.recipe.options["files"], known):
        found, text = _file(row, known)
        if found["path"] in {each["path"] for each in files}:
            raise fail(row["path"], f"{found['path']} is there twice", hint="`when` chooses one")
        files.append(found)
        if text is not None:
            texts[found["path"]] = text
    if any(_names(file) for file in files):
        for unit in units:
            path = f"/etc/systemd/system/{unit['name']}.d/{_DROP_IN}"
            if unit["name"].endswith(".service") and path not in texts:
                files.append(_drop_in(path))
                texts[path] = _AFTER_SECRETS
    return files, texts


_AFTER_SECRETS = f"""\
[Unit]
Requires={SECRETS_UNIT}
After={SECRETS_UNIT}
"""
"""A unit with files in memory must not start at boot before they are there."""


def _drop_in(path: str) -> dict[str, Any]:
    # It makes nothing stale: what it says matters at a start alone.
    return _about(path, Rendered(""), None, ("root", "root", OPEN_MODE))


def _file(row: Row, known: Context) -> tuple[dict[str, Any], str | None]:
    path = _path(row["path"], known)
    if not path.startswith(ETC):
        raise fail(row["path"], f"{path} is not below /etc", hint="files are laid there alone")
    secret = _secret(row["secret"], known) if "secret" in row else None
    text = render(row["text"], known, path) if "text" in row else None
    mode = SECRET_MODE if secret or (text and text.markers) else OPEN_MODE
    owned = _owned(row, known, mode)
    found = _about(path, text, secret, (owned["owner"], owned["group"], owned["mode"]))
    if "units" in row:
        found["units"] = [_unit_name(each, known) for each in row["units"].items]
    found["reload"] = "reload" in row and row["reload"].text == "true"
    return found, None if text is None else text.text


def _about(
    path: str, text: Rendered | None, secret: str | None, owned: tuple[str, str, str]
) -> dict[str, Any]:
    return {
        "path": path,
        "source": None if text is None else f"{ROOT}{path}",
        "secret": secret,
        "markers": [] if text is None else list(text.markers),
        "owner": owned[0],
        "group": owned[1],
        "mode": owned[2],
        "units": [],
        "reload": False,
    }


def _names(file: Mapping[str, Any]) -> list[str]:
    """Name the secrets of a file."""
    own = [file["secret"]] if file["secret"] else []
    return own + [marker.partition(":")[0] for marker in file["markers"]]


def _unit(row: Row, known: Context) -> dict[str, Any]:
    enabled = "enabled" not in row or row["enabled"].text == "true"
    return {"name": _unit_name(row["name"], known), "enabled": enabled}


def _owned(row: Row, known: Context, mode: str) -> dict[str, str]:
    owner = _account(row["owner"], known) if "owner" in row else "root"
    group = _account(row["group"], known) if "group" in row else owner
    return {"owner": owner, "group": group, "mode": _mode(row.get("mode"), known, mode)}


def _mode(node: Node | None, known: Context, default: str) -> str:
    text = default if node is None else word(node, known, "the mode")
    if node is not None and not _MODE.match(text):
        raise fail(node, f"{text!r} is no mode of a file", expected='for example "0640"')
    return f"{int(text, 8):04o}"


def _path(node: Node, known: Context) -> str:
    path = word(node, known, "the path")
    parts = path[1:].split("/")
    if not _PATH.match(path) or any(part in ("", ".", "..") for part in parts):
        raise fail(node, f"{path!r} is no path", expected="an absolute one, without detours")
    return path


def _account(node: Node, known: Context) -> str:
    return _matching(node, known, _ACCOUNT, "name of a user or group")


def _unit_name(node: Node, known: Context) -> str:
    return _matching(node, known, _UNIT, "name of a unit")


def _secret(node: Node, known: Context) -> str:
    return _matching(node, known, _SECRET, "name of a secret")


def _matching(node: Node, known: Context, grammar: re.Pattern[str], what: str) -> str:
    text = word(node, known, f"the {what}")
    if grammar.match(text) is None:
        raise fail(node, f"{text!r} is no {what}")
    return text


def _among(row: Row, key: str, known: Context, words: tuple[str, ...]) -> str:
    text = word(row[key], known, f"`{key}`") if key in row else words[0]
    if text not in words:
        raise fail(row[key], f"{text!r} is not taken", expected=f"one of {', '.join(words)}")
    return text
