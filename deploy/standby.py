"""A connection for data that is opened before it is known which program is to run at its end.

To connect takes longer than most pushes. So it is done while the head is looked at; a shell waits
there for the name of the program.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.link import Data, Link

SCRIPT: Final = 'IFS= read -r program && exec "$program" "$@"'
"""For `sh -c SCRIPT sh ARGUMENT...`; reads the program's path, and not a byte beyond that line."""

STALE: Final = 20.0
"""Seconds after which a connection that nobody used may have been cut on the way."""


class Standby:
    """At most one connection that waits, for a program that gets `arguments`."""

    def __init__(self, *arguments: str) -> None:
        self._argv = ("sh", "-c", SCRIPT, "sh", *arguments)
        self._stack = ExitStack()
        self._data: Data | None = None
        self._since = 0.0

    def begin(self, link: Link) -> None:
        """Open the connection, unless one waits.

        Raises:
            TransportError: there is no OpenSSH client.
        """
        if self._data is None:
            self._data = self._stack.enter_context(link.data(self._argv))
            self._since = time.monotonic()

    @contextmanager
    def take(self, program: str) -> Iterator[Data | None]:
        """Let what waits run the program, and end it on exit; None if nothing waits."""
        data, self._data = self._data, None
        with self._stack.pop_all():
            if data is not None and time.monotonic() - self._since < STALE:
                with suppress(OSError):  # whoever speaks over it learns of it, and why
                    data.writer.write(f"{program}\n".encode())
                    data.writer.flush()
                yield data
            else:
                yield None

    def end(self) -> None:
        """Close what waits."""
        self._data = None
        self._stack.pop_all().close()
