"""What can be wrong between this machine and a host; each names the host.

Nothing was touched when one of these is raised by connecting; `LostError` and `OverdueError` may
come later, when it is not known what became of a command.
"""

from __future__ import annotations

from deploy.errors import HeadError


class TransportError(HeadError):
    """A host that cannot be spoken to."""

    slug = "transport-failed"


class UnreachableError(TransportError):
    """A host that does not answer, or not as an SSH server does."""

    slug = "unreachable"


class HostKeyError(TransportError):
    """A host whose key is not the one that is pinned, or that none is pinned for."""

    slug = "host-key"


class AuthError(TransportError):
    """A host that lets nobody in with the keys there are."""

    slug = "not-let-in"


class SudoError(TransportError):
    """A host where the user may not become root without a password."""

    slug = "no-sudo"


class LostError(TransportError):
    """A connection that ended while it was used."""

    slug = "connection-lost"


class OverdueError(TransportError):
    """A command that did not end in its time."""

    slug = "timed-out"


def other_key(
    host: str, *, got: str | None, expected: str | None = None, pin: str | None = None
) -> HostKeyError:
    """Make the error that a host has another key, to be raised."""
    return HostKeyError(
        "the host has another key than the one that is pinned",
        where=host,
        expected=expected,
        got=got,
        hint="find out why before anything else; if it was installed anew: "
        f"sealift trust {pin or host} --replace",
    )


def no_key(host: str, expected: str) -> HostKeyError:
    """Make the error that nobody has said what key a host has, to be raised."""
    return HostKeyError(
        "no host key is pinned for it",
        where=host,
        expected=expected,
        hint=f"sealift trust {host}",
    )


def not_let_in(host: str, user: str, got: str | None) -> AuthError:
    """Make the error that a host refuses a user's keys, to be raised."""
    return AuthError(
        f"the host does not let {user} in",
        where=host,
        got=got,
        hint="is the public key in its authorized_keys, and the private one named or in the agent?",
    )


def lost(name: str, got: str | None) -> LostError:
    """Make the error that a connection ended, to be raised."""
    return LostError("the connection was lost", where=name, got=got, hint="run it again")


def unreachable(host: str, got: str) -> UnreachableError:
    """Make the error that a host does not answer, to be raised."""
    return UnreachableError(
        "the host cannot be reached",
        where=host,
        got=got,
        hint="is it up, and is the address right? sealift inventory list --resolved",
    )
