"""A part: one package inside of an artefact, as a lock pins it and its own metadata tell.

Values only. Who reads them is `builders.parts_python`, `parts_npm` and `parts_debian`; what
becomes of them is for `builders.sbom_document`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from packageurl import PackageURL

from builders.recipe import EMPTY

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "file"
"""Type of a part that is one file, which nothing says more about."""
LIBRARY = "library"
"""Type of a part that has a name, perhaps a version, and no package URL."""
_SHORT = 12


class Whole(Enum):
    """Whether a bill names all that is inside of a part; the values are CycloneDX's."""

    NOT_SAID = "not_specified"
    UNKNOWN = "unknown"
    INCOMPLETE = "incomplete"


class Scope(Enum):
    """Whether a part runs: `excluded` only helped to build, as npm's `devDependencies` do."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Part:
    """One package.

    Attributes:
        type: of its package URL: `pypi`, `npm`, `deb`, `generic`; `FILE` and `LIBRARY` have none.
        integrity: SRI of the file that the lock pins; empty where nothing is pinned by itself.
        licences: SPDX expressions, or a licence's name as its author spells it.
        facts: what else is known, by names of our own.
        needs: `ref`s of the parts that it depends on.
        whole: whether all that it is made of is named too.
        cpe: its name in lists that have no package URLs; empty where nobody knows it.
    """

    type: str
    name: str
    version: str
    namespace: str = ""
    qualifiers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    integrity: str = ""
    licences: tuple[str, ...] = ()
    scope: Scope = Scope.REQUIRED
    facts: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    needs: tuple[str, ...] = ()
    whole: Whole = Whole.NOT_SAID
    cpe: str = ""

    @property
    def purl(self) -> PackageURL | None:
        """The package URL; None where nothing says what it is a package of."""
        if self.type in (FILE, LIBRARY):
            return None
        qualifiers = dict(self.qualifiers) or None
        return PackageURL(
            self.type, self.namespace or None, self.name, self.version, qualifiers=qualifiers
        )

    @property
    def ref(self) -> str:
        """A name within a document: of the same package, other bytes have another one."""
        name = str(self.purl or f"{self.type}:{self.name}{self.version and '@'}{self.version}")
        if not self.integrity:
            return name
        algorithm, digest = digest_of(self.integrity)
        return f"{name}#{algorithm}-{digest[:_SHORT]}"


def digest_of(integrity: str) -> tuple[str, str]:
    """Take an SRI apart: the algorithm, and the digest in base 16."""
    algorithm, _, digest = integrity.partition("-")
    return algorithm, base64.b64decode(digest).hex()
