"""A WSGI service that tells its version and a digest of its secret, and keeps notes."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "1"
HERE = Path(__file__).parent
NOTES = HERE / "database" / "notes"
(HERE / "database").mkdir(exist_ok=True)
WORD = hashlib.sha256(os.environ["ALPHA_WORD"].strip().encode()).hexdigest()[:12]

ILL = HERE / "database" / f"ill-{VERSION}"
if ILL.exists():
    # How a version is ill on a head, told by a file: seconds to live.
    threading.Timer(float(ILL.read_text()), os._exit, [3]).start()


def answer(path: str, body: bytes) -> tuple[str, dict[str, Any]]:
    """Return the status and the record that a path gives."""
    if path == "/health":
        return "200 OK", {"service": "alpha", "version": VERSION, "word": WORD, "pid": os.getpid()}
    if path == "/notes":
        if body:
            with NOTES.open("ab") as file:
                file.write(body + b"\n")
        notes = NOTES.read_text().splitlines() if NOTES.exists() else []
        return "200 OK", {"notes": notes}
    return "404 Not Found", {}


def app(environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], Any]) -> list[bytes]:
    """Answer one request."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    status, record = answer(environ["PATH_INFO"], body)
    text = json.dumps(record).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
    start(status, headers)
    return [text]
