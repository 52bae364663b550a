"""One platform for all of these tests: built from nothing, deployed, stopped at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    platform = Platform.make(tmp_path_factory.mktemp("e2e") / "site")
    platform.sealift("build", "all")
    return platform


@pytest.fixture(scope="session")
def running(built: Platform) -> Iterator[Platform]:
    built.sealift("deploy", "--host", "local", "--yes")
    yield built
    built.try_sealift("stop")
