"""XML-RPC over a unix socket, as supervisord speaks it."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 20.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: xmlrpc.client._HostType) -> http.client.HTTPConnection:
        """Return the one connection, which `close` ends."""
        kept = self._connection[1]
        if kept is None:
            kept = _Connection(self._path)
            self._connection = host, kept
        return kept


@contextmanager
def calling(path: Path) -> Iterator[Any]:
    """Give supervisord's own functions behind the socket `path`; for one thread alone."""
    with xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(path)) as proxy:
        yield proxy.supervisor
