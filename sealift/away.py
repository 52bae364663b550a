"""What a head has not got: commands that build, and those that change other machines.

The program of a head leaves behind what they need. There they are neither shown nor run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from sealift.site import Location
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILDS = "run it where you build"
SENDS = "run it on the transfer host"
AWAY: Mapping[str, str] = {
    "list": BUILDS,
    "show": BUILDS,
    "capture": BUILDS,
    "lock": BUILDS,
    "build": BUILDS,
    "push-cache": BUILDS,
    "log": BUILDS,
    "path-info": BUILDS,
    "why-depends": BUILDS,
    "sbom": BUILDS,
    "provenance": BUILDS,
    "audit": BUILDS,
    "secret": SENDS,
    "inventory": SENDS,
    "trust": SENDS,
    "key": SENDS,
    "bundle": BUILDS,
    "inspect": SENDS,
    "countersign": SENDS,
    "receive": SENDS,
    "verify": SENDS,
    "repair-request": SENDS,
    "receipt": SENDS,
    "plan": SENDS,
    "deploy": SENDS,
    "phase": SENDS,
    "prove-offline": SENDS,
    "export": BUILDS,
    "import": SENDS,
    "store add": BUILDS,
    "store cat": BUILDS,
    "store gc": "sealift gc",
}
"""Command → what to do instead."""


class Group(click.Group):
    """A group that on a head has only what works there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of what there is here."""
        names = super().list_commands(ctx)
        return [name for name in names if _full(ctx, name) not in AWAY] if here(ctx) else names

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a name.

        Raises:
            InputError: this is a head, and has no such command.
        """
        name = _full(ctx, args[0])
        if name in AWAY and here(ctx):
            refuse(f"`sealift {name}`", AWAY[name])
        return super().resolve_command(ctx, args)


def here(ctx: click.Context) -> bool:
    """Tell whether this machine is a head."""
    config: Any = ctx.find_root().params.get("config")
    return Location(config=config).head_store is not None


def refuse(what: str, hint: str) -> NoReturn:
    """Say that a head has not got it.

    Raises:
        InputError: always.
    """
    raise InputError(f"this is a head, which has no {what}", hint=hint)


def _full(ctx: click.Context, name: str) -> str:
    """Return a command's name with those of the groups that it is in."""
    return " ".join([*ctx.command_path.split()[1:], name])
