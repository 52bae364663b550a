"""Asking the operator: on a terminal, and nowhere else."""

from __future__ import annotations

import sys

import click

from store.errors import InputError


def agreed(question: str, *, yes: bool, hint: str = "pass --yes") -> bool:
    """Ask, unless `yes` was said before; `hint` is what helps where nobody can be asked.

    Raises:
        InputError: nobody is there to be asked.
        click.Abort: the input ended.
    """
    if not yes:
        check_somebody(hint)
    return yes or click.confirm(question, err=True)


def agree(question: str, *, yes: bool, hint: str = "pass --yes") -> None:
    """Go on only if the operator agrees.

    Raises:
        InputError: as `agreed`.
        click.Abort: they do not.
    """
    if not agreed(question, yes=yes, hint=hint):
        raise click.Abort


def check_somebody(hint: str = "pass --yes") -> None:
    """Refuse to go on to a question where nobody can be asked.

    Raises:
        InputError: nobody is there.
    """
    if not sys.stdin.isatty():
        raise InputError("nobody is here to confirm", hint=hint)
