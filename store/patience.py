"""Streams to another machine that are given up when it neither says nor takes anything.

What counts is silence, not how long the whole takes. A program that is ended meanwhile closes its
ends, and so wakes whoever waits here.
"""

from __future__ import annotations

import io
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from store.wire import Patient

if TYPE_CHECKING:
    from collections.abc import Iterator

SENDER: Final = 600.0
"""Seconds of silence after which a sender takes the receiver for gone.

Twice what the receiver grants: it verifies and syncs all that came before it says so.
"""


@contextmanager
def patient(
    reader: BinaryIO, writer: BinaryIO, seconds: float
) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Give both streams anew; reading and writing them raises after so much silence.

    Streams without a descriptor are given as they are. Nothing may be in their buffers.

    Raises:
        SilentError: in the block, from the streams.
    """
    with ExitStack() as stack:
        yield (
            _patient(reader, seconds, stack, reads=True),
            _patient(writer, seconds, stack, reads=False),
        )


def _patient(stream: BinaryIO, seconds: float, stack: ExitStack, *, reads: bool) -> BinaryIO:
    try:
        # A copy: were the stream closed by another thread, its number could soon be another file.
        descriptor = os.dup(stream.fileno())
    except (OSError, AttributeError):
        return stream
    stack.callback(os.close, descriptor)
    raw = Patient(descriptor, seconds)
    if reads:
        return io.BufferedReader(raw, 1 << 20)
    os.set_blocking(descriptor, False)
    return cast("BinaryIO", raw)  # no more is asked of it than write() and flush()
