"""A release's life on the local head: up, changed, refused, rolled back, with state kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.platform import BACKENDS, FRONTENDS, Platform

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]


def edit(file: Path, old: str, new: str) -> None:
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new))


def pids(services: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {name: row["pid"] for name, row in services.items()}


def generation(platform: Platform) -> int:
    rows = platform.sealift("history", "--json").json["generations"]
    return next(int(row["number"]) for row in rows if row["current"])


def test_every_service_is_healthy_behind_nginx(running: Platform) -> None:
    services = running.services()
    assert set(BACKENDS) <= set(services)
    assert {row["health"] for row in services.values()} == {"healthy"}
    assert running.get_json("/api/health")["service"] == "backend_5010"
    assert running.get_json("/cae-api/health")["service"] == "kooCAEWebServer_5000"
    assert running.get_json("/cae-automation/health")["service"] == "kooCAEAutoBackend_5001"
    assert running.get_json("/moonlight-api/health")["service"] == "MoonlightSunshine_8004"
    assert running.get_json("/auth/session")["authenticated"] is False


@pytest.mark.parametrize("route", FRONTENDS.values())
def test_assets_are_cached_for_a_year_and_pages_never(running: Platform, route: str) -> None:
    status, headers, body = running.get(route)
    assert status == 200
    assert headers["Cache-Control"] == "no-cache"
    asset = re.search(rb'(?:src|href)="([^"]+/assets/[^"]+)"|="(/assets/[^"]+)"', body)
    assert asset is not None
    status, headers, _ = running.get((asset[1] or asset[2]).decode())
    assert status == 200
    assert "immutable" in headers["Cache-Control"]
    assert running.get(f"{route}assets/nothing-here.js")[0] == 404
    assert running.get(f"{route}some/page/of/the/app")[2] == body


def test_a_second_build_and_deploy_do_nothing(running: Platform) -> None:
    before = running.services()
    again = running.sealift("build", "all", "--json")
    assert '"event": "finished"' not in again.out
    running.sealift("deploy", "--host", "local", "--yes")
    assert pids(running.services()) == pids(before)


def test_one_changed_line_restarts_one_service_and_rolls_back(running: Platform) -> None:
    note = running.post_json("/api/notes", {"text": "this must survive"})
    before, old = running.services(), generation(running)
    app = running.source("backend_5010") / "app.py"
    edit(app, 'version="1.0.0"', 'version="1.0.1"')
    built = running.sealift("build", "all")
    assert "backend_5010" in built.err
    assert "frontend_3010" not in built.err
    running.sealift("deploy", "--host", "local", "--yes")
    assert running.get_json("/api/health")["version"] == "1.0.1"
    after, new = running.services(), generation(running)
    changed = {name for name in after if after[name]["pid"] != before[name]["pid"]}
    assert changed == {"backend_5010"}

    difference = running.sealift("diff", str(old), str(new), "--json").json
    assert [row["name"] for row in difference["services"]] == ["backend_5010"]
    named = {row["name"] for row in difference["packages"]}
    assert named <= {"backend_5010", "release"}

    running.sealift("rollback", "--yes")
    assert running.get_json("/api/health")["version"] == "1.0.0"
    assert note["text"] in [n["text"] for n in running.get_json("/api/notes")["notes"]]
    assert generation(running) == old
    edit(app, 'version="1.0.1"', 'version="1.0.0"')
    running.sealift("build", "all")


APP = "app = Flask(__name__)"
HEALTH = 'return jsonify(status="ok"'
BROKEN = {
    "answers 500": (HEALTH, f'return jsonify(status="ill"), 500\n    {HEALTH}', "500"),
    "does not load": (APP, 'raise SystemExit("no licence")', "no licence"),
    "answers and then dies": (
        APP,
        f"{APP}\nimport os, threading\nthreading.Timer(1.2, os._exit, [3]).start()",
        "backend_5010",
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), BROKEN.values(), ids=BROKEN)
def test_a_release_that_is_not_healthy_goes_back_by_itself(
    running: Platform, old: str, new: str, said: str
) -> None:
    before, number = running.services(), generation(running)
    app = running.source("backend_5010") / "app.py"
    text = app.read_text()
    edit(app, old, new)
    try:
        running.sealift("build", "all")
        failed = running.try_sealift("deploy", "--host", "local", "--yes")
    finally:
        app.write_text(text)
    assert failed.code == 5, failed.err
    assert "backend_5010" in failed.err
    assert said in failed.err
    assert generation(running) == number
    after = running.services()
    assert {row["health"] for row in after.values()} == {"healthy"}
    assert {n for n in after if after[n]["pid"] != before[n]["pid"]} <= {"backend_5010"}
    assert running.get_json("/api/health")["version"] == "1.0.0"
    running.sealift("build", "all")


def test_the_store_is_clean_afterwards(running: Platform) -> None:
    running.sealift("store", "verify")


def test_stop_and_start_bring_everything_back(running: Platform) -> None:
    running.sealift("stop")
    assert {row["running"] for row in running.services().values()} == {False}
    running.sealift("start")
    assert {row["health"] for row in running.services().values()} == {"healthy"}
