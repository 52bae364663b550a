"""Options that several commands share."""

from __future__ import annotations

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Give JSON, one record a line.")

host = click.option(
    "--host", metavar="HOST", help="A head of the inventory; by default this machine's."
)

yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
