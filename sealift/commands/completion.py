"""`sealift shell-completion`: what a shell sources to complete our commands."""

from __future__ import annotations

import click


@click.command("shell-completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def shell_completion(shell: str) -> None:
    """Print the completion script: eval "$(sealift shell-completion bash)"."""
    from click.shell_completion import get_completion_class

    from sealift.cli import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(found(cli, {}, "sealift", "_SEALIFT_COMPLETE").source())
