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
