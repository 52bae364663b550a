"""What can be wrong with a source tree."""

from __future__ import annotations

from store.errors import InputError


class SourceError(InputError):
    """A source tree that cannot be taken as it is."""

    slug = "bad-source"


class SecretError(SourceError):
    """Files of a source look like secrets and the recipe does not say that they may go in."""

    slug = "secret-in-source"
