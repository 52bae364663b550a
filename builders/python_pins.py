"""What a Python lock takes of a package: one wheel as it is, or one sdist that is built here.

Values only. Reading and writing locks is for `builders.python_lock`.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote

PUBLIC_FILES = "https://files.pythonhosted.org/"
"""Where the public index keeps its files; a lock names this, whichever mirror made it."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file of an index."""

    name: str
    version: str
    url: str
    sha256: str
    """Base 16."""
    size: int | None

    @property
    def filename(self) -> str:
        """The file's own name, the last part of its address."""
        return unquote(self.url.partition("#")[0].rpartition("/")[2])

    @property
    def integrity(self) -> str:
        """The hash in SRI spelling."""
        return "sha256-" + b64encode(bytes.fromhex(self.sha256)).decode()

    @property
    def pin(self) -> str:
        """The requirement that nothing else answers."""
        return f"{self.name}=={self.version}"

    def address(self, files: str) -> str:
        """Return the URL on a mirror of the files."""
        if self.url.startswith(PUBLIC_FILES):
            return files.rstrip("/") + "/" + self.url.removeprefix(PUBLIC_FILES)
        return self.url


@dataclass(frozen=True, slots=True)
class Wheel(_File):
    """A wheel that the lock takes as the index has it."""


@dataclass(frozen=True, slots=True)
class Sdist(_File):
    """An sdist that is built into a wheel here, and with what.

    Attributes:
        build: what can be imported while it is built, nothing else; sorted by name.
        requires: what it, or the recipe, asks for to be built.
        depends: what it says, before it is built, that it needs to run.
        root: key of the step that makes the root of the sandbox it is compiled in.
        step: key of the step that builds it. Both are empty until `builders.sdist.placed`.
    """

    build: tuple[Distribution, ...] = ()
    requires: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    root: str = ""
    step: str = ""


Distribution = Wheel | Sdist
"""One package of a lock."""
