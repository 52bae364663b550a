"""Options that several commands share."""

from __future__ import annotations

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Give JSON, one record a line.")

host = click.option(
    "--host",
    metavar="HOSTS",
    help="Heads of the inventory: head1, head[1-3], @group. By default this machine's.",
)

yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")

canary = click.option(
    "--canary", metavar="HOST", help="The head that switches first; by default the one up front."
)

batch = click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Heads that switch at once after the canary; by default as many as `parallel` says.",
)

deadline = click.option(
    "--deadline",
    type=click.FloatRange(min=1, max=3600),
    metavar="SECONDS",
    help="A head that hears nothing for so long goes back by itself; 60 by default.",
)

phase_deadline = click.option(
    "--deadline",
    type=click.FloatRange(min=1, max=3600),
    metavar="SECONDS",
    help="A head that hears nothing for so long ends what it is at and begins nothing new; "
    "60 by default.",
)

allow_missing = click.option(
    "--allow-missing", is_flag=True, help="Go on without heads that cannot be reached."
)

phases = click.option(
    "--phases",
    metavar="PHASES",
    help="Phases of the cluster, too: 0-4, redis, all; see sealift phase.",
)
