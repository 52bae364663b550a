"""A step: one derivation-to-be, with its inputs still named and not yet resolved to paths.

A kind turns a recipe into steps; the plan orders them; `builders.realise` resolves the inputs to
output paths, derives, looks up, and only then builds. Values only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builders.recipe import EMPTY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DIGEST = re.compile(r"(?<=:)[0-9a-f]{32,}")


@dataclass(frozen=True, slots=True)
class Download:
    """A fixed output: the bytes are known before they come.

    `integrity` is in SRI spelling (`sha256-…=`, `sha512-…=`); `urls` are tried in order; `size`
    is in bytes where the lock knows it. Neither urls nor size enter the derivation.
    """

    urls: tuple[str, ...]
    integrity: str
    size: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """One file or symbolic link of a source tree, `path` relative to its root, with slashes."""

    path: str
    executable: bool
    sha256: str
    """Base-16 SHA-256 of the contents; of a link's target if `link` is set."""
    link: str | None = None


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The files of a recipe's source that go in, sorted by path, and one digest over them."""

    root: Path
    files: tuple[SourceFile, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is built from what. The final step of a recipe has the recipe's name as its key.

    Attributes:
        key: unique in a plan: a recipe's name, or a name and a part (`backend_5010:env`), or a
            shared thing that several recipes need (`fetch:sha256-…`, `wheel:flask-3.1.3-…`).
            Equal keys must mean equal steps.
        name: the store path's name, by the grammar of `store.names`.
        recipe: the recipe that asked first, for messages.
        builder: the row of `builders.kinds.BUILDERS` that builds it.
        version: of that builder's in-process part; raised when its output changes.
        inputs: role → key of another step. Roles are plain words; the order never matters.
        arguments: JSON values; all of them enter the derivation.
        script: file name in `builders/scripts` that runs in the sandbox; its bytes enter the
            derivation.
        source: the tree that is laid, writable and normalised, at `Build.source`.
        download: set for the builder `fetch` alone.
        runtime: roles whose paths the output refers to although no scan can see it.
    """

    key: str
    name: str
    recipe: str
    builder: str
    version: int = 1
    inputs: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    arguments: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    script: str | None = None
    source: SourceTree | None = None
    download: Download | None = None
    runtime: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The key as people read it: a digest in it cut, and who asked first instead."""
        short = _DIGEST.sub(lambda found: f"{found[0][:8]}…", self.key)
        return self.key if short == self.key else f"{short} ({self.recipe})"
