"""The file of a receipt: what says that it is one, signatures, and the bytes that they are over."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.bundle.format import MOST_SIGNATURES
from deploy.errors import BadReceiptError
from deploy.receipt_json import dump, parse
from deploy.sshsig import leading
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from deploy.receipt import Receipt

LARGEST = 1_000_000
"""Bytes of a file."""

_MAGIC = b"sealift-receipt 1\n"


@dataclass(frozen=True, slots=True)
class Sealed:
    """The bytes of a receipt, and what was signed over them."""

    body: bytes
    signatures: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """What deltas name it by: SHA-256 of what is signed, in base 16."""
        return hashlib.sha256(self.body).hexdigest()

    def __bytes__(self) -> bytes:
        return b"".join((_MAGIC, *self.signatures, self.body))


def seal(receipt: Receipt, sign: Callable[[bytes], Sequence[bytes]]) -> Sealed:
    """Spell a receipt and sign it; `sign` gives armoured signatures.

    Raises:
        BadReceiptError: it is too large to be carried about.
    """
    body = dump(receipt)
    sealed = Sealed(body, tuple(sign(body)))
    if len(bytes(sealed)) > LARGEST:
        raise BadReceiptError(
            "the receipt is larger than a receipt may be",
            expected=f"{LARGEST:,} bytes at most",
            got=f"{len(bytes(sealed)):,}",
            hint="forget old releases: sealift gc; or tell of fewer heads: --host",
        )
    return sealed


def load(file: Path, check: Callable[[bytes, Sequence[bytes]], object]) -> Receipt:
    """Read a receipt whose signatures `check` agrees to; nothing is parsed before.

    Raises:
        BadReceiptError: it cannot be read, or is none.
        SignatureError: what `check` says of its signatures.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as fault:
        reason = f"the receipt cannot be read: {fault.strerror}"
        raise BadReceiptError(reason, where=str(file)) from fault
    sealed = None
    try:
        sealed = unseal(data)
        check(sealed.body, sealed.signatures)
        return parse(sealed.body)
    except Error as error:
        error.where = error.where or str(file)
        if sealed is not None and error.hint:
            error.hint = f"copy it again, if it may have suffered on the way; {error.hint}"
        raise


def is_receipt(file: Path) -> bool:
    """Tell whether a file begins as receipts do."""
    with suppress(OSError), file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC
    return False


def unseal(data: bytes) -> Sealed:
    """Take signatures and what they sign apart.

    Raises:
        BadReceiptError: it is no receipt.
    """
    if not data.startswith(_MAGIC):
        raise BadReceiptError(
            "this is no receipt", expected=f"a file that begins with {_MAGIC.decode().strip()!r}"
        )
    if len(data) > LARGEST:
        raise BadReceiptError("this is too large for a receipt")
    signatures, body = leading(data[len(_MAGIC) :], MOST_SIGNATURES)
    return Sealed(body, signatures)
