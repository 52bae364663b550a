"""zstd frames: bytes compressed against bytes that the reader has as well, and read with care.

zstandard is imported when a frame is made or read: what pushes nothing does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from store.errors import IntegrityError

if TYPE_CHECKING:
    from zstandard import ZstdCompressionDict

WINDOW: Final = 1 << 27
"""Bytes of history that a frame may ask its reader to keep; zstd's own default limit."""

CLOSELY: Final = 9
"""The level for bodies: where long matches in a dictionary are found, and 20 ms for 2 MB."""

PATCH_LIMIT: Final = 3 * 1024 * 1024
"""Bytes of a file that is sent as what changed in it; zstd looks back 4 MiB for it."""


class FrameError(IntegrityError):
    """Bytes that are no frame, or not of the size that was told."""

    slug = "bad-frame"


def compress(data: bytes, dictionary: bytes = b"", *, level: int = CLOSELY) -> bytes:
    """Make one frame, against bytes that the reader has as well."""
    import zstandard  # noqa: PLC0415 - as the module says

    shared = _dictionary(dictionary) if dictionary else None
    return zstandard.ZstdCompressor(level=level, dict_data=shared).compress(data)


def decompress(frame: bytes, size: int, dictionary: bytes = b"") -> bytes:
    """Read one frame of exactly `size` bytes.

    The size is compared with what the frame itself says first: it is what would be allocated.

    Raises:
        FrameError: the frame is damaged, or of another size.
    """
    import zstandard  # noqa: PLC0415 - as the module says

    shared = _dictionary(dictionary) if dictionary else None
    try:
        if zstandard.frame_content_size(frame) != size:
            raise FrameError("a body is not as large as its header says")
        reader = zstandard.ZstdDecompressor(dict_data=shared, max_window_size=WINDOW)
        return reader.decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameError(f"a body cannot be read: {error}") from error


def _dictionary(data: bytes) -> ZstdCompressionDict:
    import zstandard  # noqa: PLC0415 - as the module says

    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
