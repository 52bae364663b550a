"""One platform for all of these tests, built from nothing and stopped at the end; a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.browser import chromium
from tests.e2e.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome
