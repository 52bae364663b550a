"""What of a package is left out: gitignore patterns over the places where its files would lie.

Pure. The patterns themselves are read by `builders.ignore`.
"""

from __future__ import annotations

import posixpath
from functools import cache
from typing import TYPE_CHECKING

from builders.ignore import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def pruner(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Make the test whether a file is left out: it, or a folder above it, is named."""
    lines = parse("\n".join(patterns))

    @cache
    def without(folder: str) -> bool:
        if not folder:
            return False
        return without(posixpath.dirname(folder)) or bool(lines.verdict(folder, folder=True))

    def pruned(path: str) -> bool:
        return without(posixpath.dirname(path)) or bool(lines.verdict(path, folder=False))

    return pruned
