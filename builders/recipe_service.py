"""Read a recipe's `service`: how what was built runs, is checked and is reached."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builders.fields import boolean, fail, integer, mapping, sequence, string, strings, wrong_type
from builders.recipe import EMPTY, Certificate, Service
from builders.recipe_units import limits
from builders.recipe_words import (
    application,
    carried,
    health,
    missing,
    relative,
    routes,
    service_environment,
    variable,
)

if TYPE_CHECKING:
    from builders.fields import Node

KEYS = (
    *("port", "app", "config", "command", "health"),
    *("state", "env", "secrets", "route", "routes"),
    *("socket", "concurrent", "limits"),
)
NAMED_SECRET = re.compile(r"\{secret:([^{}]*)\}")
"""Where the value of a secret stands in a variable."""
_LONGEST_SUBJECT = 64
"""Characters of a common name (RFC 5280, appendix A.1)."""
RESERVED = (
    *("__sealift__.py", "PEX-INFO", "__main__.py", "__pex__", "pex", ".bootstrap", ".deps"),
    *(".sealift", ".seed", "sealift.json"),
)
"""Names at the top of an artefact that it needs for itself."""


def service(node: Node) -> Service:
    """Read a service.

    Raises:
        RecipeError: something in it is wrong, missing or contradicts itself.
    """
    values = mapping(node, KEYS)
    for key in ("port", "health"):
        if key not in values:
            raise missing(node, key)
    _check_entry(node, values)
    secrets, certificates = _secrets(values)
    _check_credentials(values, secrets)
    _check_named(values, secrets, certificates)
    _check_concurrent(values)
    _check_url(values)
    return Service(
        port=integer(values["port"], 1, 65_535),
        health=health(values["health"]),
        app=application(values["app"]) if "app" in values else None,
        config=relative(values["config"]) if "config" in values else None,
        command=_command(values["command"]) if "command" in values else (),
        state=_state(values["state"]) if "state" in values else (),
        env=service_environment(values["env"]) if "env" in values else EMPTY,
        secrets=secrets,
        certificates=certificates,
        routes=routes(values, web=False),
        socket=boolean(values["socket"]) if "socket" in values else None,
        concurrent=boolean(values["concurrent"]) if "concurrent" in values else True,
        limits=limits(values["limits"]) if "limits" in values else EMPTY,
    )


def _check_entry(node: Node, values: dict[str, Node]) -> None:
    if ("app" in values) == ("command" in values):
        raise fail(
            node,
            "a service has either `app` or `command`",
            expected="app: module:name for gunicorn, or command: [python, server.py]",
            got="both" if "app" in values else "neither",
        )
    if "config" in values and "app" not in values:
        raise fail(values["config"], "`config` is gunicorn's, and there is no `app`")


def _check_concurrent(values: dict[str, Node]) -> None:
    """Refuse two instances at once of a service that opens its port itself: one can have it."""
    asked = "concurrent" in values and boolean(values["concurrent"])
    passed = boolean(values["socket"]) if "socket" in values else "app" in values
    if asked and not passed:
        raise fail(
            values["concurrent"],
            "two instances cannot open one port",
            expected="socket: true, for a service that takes its listening socket from systemd",
        )


def _check_url(values: dict[str, Node]) -> None:
    """Refuse a head's URL where systemd does not put it in."""
    for _, value in values["env"].entries if "env" in values else ():
        if "{url}" in value.text:
            hint = "take it in the command, or read the variable SEALIFT_URL"
            raise fail(value, "{url} is for commands", hint=hint)


def _command(node: Node) -> tuple[str, ...]:
    if node.sort == "str":
        hint = f"command: [{', '.join(node.text.split())}]"
        raise wrong_type(node, "a list", hint)
    words = sequence(node)
    if not words:
        raise fail(node, "the command is empty")
    for word in words:
        string(word)
    return tuple(carried(word) for word in words)


def _state(node: Node) -> tuple[str, ...]:
    """Read paths that live outside of the store: none may lie in another."""
    paths = strings(node, relative)
    for at, path in enumerate(paths):
        if path.partition("/")[0] in RESERVED:
            expected = f"none of {', '.join(RESERVED)}"
            raise fail(
                node.items[at], f"state {path!r} is a name of sealift's own", expected=expected
            )
        for other in paths:
            if other != path and f"{path.rstrip('/')}/".startswith(f"{other.rstrip('/')}/"):
                raise fail(node.items[at], f"state {path!r} lies in state {other!r}")
    return paths


def _secrets(values: dict[str, Node]) -> tuple[tuple[str, ...], tuple[Certificate, ...]]:
    """Read the names of all secrets, and which of them are certificates with their keys."""
    if "secrets" not in values:
        return (), ()
    node = values["secrets"]
    if node.sort == "map":
        hint = "the values stay on the head: list the names alone"
        raise fail(node, "`secrets` are names", expected="a list", got="a mapping", hint=hint)
    names: dict[str, Node] = {}
    certificates = []
    for item in sequence(node):
        if item.sort == "map":
            certificates.append(_certificate(item))
            pair = mapping(item)
            named = [pair[role] for role in ("certificate", "key") if role in pair]
        else:
            named = [item]
        for word in named:
            _check_once(word, names)
    given = {key.text for key, _ in values["env"].entries} if "env" in values else set()
    for name, item in names.items():
        if name in given:
            raise fail(item, f"{name} is both in `env` and in `secrets`", hint="keep one")
    return tuple(names), tuple(certificates)


def _check_once(word: Node, names: dict[str, Node]) -> None:
    name = variable(word)
    if name in names:
        raise fail(word, f"{name!r} is listed twice", hint=f"first at {names[name].where}")
    names[name] = word


def _certificate(node: Node) -> Certificate:
    values = mapping(node, ("certificate", "key", "subject"))
    if "certificate" not in values:
        raise missing(node, "certificate")
    if "subject" in values and "key" not in values:
        reason = "only a certificate that is made with its key has a `subject`"
        raise fail(values["subject"], reason, hint="name the `key` too, or take the subject out")
    name = variable(values["certificate"])
    if "key" not in values:
        return Certificate(name)
    subject = string(values["subject"]) if "subject" in values else name
    if len(subject) > _LONGEST_SUBJECT:
        expected = f"at most {_LONGEST_SUBJECT} characters, which is what a common name may have"
        raise fail(values.get("subject", node), "the subject is too long", expected=expected)
    return Certificate(name, variable(values["key"]), subject)


def _check_named(
    values: dict[str, Node], secrets: tuple[str, ...], certificates: tuple[Certificate, ...]
) -> None:
    """Refuse `{secret:NAME}` in a command, which everybody can read, or of what is no variable."""
    for word in values["command"].items if "command" in values else ():
        if NAMED_SECRET.search(word.text):
            hint = "take it in `env`, or as a file: {credentials}/NAME"
            raise fail(word, "a secret in a command line, which everybody can read", hint=hint)
    known = set(secrets) - {pair.key for pair in certificates}
    for _, value in values["env"].entries if "env" in values else ():
        for name in NAMED_SECRET.findall(value.text):
            if name not in known:
                expected = "the name of one of the service's `secrets`, but of no key"
                raise fail(value, f"{{secret:{name}}} names no secret", expected=expected)


def _check_credentials(values: dict[str, Node], secrets: tuple[str, ...]) -> None:
    """Refuse words about the folder of secrets where there is none."""
    words = [*values["command"].items] if "command" in values else []
    words += [value for _, value in values["env"].entries] if "env" in values else []
    for word in words:
        if "{credentials}" in word.text and not secrets:
            raise fail(word, "{credentials} is used, and the service has no `secrets`")
