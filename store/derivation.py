"""A derivation: all that decides an output, as canonical JSON, and its digest.

Pure. Inputs are resolved to output paths first, so a change that does not change an output stops
there. Who resolves and builds is `builders`' business.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""Raised when the meaning of a field changes: then everything is built anew."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """One build, without anything that does not decide its output.

    Attributes:
        name: of the output path.
        builder: the kind of step that builds it.
        platform: for example `x86_64-linux`.
        inputs: role → full store path.
        arguments: JSON values for the builder.
        source: digest of the source tree, base 16.
        version: of the builder.
        script: digest of the script that runs in the sandbox, base 16.
        fixed: SRI digest of a download; then the output is known before it is built.
        runtime: roles whose paths are references although no scan can see them.
    """

    name: str
    builder: str
    platform: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    version: int = 1
    script: str | None = None
    fixed: str | None = None
    runtime: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the canonical text: sorted keys, no spaces, ASCII.

        Raises:
            InputError: an argument is not a JSON value.
        """
        data = {each.name: getattr(self, each.name) for each in fields(self)}
        data |= {
            "format": FORMAT,
            "inputs": dict(self.inputs),
            "arguments": dict(self.arguments),
            "runtime": sorted(self.runtime),
        }
        try:
            return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"arguments of {self.name} are not JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> Derivation:
        """Read what `to_json` wrote.

        Raises:
            InputError: another format, or not a derivation.
        """
        try:
            data = json.loads(text)
            if data.pop("format") != FORMAT:
                raise InputError("a derivation of another format", expected=str(FORMAT))
            return cls(**data | {"runtime": tuple(data["runtime"])})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"not a derivation: {error!r}") from error

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical text, base 16: the key under which the output is remembered."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def changes(old: Derivation, new: Derivation) -> tuple[str, ...]:
    """Name what differs: `source`, `input python`, `argument output`, `version` and so on."""
    plain = [
        each.name
        for each in fields(new)
        if each.name not in {"inputs", "arguments"}
        and getattr(old, each.name) != getattr(new, each.name)
    ]
    inputs = [f"input {role}" for role in _differing(old.inputs, new.inputs)]
    arguments = [f"argument {key}" for key in _differing(old.arguments, new.arguments)]
    return (*plain, *inputs, *arguments)


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    absent = object()
    return [
        key
        for key in sorted({*old, *new})
        if _plain(old.get(key, absent)) != _plain(new.get(key, absent))
    ]


def _plain(value: object) -> object:
    """See tuples as the lists that JSON gives back."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
