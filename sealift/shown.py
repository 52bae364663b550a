"""What heads and their services say, as a terminal may get it.

JSON escapes by itself and stays as it was said; everything for people goes through here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from builders.logs import plain

if TYPE_CHECKING:
    from collections.abc import Mapping


def say(line: str, *, err: bool = False) -> None:
    """Print one line; it stays one, and steers nothing."""
    click.echo(plain(line).rstrip(), err=err)


def bare(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record whose texts steer no terminal and end no line."""
    return {key: _bare(value) for key, value in found.items()}


def _bare(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return bare(value)
    return [_bare(each) for each in value] if isinstance(value, list | tuple) else value
