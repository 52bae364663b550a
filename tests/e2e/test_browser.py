"""Every frontend in a real browser, through nginx, with live data from its backend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.browser import ready, text
from tests.e2e.platform import FRONTENDS, Platform

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [pytest.mark.browser, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]


@pytest.mark.parametrize(("name", "route"), FRONTENDS.items())
def test_every_frontend_renders_with_live_data(
    running: Platform, browser: Chrome, name: str, route: str
) -> None:
    ready(browser, running.url + route)
    assert browser.find_element(By.CSS_SELECTOR, f'[data-app="{name}"]').is_displayed()
    severe = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert severe == []


def test_the_dashboard_shows_what_its_backend_says(running: Platform, browser: Chrome) -> None:
    said = running.get_json("/api/jobs")
    ready(browser, running.url + "/dashboard/")
    shown = text(browser)
    assert said["message"] in shown if said["source"] == "none" else str(said["jobs"]) in shown
    assert running.get_json("/api/nodes")["nodes"][0]["name"] in shown
    keep = os.environ.get("SEALIFT_SCREENSHOTS")
    if keep:
        browser.save_screenshot(str(Path(keep) / "dashboard.png"))


def test_a_note_written_in_the_browser_is_in_the_backend(
    running: Platform, browser: Chrome
) -> None:
    ready(browser, running.url + "/dashboard/")
    field = browser.find_element(By.CSS_SELECTOR, "form input, form textarea")
    field.send_keys("maintenance window on Friday")
    field.submit()
    WebDriverWait(browser, 10).until(lambda b: "maintenance window on Friday" in text(b))
    texts = [note["text"] for note in running.get_json("/api/notes")["notes"]]
    assert "maintenance window on Friday" in texts
