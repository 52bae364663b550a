"""The sets of Debian packages that a release carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import BadReleaseError
from deploy.release_file import parse

if TYPE_CHECKING:
    from deploy.release import Release

STORE = "/opt/sealift/store/00000000000000000000000000000000-redis-packages"


def release(**more: Any) -> Release:
    document = {"format": 1, "services": {}, "frontends": {}, **more}
    return parse(json.dumps(document), Path("/opt/sealift/store/x-release"))


def test_they_are_read_by_name() -> None:
    assert release(packages={"redis": {"path": STORE}}).packages == {"redis": Path(STORE)}
    assert release().packages == {}


@pytest.mark.parametrize(
    "packages",
    [
        [],
        {"redis": STORE},
        {"redis": {}},
        {"redis": {"path": "relative"}},
        {"redis": {"path": STORE, "more": 1}},
        {"../redis": {"path": STORE}},
        {"re dis": {"path": STORE}},
    ],
)
def test_what_makes_no_sense_is_refused(packages: Any) -> None:
    with pytest.raises(BadReleaseError):
        release(packages=packages)
