"""What is known about a valid store path.

Pure. `store.database` keeps it; bundles and caches carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.errors import InputError
from store.path import StorePath

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class PathInfo:
    """A path with the hash that proves its contents and the paths it refers to.

    Attributes:
        path: content-addressed by the next three.
        nar_sha256: of the path's NAR, in base 16.
        nar_size: bytes of that NAR.
        references: sorted, never the path itself.
        registered: seconds since the epoch; enters no digest.
    """

    path: StorePath
    nar_sha256: str
    nar_size: int
    references: tuple[StorePath, ...] = ()
    registered: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the value as JSON data; paths are base names."""
        return {
            "path": str(self.path),
            "nar_sha256": self.nar_sha256,
            "nar_size": self.nar_size,
            "references": [str(reference) for reference in self.references],
            "registered": self.registered,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PathInfo:
        """Read what `to_json` wrote.

        Raises:
            InputError: a key is missing, or a value is not what it should be.
        """
        try:
            info = cls(
                path=StorePath.parse(data["path"]),
                nar_sha256=bytes.fromhex(data["nar_sha256"]).hex(),
                nar_size=int(data["nar_size"]),
                references=tuple(StorePath.parse(text) for text in data["references"]),
                registered=float(data["registered"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not the description of a store path: {error!r}") from error
        return info.checked()

    def checked(self) -> PathInfo:
        """Return the value if its parts agree with each other.

        Raises:
            InputError: hash length, size, or the order of the references is wrong.
        """
        in_order = list(self.references) == sorted(set(self.references))
        if len(self.nar_sha256) == 64 and self.nar_size > 0 and in_order:  # noqa: PLR2004
            return self
        raise InputError("the description contradicts itself", where=str(self.path))
