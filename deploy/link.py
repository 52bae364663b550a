"""A connection to a head, as those who use one know it: what may be begun there, and what it gives.

`deploy.transport` has the connections that are real; nothing is reached here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from deploy.dialogue import Channel


class Ended(Protocol):
    """A command on a head that has ended."""

    @property
    def status(self) -> int:
        """Its exit status."""
        ...

    @property
    def stdout(self) -> bytes:
        """What it wrote."""
        ...

    @property
    def stderr(self) -> str:
        """What it said besides."""
        ...


class Data(Protocol):
    """A program on a head, with streams of bytes both ways."""

    @property
    def reader(self) -> BinaryIO:
        """What it writes."""
        ...

    @property
    def writer(self) -> BinaryIO:
        """What it reads."""
        ...

    @property
    def stderr(self) -> str:
        """The end of what it said besides."""
        ...

    def status(self, timeout: float = 30.0) -> int:
        """End its input, wait for its end, and return its exit status."""
        ...

    def kill(self) -> None:
        """End it, whatever it does."""
        ...


class Link(Protocol):
    """A connection to a head: `deploy.transport`'s, and a fake's. Arguments are never a shell's."""

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        timeout: float,
        root: bool = True,
    ) -> Ended:
        """Run a command."""
        ...

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Ended:
        """Run a script of sh."""
        ...

    def channel(self, argv: Sequence[str], *, root: bool = True) -> Channel:
        """Begin a command that speaks in lines."""
        ...

    def data(self, argv: Sequence[str], *, root: bool = True) -> AbstractContextManager[Data]:
        """Begin a command that speaks in bytes."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...
