"""Which `ssh` and which `ssh-keygen` are run: the one place that answers.

The machine's own goes first; where it has none, that which the one-file sealift carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.carried import SSH, SSH_KEYGEN, find
from deploy.errors import HeadError

if TYPE_CHECKING:
    from deploy.carried import Program


class NoOpenSshError(HeadError):
    """Neither this machine nor this sealift has the OpenSSH client."""

    slug = "no-openssh"


def ssh() -> str:
    """Return the path of `ssh`.

    Raises:
        NoOpenSshError: there is none.
    """
    return _found(SSH)


def ssh_keygen() -> str:
    """Return the path of `ssh-keygen`.

    Raises:
        NoOpenSshError: there is none.
    """
    return _found(SSH_KEYGEN)


def _found(program: Program) -> str:
    path = find(program)
    if path is None:
        raise NoOpenSshError(
            f"there is no {program.name} on this machine",
            where="PATH",
            hint="apt-get install openssh-client, or take the one-file sealift, which brings it: "
            "sealift bundle --with-sealift",
        )
    return path
