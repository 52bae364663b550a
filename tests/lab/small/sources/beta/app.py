"""A WSGI service that tells its version."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "1"


def app(environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], Any]) -> list[bytes]:
    """Answer one request."""
    known = environ["PATH_INFO"] == "/health"
    record = {"service": "beta", "version": VERSION, "pid": os.getpid()}
    text = json.dumps(record if known else {}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
    start("200 OK" if known else "404 Not Found", headers)
    return [text]
