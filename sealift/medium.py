"""Settings for what came on a medium: never any that may have come on it as well.

Settings are found by walking up from the working directory. Were that a stick, whoever wrote it
would say whom to trust. A medium is any file system but the root's: what lies on the machine's own
disk somebody put there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builders.settings import Settings
    from sealift.site import Location


class TrustOnMediumError(InputError):
    """Settings, or a file that says who may sign, which lie on the bundle's medium."""

    slug = "trust-on-medium"


def settings(location: Location, files: Sequence[Path]) -> Settings:
    """Load the settings by which bundles are judged; those that somebody named are taken as such.

    Raises:
        TrustOnMediumError: nobody named them, and they lie on the medium of one of the bundles.
        Error: as `Location.settings`.
    """
    found = location.settings()
    if location.config is None:
        judges = (found.file, found.signing.signers, found.signing.revoked)
        for file in files:
            _check(file, [each for each in judges if os.path.lexists(each)])
    return found


def _check(bundle: Path, judges: Iterable[Path]) -> None:
    """Refuse by where files are named as well as by where links lead."""
    folders = {Path(os.path.realpath(bundle.parent)), Path(os.path.realpath(bundle)).parent}
    mounts = {each.stat().st_dev for each in folders if each.exists()} - {Path("/").stat().st_dev}
    for judge in judges:
        places = {Path(os.path.realpath(judge)).parent, Path(os.path.realpath(judge.parent))}
        if any(each.stat().st_dev in mounts for each in places):
            raise TrustOnMediumError(
                f"what says whom to trust lies on the medium of the bundle: {judge}",
                where=str(bundle),
                expected="settings and signers of the site's own, apart from what came",
                hint="run it in the site's folder; if they are the site's own all the same: "
                "sealift --config sealift.yaml …",
            )
