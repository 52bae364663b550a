"""The base of every error an operator can act on.

Anything else that escapes is a bug and shows its traceback. Only the command line prints or exits.
"""

from __future__ import annotations

from typing import ClassVar


class Error(Exception):
    """Something an operator can act on; its fields are facts, not prose.

    Attributes:
        reason: one sentence that says what is wrong.
        where: the file (and line, column), host or path it concerns.
        expected: what should have been there.
        got: what was there instead.
        hint: the one next thing to do.
        slug: a stable kebab-case name.
        exit_code: of the process, one per family.
    """

    slug: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        reason: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.where = where
        self.expected = expected
        self.got = got
        self.hint = hint


class InputError(Error):
    """A recipe, a setting or an argument that cannot be used."""

    slug = "bad-input"
    exit_code = 2


class IntegrityError(Error):
    """Bytes that are not what was pinned, registered or signed."""

    slug = "hash-mismatch"
    exit_code = 3
