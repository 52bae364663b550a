"""What programs on a head are told and say: bytes to the end and a word back, or JSON records."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from store.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deploy.link import Data

MOST_SAID = 1 << 16
"""Bytes that the shell of a bootstrap may say; it has a word to say."""


def exchange(link: Data, chunks: Iterable[bytes], patience: float) -> bytes:
    """Write all that it takes, and return what it says in the end.

    Raises:
        SilentError: it neither takes nor says anything for `patience` seconds.
    """
    with patient(link.reader, link.writer, patience) as (_, writer), suppress(BrokenPipeError):
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                left = left[writer.write(left) :]
    # Its input ends with the last name of the stream.
    with suppress(OSError):
        link.writer.close()
    with patient(link.reader, io.BytesIO(), patience) as (reader, _):
        return reader.read(MOST_SAID)


def objects(output: bytes) -> Iterator[dict[str, Any]]:
    """Give the JSON objects among the lines that a command wrote."""
    for line in output.splitlines():
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                yield found
