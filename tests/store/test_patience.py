"""A push to somebody who neither takes nor says anything has an end."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO

import pytest

from store.patience import patient
from store.send import send
from store.wire import SilentError
from tests.store.ends import platform

if TYPE_CHECKING:
    from pathlib import Path


def fill(writer: BinaryIO) -> None:
    """Write more than any pipe holds."""
    writer.writelines(bytes(1 << 16) for _ in range(1000))


def test_silence_ends_reading_and_writing() -> None:
    source, target = os.pipe()
    with os.fdopen(source, "rb") as out, os.fdopen(target, "wb") as into:
        with (
            patient(out, into, 0.05) as (reader, _),
            pytest.raises(SilentError, match="nothing came"),
        ):
            reader.read(1)
        with (
            patient(out, into, 0.05) as (_, writer),
            pytest.raises(SilentError, match="nothing was taken"),
        ):
            fill(writer)
        with patient(out, into, 5) as (reader, _):
            assert reader.read(1 << 12) == bytes(1 << 12)


def test_streams_without_a_descriptor_stay_what_they_are() -> None:
    memory = io.BytesIO(b"x")
    with patient(memory, memory, 1) as ends:
        assert ends == (memory, memory)


def test_a_receiver_that_sleeps_is_given_up(tmp_path: Path) -> None:
    two = platform(tmp_path.resolve() / "site")
    source, target = os.pipe()
    with two.source, os.fdopen(source, "rb") as out, os.fdopen(target, "wb") as into:  # noqa: SIM117
        with pytest.raises(SilentError, match="nothing came"):
            send(
                two.source,
                [two.first],
                reader=out,
                writer=into,
                observe=lambda _: None,
                patience=0.05,
            )
