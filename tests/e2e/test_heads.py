"""The platform on three heads, from nothing: up, seen, changed under load, rolled back, alone.

In the order of an operator's first day; each test leaves the platform running.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

from benchmarks.heads_load import PAGES, SERVICES, WEBSOCKET
from benchmarks.load import load
from benchmarks.outcome import NOTHING, Outcome
from tests.e2e.browser import ready
from tests.e2e.platform import BACKENDS, FRONTENDS
from tests.faults.counts import FULL
from tests.lab.fixtures import require
from tests.lab.lab import Lab, available
from tests.lab.network import Outbound
from tests.lab.platform import HEADS, Site, agent, ask, kept_store, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from tests.lab.head import LabHead

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
REQUESTS = 50_000 if FULL else 20_000


@dataclass(frozen=True, slots=True)
class Three:
    """Three heads that run the platform, and the site of their operator."""

    site: Site
    lab: Lab
    first: str

    @property
    def addresses(self) -> list[str]:
        return [f"https://{head.address}" for head in self.lab.heads]

    def version(self, head: LabHead) -> str:
        return str(record(head, "/api/health")["version"])


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """From nothing: a build, a lab, secrets, one command."""
    require(available())
    root = tmp_path_factory.mktemp("heads")
    with kept_store("platform") as store, Lab(3, folder=root / "lab") as lab:
        site = Site.whole(root / "site", store)
        release = site.build()
        site.prepare(lab)
        site.deploy()
        yield Three(site, lab, release)


def test_heads_have_neither_python_nor_node(three: Three) -> None:
    """What they run with came with the release."""
    for head in three.lab.heads:
        for name in ("python3", "node", "nginx", "gunicorn"):
            assert head.run("sh", "-c", f"command -v {name}", check=False).returncode != 0


def test_every_service_answers_on_every_head(three: Three) -> None:
    for head in three.lab.heads:
        for path in (*SERVICES, *PAGES):
            assert ask(head, path)[0] == 200, (head.name, path)
        said = json.loads(head.run(agent(three.site), "status", "--json").stdout)
        assert said["healthy"] is True, said
        assert set(BACKENDS) <= {each["name"] for each in said["services"]}


def test_equal_heads_are_told_of_once(three: Three) -> None:
    done = three.site.sealift("status", "--host", HEADS)
    assert HEADS in done.out
    assert "skew" not in done.out.lower()


def test_services_run_as_users_of_their_own(three: Three) -> None:
    head = three.lab.heads[0]
    lines = head.run("ps", "-eo", "user:40,args").stdout.decode().splitlines()
    ours = [line for line in lines if str(three.site.store_dir) in line]
    assert len(ours) >= len(BACKENDS)
    assert all(not line.startswith("root ") for line in ours), ours
    assert len({line.split()[0] for line in ours}) >= len(BACKENDS)


@pytest.mark.browser
@pytest.mark.parametrize(("name", "route"), FRONTENDS.items())
def test_a_browser_reaches_every_frontend_through_head1(
    three: Three, browser: Chrome, name: str, route: str
) -> None:
    ready(browser, f"https://{three.lab.heads[0].address}{route}")
    assert browser.find_element(By.CSS_SELECTOR, f'[data-app="{name}"]').is_displayed()
    severe = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
    assert severe == []


def test_an_edited_backend_under_load(three: Three) -> None:
    """Deployed to all heads and rolled back, over and over: no request fails."""
    three.site.edit("backend_5010/app.py", 'version="1.0.0"', 'version="1.0.1"')
    second = three.site.build()
    done = NOTHING
    while done.requests < REQUESTS:
        with load(three.addresses, (*SERVICES, *PAGES), websocket=WEBSOCKET) as running:
            three.site.deploy("--release", second)
            assert {three.version(head) for head in three.lab.heads} == {"1.0.1"}
            three.site.sealift("rollback", "--host", HEADS, "--yes")
            assert {three.version(head) for head in three.lab.heads} == {"1.0.0"}
        done = done.then(running.all)
    assert done.failures == {}, done.requests


def test_a_restart_under_load_by_hand_is_seen(three: Three) -> None:
    """The control: a service that is stopped and started as a plain unit fails requests."""
    head = three.lab.heads[0]

    @contextmanager
    def loaded() -> Iterator[list[Outcome]]:
        found: list[Outcome] = []
        with load(three.addresses[:1], ("/api/health",)) as running:
            yield found
        found.append(running.outcome)

    with loaded() as found:
        head.run("sh", "-c", "systemctl stop sealift-backend_5010.socket 'sealift-backend_5010@*'")
        time.sleep(0.5)
        head.run(agent(three.site), "start")
    assert found[0].failed > 0
    assert ask(head, "/api/health")[0] == 200


def test_rollback_on_the_head_alone(three: Three) -> None:
    """With its link cut, by the program in its own profile."""
    head = three.lab.heads[2]
    three.site.deploy()
    head.partition()
    try:
        head.run(agent(three.site), "rollback", "--yes")
        history = json.loads(head.run(agent(three.site), "history", "--json").stdout)
    finally:
        head.heal()
    current = [row for row in history["generations"] if row["current"]]
    assert current[0]["path"] == three.first
    skew = three.site.try_sealift("status", "--host", HEADS)
    assert skew.code != 0
    three.site.deploy()
    assert three.site.try_sealift("status", "--host", HEADS).code == 0


def test_who_changed_what_is_on_the_head(three: Three) -> None:
    for head in three.lab.heads:
        lines = head.run("cat", f"{three.site.store_dir.parent}/var/head/audit.jsonl").stdout
        rows = [json.loads(line) for line in lines.splitlines()]
        assert any(row["action"] == "deploy" for row in rows)
        assert all(row["who"] for row in rows)


def test_a_booted_head_comes_up_by_itself(three: Three) -> None:
    head = three.lab.heads[1]
    before = ask(head, "/api/health")[1]
    # Starting a head sets its count to nought.
    assert head.packets() == Outbound(0, ())
    head.stop()
    head.start()
    head.wait_ssh()
    end = time.monotonic() + 60
    while True:
        try:
            if all(ask(head, path)[0] == 200 for path in (*SERVICES, *PAGES)):
                break
        except OSError:
            assert time.monotonic() < end, "the platform does not come up"
        time.sleep(0.5)
        assert time.monotonic() < end, "the platform does not come up"
    assert ask(head, "/api/health")[1] == before


def test_no_packet_left_the_lab(three: Three) -> None:
    """Heads are asked last, after all that was done to them."""
    for head in three.lab.heads:
        assert head.packets() == Outbound(0, ())


def test_a_packet_that_leaves_the_lab_is_seen(three: Three) -> None:
    """The control."""
    head = three.lab.heads[0]
    head.run("bash", "-c", "exec 3<>/dev/udp/198.51.100.7/53; echo x >&3")
    assert head.packets().packets > 0
