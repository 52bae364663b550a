"""What operators do with heads as tasks: `fab deploy --host head[1-3]`, `fab phase.run 0-4`.

A site has them by `from sealift.fabfile import namespace` in a `fabfile.py` of its own; `fab -r`
takes the path of this package instead. Each task is made of the command of the same name: its
options, its output, its exit code. The site is found as ever, from the working directory or by
SEALIFT_CONFIG. From Python, `sealift.fleet` has the functions that the commands call.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from keyword import iskeyword
from typing import Any

import click
from fabric.tasks import Task
from invoke.collection import Collection
from invoke.exceptions import Exit

from sealift.cli import cli

COMMANDS = (
    "plan",
    "deploy",
    "rollback",
    "status",
    "history",
    "diff",
    "start",
    "stop",
    "restart",
    "logs",
    "gc",
)


PHASE = ("list", "plan", "run", "verify", "undo")
"""The commands of `sealift phase`, which are tasks of a collection of that name."""


def words(command: click.Command, said: dict[str, Any]) -> list[str]:
    """Return the command line that a task's arguments stand for; what is not said is left out.

    Where a command takes several (services, phases to skip), a task takes one, with commas between.
    """
    options, names = [], []
    for param in command.params:
        value = said.get(_called(param))
        if isinstance(param, click.Option):
            options += _option(param, value)
        elif value not in (None, ""):
            names += _listed(value) if param.nargs < 0 else [str(value)]
    return [*options, "--", *names]


def _called(param: click.Parameter) -> str:
    """Return what a task calls it: the option's own word, which is not always its variable."""
    words = [each.lstrip("-").replace("-", "_") for each in param.opts]
    name = max(words, key=len)
    return f"{name}_" if iskeyword(name) else name


def _option(param: click.Option, value: object) -> list[str]:
    flag = max(param.opts, key=len)
    if param.is_flag:
        return [flag] if value else []
    if param.multiple:
        return [f"{flag}={each}" for each in _listed(value or "")]
    return [] if value is None or value == param.default else [f"{flag}={value}"]


def _listed(value: object) -> list[str]:
    return [each for each in str(value).replace(",", " ").split() if each]


def task(*path: str) -> Task[Any]:
    """Make the task of a command; `path` is what it is called, with its group.

    Raises:
        KeyError: there is no such command.
    """
    command: click.Command | None = cli
    for name in path:
        group = command if isinstance(command, click.Group) else None
        command = group and group.get_command(click.Context(group), name)
    if command is None:
        raise KeyError(" ".join(path))

    def body(_context: object, **said: Any) -> None:  # noqa: ANN401 - whatever was typed
        from sealift.__main__ import main

        code = main([*path, *words(command, said)])
        if code:
            raise Exit(code=code)

    # Fab reads from a signature which options there are, and from defaults what they take.
    context = Parameter("context", Parameter.POSITIONAL_OR_KEYWORD)
    body.__signature__ = Signature([context, *map(_parameter, command.params)])  # type: ignore[attr-defined]
    body.__doc__ = command.help
    options = [param for param in command.params if isinstance(param, click.Option)]
    texts = {_called(each): each.help for each in options if each.help}
    return Task(body, name=path[-1], help=texts)


def _parameter(param: click.Parameter) -> Parameter:
    flag = isinstance(param, click.Option) and param.is_flag
    default = Parameter.empty if param.required else False if flag else None
    return Parameter(_called(param), Parameter.POSITIONAL_OR_KEYWORD, default=default)


namespace = Collection(
    *(task(name) for name in COMMANDS),
    Collection("phase", *(task("phase", name) for name in PHASE)),
)
