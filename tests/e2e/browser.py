"""A real browser without a screen, and what a page in it says."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1440,900",
)


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """Have a browser with a new profile; without one the test is skipped, and in CI it fails."""
    driver = shutil.which("chromedriver")
    if driver is None:
        if os.environ.get("CI"):
            pytest.fail("chromedriver is missing: apt-get install chromium chromium-driver")
        pytest.skip("chromedriver is missing: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    # Heads of a lab make their certificates themselves.
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def ready(browser: Chrome, url: str) -> None:
    """Open a page, and wait until it has its data."""
    browser.get(url)
    WebDriverWait(browser, 20).until(
        lambda b: b.find_element(By.TAG_NAME, "body").get_attribute("data-ready") == "true"
    )


def text(browser: Chrome) -> str:
    """Return what is to be read on the page."""
    return browser.find_element(By.TAG_NAME, "body").text
