"""Sealing secrets again on a head that can read them: the question, what the head does, the answer.

The transfer host has no key that reads its own vault, and needs none: a head opens what is sealed
for it and seals it for the readers of today. Nothing open leaves the head. Values and one decision;
carrying it there and back is for the command line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy import seal
from deploy.errors import BadMessageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Request:
    """Sealed secrets by name, and the public keys that they are to be sealed for."""

    sealed: Mapping[str, bytes]
    keys: tuple[str, ...]

    def to_json(self) -> bytes:
        """Return what `from_json` reads."""
        return json.dumps({"sealed": _texts(self.sealed), "keys": self.keys}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Request:
        """Make a request of what `to_json` wrote.

        Raises:
            BadMessageError: it is none.
            BadSecretError: a name or a key cannot be one.
        """
        record = _record(text, {"sealed", "keys"})
        keys = record["keys"]
        if not isinstance(keys, list) or not keys or not all(isinstance(e, str) for e in keys):
            raise _refusal("keys: a list of public keys", keys)
        return cls(_sealed(record["sealed"]), tuple(seal.check_recipient(each) for each in keys))


def answer(request: Request, identities: Sequence[Any]) -> bytes:
    """Open the secrets and seal them again; return what `parse` reads.

    Raises:
        SecretUnreadableError: none of the identities reads one of them.
    """
    values = {name: seal.unseal(name, of, identities) for name, of in request.sealed.items()}
    again = {name: seal.seal(value, request.keys) for name, value in values.items()}
    return json.dumps({"sealed": _texts(again)}).encode()


def parse(text: bytes, request: Request) -> dict[str, bytes]:
    """Read a head's answer to `request`.

    Raises:
        BadMessageError: it is none, or not to this request.
        SecretUnreadableError: what came is no sealed secret, or sealed for others.
    """
    found = _sealed(_record(text, {"sealed"})["sealed"])
    if found.keys() != request.sealed.keys():
        raise _refusal(f"the secrets {', '.join(sorted(request.sealed))}", sorted(found))
    for name, sealed in found.items():
        _check_readers(name, sealed, request)
    return found


def _check_readers(name: str, sealed: bytes, request: Request) -> None:
    """Refuse what was sealed for others than those asked for, as far as a file tells."""
    readers = seal.readers(name, sealed)
    native = [key for key in request.keys if key.startswith("age1")]
    tags = {seal.tag(key) for key in request.keys if key not in native}
    if readers.tags != tags or readers.native != len(native):
        raise _refusal(f"the secret {name}, sealed for {len(request.keys)} keys", "other readers")


def _record(text: bytes, keys: set[str]) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError:
        raise _refusal("JSON", text[:80]) from None
    if not isinstance(record, dict) or record.keys() != keys:
        raise _refusal(f"an object with {', '.join(sorted(keys))}", type(record).__name__)
    return record


def _sealed(said: object) -> dict[str, bytes]:
    if not isinstance(said, dict) or not all(isinstance(of, str) for of in said.values()):
        raise _refusal("sealed: an object of texts", type(said).__name__)
    return {seal.check_name(name): of.encode() for name, of in said.items()}


def _texts(sealed: Mapping[str, bytes]) -> dict[str, str]:
    return {name: of.decode("ascii", "replace") for name, of in sealed.items()}


def _refusal(expected: str, got: object) -> BadMessageError:
    return BadMessageError(
        "this is not what is said when secrets are sealed again", expected=expected, got=str(got)
    )
