"""A JSON object read key by key: each of the right type, and none left over.

It knows where it stands in the document, so that a refusal can name the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import BadReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Fields:
    """The keys of one object that have not been read yet."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BadReleaseError("an object is wanted here", where=where, got=repr(value)[:80])
        self.where = where
        self._rest = dict(value)

    def integer(self, key: str, *, low: int = 0, high: int = 2**31) -> int:
        """Take a whole number between `low` and `high`."""
        value = self._rest.pop(key, None)
        if type(value) is not int or not low <= value <= high:
            raise self._refuse(key, f"a whole number from {low} to {high}", value)
        return value

    def number(self, key: str, *, default: float) -> float:
        """Take a number that is not negative."""
        value = self._rest.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise self._refuse(key, "a number", value)
        return float(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        """Take true or false."""
        value = self._rest.pop(key, default)
        if not isinstance(value, bool):
            raise self._refuse(key, "true or false", value)
        return value

    def string(
        self, key: str, *, default: str | None = None, among: Sequence[str] | None = None
    ) -> str:
        """Take a text, one of `among` if that is given."""
        value = self._rest.pop(key, default)
        if not isinstance(value, str) or not value:
            raise self._refuse(key, "a text", value)
        if among is not None and value not in among:
            raise self._refuse(key, " or ".join(among), value)
        return value

    def maybe(self, key: str) -> str | None:
        """Take a text that may be missing."""
        return self.string(key) if key in self._rest else None

    def has(self, key: str) -> bool:
        """Take a null for a key that is not there; tell whether there is anything else."""
        return self._rest.get(key) is not None or not self._drop(key)

    def path(self, key: str) -> Path:
        """Take an absolute path without detours."""
        text = self.string(key)
        if not text.startswith("/") or ".." in Path(text).parts or not text.isprintable():
            raise self._refuse(key, "an absolute path", text)
        return Path(text)

    def strings(self, key: str, *, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Take a list of texts."""
        value = self._rest.pop(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(e, str) for e in value):
            raise self._refuse(key, "a list of texts", value)
        return tuple(value)

    def string_map(self, key: str) -> dict[str, str]:
        """Take an object whose values are texts; none if it is missing."""
        value = self._rest.pop(key, {})
        if not isinstance(value, dict) or not all(isinstance(e, str) for e in value.values()):
            raise self._refuse(key, "an object of texts", value)
        return dict(value)

    def value(self, key: str) -> Any:  # noqa: ANN401 (any JSON value)
        """Take whatever is there, for who looks at it elsewhere; None if it is missing."""
        return self._rest.pop(key, None)

    def values(self, key: str) -> dict[str, Any]:
        """Take an object of any values; none if it is missing."""
        value = self._rest.pop(key, {})
        if not isinstance(value, dict):
            raise self._refuse(key, "an object", value)
        return dict(value)

    def child(self, key: str) -> Fields:
        """Take an object."""
        return Fields(self._rest.pop(key, None), f"{self.where}: {key}")

    def optional(self, key: str) -> Fields | None:
        """Take an object that may be missing or null."""
        return None if self._rest.get(key) is None and self._drop(key) else self.child(key)

    def children(self, key: str) -> Iterator[Fields]:
        """Take a list of objects; none if it is missing."""
        value = self._rest.pop(key, [])
        if not isinstance(value, list):
            raise self._refuse(key, "a list", value)
        return (Fields(each, f"{self.where}: {key}[{n}]") for n, each in enumerate(value))

    def mapping(self, key: str, *, needed: bool = True) -> Iterator[tuple[str, Fields]]:
        """Take an object of objects; unless it is `needed`, none if it is missing."""
        value = self._rest.pop(key, None if needed else {})
        if not isinstance(value, dict):
            raise self._refuse(key, "an object", value)
        return ((n, Fields(each, f"{self.where}: {key}.{n}")) for n, each in value.items())

    def names(self) -> tuple[str, ...]:
        """Return the keys that nobody took yet."""
        return tuple(self._rest)

    def end(self) -> None:
        """Refuse what nobody took."""
        if self._rest:
            raise BadReleaseError(
                "unknown keys", where=self.where, got=", ".join(sorted(self._rest))
            )

    def _drop(self, key: str) -> bool:
        self._rest.pop(key, None)
        return True

    def _refuse(self, key: str, wanted: str, got: object) -> BadReleaseError:
        return BadReleaseError(
            f"{key!r} cannot be used", where=self.where, expected=wanted, got=repr(got)[:80]
        )
