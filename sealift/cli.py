"""The commands, by name; each is imported when it is asked for and not before."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from sealift.away import AWAY, Group, here
from sealift.site import Location

COMMANDS = {
    "list": "sealift.commands.look:list_recipes",
    "show": "sealift.commands.look:show",
    "capture": "sealift.commands.capture:capture",
    "lock": "sealift.commands.lock:lock",
    "build": "sealift.commands.build:build",
    "push-cache": "sealift.commands.push_cache:push_cache",
    "log": "sealift.commands.look:log",
    "path-info": "sealift.commands.look:path_info",
    "why-depends": "sealift.commands.look:why_depends",
    "sbom": "sealift.commands.inside:sbom",
    "provenance": "sealift.commands.inside:provenance",
    "audit": "sealift.commands.inside:audit",
    "secret": "sealift.commands.secret:secret",
    "store": "sealift.commands.store:store",
    "inventory": "sealift.commands.inventory:inventory",
    "trust": "sealift.commands.trust:trust",
    "key": "sealift.commands.key:key",
    "bundle": "sealift.commands.bundle:bundle",
    "inspect": "sealift.commands.inspect:inspect",
    "countersign": "sealift.commands.countersign:countersign",
    "receive": "sealift.commands.receive:receive",
    "verify": "sealift.commands.receive:verify",
    "repair-request": "sealift.commands.receive:repair_request",
    "receipt": "sealift.commands.receipt:receipt",
    "plan": "sealift.commands.deploy:plan",
    "deploy": "sealift.commands.deploy:deploy",
    "rollback": "sealift.commands.deploy:rollback",
    "phase": "sealift.commands.phase:phase",
    "prove-offline": "sealift.commands.prove:prove_offline",
    "status": "sealift.commands.head:status",
    "start": "sealift.commands.head:start",
    "stop": "sealift.commands.head:stop",
    "restart": "sealift.commands.head:restart",
    "logs": "sealift.commands.head:logs",
    "history": "sealift.commands.head:history",
    "diff": "sealift.commands.head:diff",
    "gc": "sealift.commands.gc:gc",
    "export": "sealift.commands.export:export",
    "import": "sealift.commands.imports:import_",
    "open": "sealift.commands.head:open_url",
    "agent": "sealift.commands.agent:agent",
    "shell-completion": "sealift.commands.completion:shell_completion",
}

SUMMARIES = {
    "list": "List the recipes, and what was built of them.",
    "show": "Show a recipe as it was understood.",
    "capture": "Write down the base system of a host.",
    "lock": "Resolve recipes, and write their locks.",
    "build": "Build recipes, and all that they need.",
    "push-cache": "Give a shared cache what was built here.",
    "log": "Print the newest build log of a recipe.",
    "path-info": "Show store paths: hash, size, references.",
    "why-depends": "Show why one store path needs another.",
    "sbom": "Give the bill of materials of what was built.",
    "provenance": "Show what a path was built of, and how.",
    "audit": "Match what was built with advisories.",
    "secret": "Write secrets for heads, sealed.",
    "store": "Look after the store: verify, collect, roots.",
    "inventory": "Show the hosts of the site, or import them.",
    "trust": "Pin the host keys of heads.",
    "key": "Make keys that sign; say whose signatures count.",
    "bundle": "Put the release into a signed file.",
    "inspect": "Say what is in a bundle.",
    "countersign": "Add a signature to a bundle.",
    "receive": "Take a bundle into the store, all or nothing.",
    "verify": "Compare a bundle with what was signed.",
    "repair-request": "List what of a bundle is damaged.",
    "receipt": "Write down what the site holds, signed.",
    "plan": "Show what a deploy would do.",
    "deploy": "Put the built release on heads.",
    "rollback": "Run an earlier generation again.",
    "phase": "Make heads a cluster, phase by phase.",
    "prove-offline": "Deploy and restart, and prove that nothing leaves.",
    "status": "Show whether every service is well.",
    "start": "Start everything, or just some services.",
    "stop": "Stop everything, or just some services.",
    "restart": "Stop and start everything, or some services.",
    "logs": "Show what a service wrote.",
    "history": "List the generations of a head, or its changes.",
    "diff": "Show what differs between two generations.",
    "gc": "Forget old generations, and free their space.",
    "export": "Write paths into a Nix binary cache.",
    "import": "Take paths from a Nix binary cache.",
    "open": "Print the address of the platform.",
    "shell-completion": "Print the completion script for a shell.",
}
"""Command → what the list of commands says of it; short enough for a line of any terminal."""


class Lazy(Group):
    """A group whose commands live in modules that are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order in which they are used."""
        return [name for name in COMMANDS if name not in AWAY or not here(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command, and return it."""
        del ctx
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, name = target.split(":")
        command: click.Command = getattr(import_module(module), name)
        command.short_help = SUMMARIES.get(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a name; an unknown one is answered with the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _: click.Parameter, value: Any) -> None:  # noqa: ANN401
    if value and not ctx.resilient_parsing:
        from sealift.version import text

        click.echo(text())
        ctx.exit()


def _check_folder() -> None:
    """Refuse to run where nothing can be found.

    Raises:
        InputError: the working directory was deleted.
    """
    import os

    try:
        os.getcwd()  # noqa: PTH109 - pathlib is no faster, and this runs each time
    except FileNotFoundError:
        from store.errors import InputError

        reason = "the working directory is no longer there"
        raise InputError(reason, hint="cd to a folder that is") from None


@click.command(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="SEALIFT_CONFIG",
    help="The site's settings; by default sealift.yaml here or in a folder above.",
)
@click.option(
    "--sources",
    type=click.Path(file_okay=False, path_type=Path),
    help="Build from the trees in this folder instead of the one that the settings name.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context, config: Path | None, sources: Path | None) -> None:
    """Build a web platform hermetically, carry it across an air gap, switch heads atomically."""
    _check_folder()
    ctx.obj = Location(config=config, sources=sources)
