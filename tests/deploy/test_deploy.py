"""Deploys and rollbacks of real processes under a real supervisord, behind a real nginx."""

from __future__ import annotations

import os
import re
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy.activate import deploy, repair, rollback
from deploy.diff import Parts, diff
from deploy.errors import (
    BadReleaseError,
    ClosureIncompleteError,
    DamagedPathError,
    DeployFailedError,
    HeadLockedError,
    NoGenerationError,
    NotGoodError,
    PortTakenError,
    StrandedError,
    WebServerError,
)
from deploy.events import Event, What
from deploy.ports import command
from deploy.profile import Status
from deploy.status import history, status
from tests.deploy.synthetic import QUICK, Pages, Site, Tiny, fetch, free_ports, pids, spoil, version

if TYPE_CHECKING:
    from deploy.local_head import LocalHead


def test_only_what_changed_is_restarted(web_site: Site) -> None:
    one, two, web = free_ports(3)
    alpha, beta = Tiny("alpha", one, route="/alpha/"), Tiny("beta", two)
    head = web_site.head(replace(QUICK, port=web))
    first = web_site.release(alpha, beta, pages=(Pages("home", "old page"),))
    second = web_site.release(alpha.at("2.0"), beta, pages=(Pages("home", "new page"),))

    outcome = deploy(head, first)
    assert (outcome.generation, outcome.before) == (1, None)
    assert outcome.changes.started == ("alpha", "beta", "nginx")
    assert fetch(head.url) == "old page"
    assert fetch(f"{head.url}alpha/x").startswith("alpha 1.0 ")
    before = pids(head)

    outcome = deploy(head, second)
    assert (outcome.generation, outcome.before) == (2, 1)
    assert outcome.changes.restarted == ("alpha",)
    assert outcome.changes.reloaded == ()
    assert fetch(head.url) == "new page"
    assert fetch(f"{head.url}alpha/x").startswith("alpha 2.0 ")
    after = pids(head)
    assert {name for name in after if after[name] != before[name]} == {"alpha"}

    outcome = rollback(head)
    assert (outcome.generation, outcome.before) == (1, 2)
    assert fetch(head.url) == "old page"
    assert fetch(f"{head.url}alpha/x").startswith("alpha 1.0 ")
    assert rollback(head, 2).generation == 2
    assert version(alpha) == "2.0"

    found = diff(head, 1, 2)
    assert [(each.name, each.before, each.after) for each in found.packages] == [
        ("alpha", ("1.0",), ("2.0",)),
        ("home", ("1.0",), ("1.0",)),
    ]
    assert found.services == Parts(changed=("alpha",))
    assert found.frontends == Parts(changed=("home",))
    assert diff(head, 1, 1).empty


def test_the_web_server_is_reloaded_for_new_locations_alone(web_site: Site) -> None:
    one, web = free_ports(2)
    alpha = Tiny("alpha", one)
    head = web_site.head(replace(QUICK, port=web))
    deploy(head, web_site.release(alpha, site='location = /x { return 200 "one"; }\n'))
    before = pids(head)
    outcome = deploy(head, web_site.release(alpha, site='location = /x { return 200 "two"; }\n'))
    assert outcome.changes.reloaded == ("nginx",)
    assert outcome.changes.restarted == ()
    assert pids(head) == before
    assert fetch(f"{head.url}x") == "two"
    assert rollback(head).changes.reloaded == ("nginx",)
    assert fetch(f"{head.url}x") == "one"


@pytest.mark.parametrize(
    "locations",
    ["location / {", "location / { proxy_pass http://sealift_nobody; }", "load_module x.so;"],
)
def test_bad_locations_are_refused_before_anything_is_touched(
    web_site: Site, locations: str
) -> None:
    one, web = free_ports(2)
    head = web_site.head(replace(QUICK, port=web))
    deploy(head, web_site.release(Tiny("alpha", one)))
    before = pids(head)
    with pytest.raises(WebServerError) as caught:
        deploy(head, web_site.release(Tiny("alpha", one, "2.0"), site=locations))
    assert "site.conf" in str(caught.value.got)
    assert pids(head) == before
    assert [each.number for each in history(head)] == [1]


def test_a_page_that_is_not_there_goes_back(web_site: Site) -> None:
    one, web = free_ports(2)
    alpha = Tiny("alpha", one)
    head = web_site.head(replace(QUICK, port=web, web_timeout=0.5))
    pages = (Pages("home", "page"),)
    deploy(head, web_site.release(alpha, pages=pages))
    broken = "location / { root profiles/system/web/nowhere; }\n"
    with pytest.raises(DeployFailedError) as caught:
        deploy(head, web_site.release(replace(alpha, timeout=0.5), pages=pages, site=broken))
    assert caught.value.service == "nginx"
    assert str(caught.value.request).startswith(f"GET {head.url}")
    assert "404" in str(caught.value.got)
    assert fetch(head.url) == "page"


def test_the_same_release_again_changes_nothing(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head, release = site.head(), site.release(*pair)
    deploy(head, release)
    before = pids(head)
    outcome = deploy(head, release)
    assert (outcome.generation, outcome.before) == (1, 1)
    assert outcome.changes.started == outcome.changes.restarted == ()
    assert pids(head) == before
    assert len(history(head)) == 1


@pytest.mark.parametrize(
    ("temper", "said"),
    [
        ("error", "500 Internal Server Error"),
        ("mute", "no answer within"),
        ("exits", "the process has ended"),
        ("flash", "the process"),
    ],
)
def test_a_sick_release_goes_back(
    site: Site, pair: tuple[Tiny, Tiny], temper: str, said: str
) -> None:
    alpha, beta = (replace(each, timeout=1.0) for each in pair)
    head = site.head(replace(QUICK, start_seconds=1, probe_timeout=0.5, settle_seconds=0.4))
    deploy(head, site.release(alpha, beta))
    before, events = pids(head), list[Event]()
    with pytest.raises(DeployFailedError) as caught:
        deploy(head, site.release(alpha, beta.at("2.0", temper)), observe=events.append)
    error = caught.value
    assert error.exit_code == 5
    assert error.service == "beta"
    assert error.request == f"GET http://127.0.0.1:{beta.port}/health"
    assert said in str(error.got)
    assert any("beta 2.0 begins" in line for line in error.log)
    assert "went back to generation 1" in error.reason
    assert {What.FAILED, What.REVERTED} <= {each.what for each in events}
    assert version(beta) == "1.0"
    assert pids(head)["alpha"] == before["alpha"]
    assert [each.status for each in history(head)] == [Status.GOOD, Status.FAILED]
    assert status(head).healthy
    assert rollback_is_refused(head)


def rollback_is_refused(head: LocalHead) -> bool:
    """Tell whether a head on its first good generation has nowhere to go, the failed one left."""
    with pytest.raises(NoGenerationError):
        rollback(head)
    return True


def test_without_patience_a_dying_service_passes(site: Site) -> None:
    """The negative control: one look, at one answer, takes it for healthy."""
    (port,) = free_ports(1)
    hasty = replace(QUICK, probes=1, settle_seconds=0.0)
    assert deploy(site.head(hasty), site.release(Tiny("alpha", port, temper="flash"))).generation


def test_a_failed_generation_is_not_gone_back_to(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    deploy(head, site.release(*pair))
    sick = site.release(replace(pair[0], version="2.0", temper="error", timeout=0.3), pair[1])
    with pytest.raises(DeployFailedError):
        deploy(head, sick)
    before = pids(head)
    with pytest.raises(NotGoodError) as caught:
        rollback(head, 2)
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f"sealift deploy --release {sick}")
    assert pids(head) == before
    (head.layout.records_dir / "2.json").unlink()
    with pytest.raises(DeployFailedError):
        rollback(head, 2)


def test_a_first_release_that_fails_leaves_nothing(site: Site) -> None:
    (port,) = free_ports(1)
    head = site.head()
    with pytest.raises(DeployFailedError) as caught:
        deploy(head, site.release(Tiny("alpha", port, temper="error", timeout=0.3)))
    assert "everything is stopped" in caught.value.reason
    assert head.profile.current() is None
    assert not head.services.alive()
    assert status(head).services == ()
    deploy(head, site.release(Tiny("alpha", port)))
    assert head.profile.current() == 2


def test_neither_new_nor_old_is_well(site: Site) -> None:
    """The old release has lost what it needs meanwhile: nobody may call that rolled back."""
    (port,) = free_ports(1)
    head = site.head()
    first = site.release(Tiny("alpha", port, timeout=0.4))
    deploy(head, first)
    spoil(head.load(first).services["alpha"].path / "serve.py", "raise SystemExit(1)\n")
    with pytest.raises(StrandedError) as caught:
        deploy(head, site.release(Tiny("alpha", port, "2.0", temper="error", timeout=0.4)))
    assert caught.value.exit_code == 4
    assert head.profile.current() == 1


def test_a_current_release_that_is_sick_has_nothing_to_go_back_to(site: Site) -> None:
    (port,) = free_ports(1)
    head = site.head()
    release = site.release(Tiny("alpha", port, timeout=0.4))
    deploy(head, release)
    os.kill(pids(head)["alpha"] or 0, signal.SIGSTOP)
    with pytest.raises(StrandedError) as caught:
        deploy(head, release)
    assert "nothing to go back to" in caught.value.reason
    assert head.profile.current() == 1


def test_a_port_of_somebody_else(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    with (
        socket.create_server(("127.0.0.1", pair[0].port)),
        pytest.raises(PortTakenError) as caught,
    ):
        deploy(head, site.release(*pair))
    assert f"port {pair[0].port}: pid {os.getpid()} " in str(caught.value.got)
    assert command(os.getpid()) in str(caught.value.got)
    assert head.profile.current() is None
    assert history(head) == ()


def test_services_may_swap_their_ports(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = pair
    head = site.head()
    deploy(head, site.release(alpha, beta))
    swapped = replace(alpha, port=beta.port), replace(beta, port=alpha.port)
    deploy(head, site.release(*swapped))
    assert fetch(f"http://127.0.0.1:{alpha.port}/").startswith("beta ")


def test_a_port_offset_moves_every_service(site: Site) -> None:
    (port,) = free_ports(1)
    head = site.head(replace(QUICK, port_offset=1))
    deploy(head, site.release(Tiny("alpha", port - 1)))
    assert fetch(f"http://127.0.0.1:{port}/").startswith("alpha ")


def test_services_come_and_go(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    deploy(head, site.release(pair[0]))
    outcome = deploy(head, site.release(pair[1]))
    assert (outcome.changes.started, outcome.changes.stopped) == (("beta",), ("alpha",))
    assert set(pids(head)) == {"beta"}
    assert diff(head, 1, 2).services == Parts(added=("beta",), removed=("alpha",))


def test_an_incomplete_closure(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    release = site.release(*pair)
    part = head.load(release).services["beta"].path
    part.rename(part.with_name("gone"))
    with pytest.raises(ClosureIncompleteError) as caught:
        deploy(head, release)
    assert "beta" in str(caught.value.got)
    assert history(head) == ()


def test_a_damaged_closure(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    """What does not run yet is read before it does; going back to it as well."""
    head = site.head()
    first, second = site.release(*pair), site.release(pair[0].at("2.0"), pair[1])
    deploy(head, first)
    part = head.load(second).services["alpha"].path
    text = (part / "serve.py").read_text()
    spoil(part / "serve.py", text + "# a flipped bit")
    before = pids(head)
    with pytest.raises(DamagedPathError) as caught:
        deploy(head, second)
    assert (caught.value.where, caught.value.exit_code) == (str(part), 3)
    assert "sealift store verify --repair" in str(caught.value.hint)
    assert (pids(head), [each.number for each in history(head)]) == (before, [1])

    third = site.release(replace(pair[0], version="3.0"), pair[1])
    deploy(head, third)
    old = head.load(first).services["alpha"].path
    spoil(old / "serve.py", text + "# another")
    with pytest.raises(DamagedPathError) as caught:
        rollback(head)
    assert caught.value.where == str(old)
    assert version(pair[0]) == "3.0"


def test_what_runs_is_not_read_again(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    """A rollback away from a damaged release is as quick as ever, and not refused."""
    head = site.head()
    first = site.release(*pair)
    deploy(head, first)
    shared = head.load(first).services["beta"].path
    spoil(shared / "version", "damaged")
    assert deploy(head, site.release(pair[0].at("2.0"), pair[1])).generation == 2


def test_what_is_no_release(site: Site) -> None:
    with site.store.temporary() as folder:
        (folder / "x").write_text("x")
        path = site.store.real(site.store.add(folder / "x", "x", durable=False).path)
    with pytest.raises(BadReleaseError):
        deploy(site.head(), path)


def test_a_second_deploy_is_told_who_is_at_work(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head, release = site.head(), site.release(*pair)
    told: list[HeadLockedError] = []

    def second(event: Event) -> None:
        if event.what is What.SWITCHED:
            with pytest.raises(HeadLockedError) as caught:
                deploy(site.head(), release, by="ben")
            told.append(caught.value)
            holder = status(site.head()).holder
            assert holder is not None
            assert holder.who == "anna"

    assert deploy(head, release, by="anna", observe=second).generation == 1
    assert re.match(rf"anna, pid {os.getpid()}, deploy since 20", str(told[0].got))
    assert history(head)[0].by == "anna"


def test_ctrl_c_goes_back(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    deploy(head, site.release(*pair))

    def interrupt(event: Event) -> None:
        if event.what is What.RESTARTED:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy(head, site.release(pair[0].at("2.0"), pair[1]), observe=interrupt)
    assert head.profile.current() == 1
    assert head.journal.read() is None
    assert version(pair[0]) == "1.0"


def test_an_observer_that_breaks_is_silenced(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    """`sealift deploy 2>&1 | head -1`: nobody reads on, and the deploy goes on."""
    head, told = site.head(), list[What]()

    def tell(event: Event) -> None:
        told.append(event.what)
        raise BrokenPipeError

    deploy(head, site.release(*pair), observe=tell)
    assert told == [What.PREPARED]
    assert [each.status for each in history(head)] == [Status.GOOD]
    assert status(head).healthy


def test_repair_of_a_whole_head_does_nothing(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    deploy(head, site.release(*pair))
    assert repair(head) is None
