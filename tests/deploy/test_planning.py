"""What a deploy would do to services, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy.planning import Step, batches, rotated, steps
from deploy.release import (
    Frontend,
    Health,
    Probe,
    Release,
    Route,
    Service,
    Systemd,
    Unit,
    WebServer,
)


def service(name: str, version: str = "1", port: int = 5000, env: str = "") -> Service:
    path = Path(f"/s/{version}-{name}")
    return Service(
        name=name,
        path=path,
        port=port,
        cwd=path,
        command=(f"{path}/bin/run",),
        health=Health(Probe.HTTP, "/health", 5.0),
        state=(),
        env={"E": env} if env else {},
        secrets=(),
        routes=(Route(f"/{name}/"),),
    )


def release(*services: Service, web: str = "1", pages: str = "1") -> Release:
    nginx = Path(f"/s/{web}-nginx")
    return Release(
        Path("/s/release"),
        {each.name: each for each in services},
        {"pages": Frontend("pages", Path(f"/s/{pages}-pages"), "web", (Route("/"),))},
        WebServer(nginx, nginx / "nginx"),
    )


OLD = release(service("api"), service("jobs", port=5001))


def test_nothing_changed_is_nothing_done() -> None:
    assert steps(OLD, OLD) == ()


def test_everything_is_new_on_a_fresh_head() -> None:
    found = {(each.action, each.service) for each in steps(None, OLD)}
    assert found == {("start", "api"), ("start", "jobs"), ("start", "nginx"), ("show", "pages")}


def test_a_changed_line_restarts_one_service() -> None:
    new = release(service("api", "2"), service("jobs", port=5001))
    assert steps(OLD, new) == (Step("restart", "api", "its program changed"),)


def test_a_changed_setting_is_named() -> None:
    new = release(service("api", env="x"), service("jobs", port=5001))
    assert steps(OLD, new) == (Step("restart", "api", "its settings changed: env"),)


def test_a_changed_route_reloads_the_web_server() -> None:
    moved = replace(service("api"), routes=(Route("/other/"),))
    found = steps(OLD, release(moved, service("jobs", port=5001)))
    assert Step("reload", "nginx", "its locations changed") in found


def test_pages_are_shown_without_a_restart() -> None:
    new = release(service("api"), service("jobs", port=5001), pages="2")
    assert steps(OLD, new) == (Step("show", "pages", "its pages changed"),)


def test_what_goes_and_comes() -> None:
    found = steps(OLD, release(service("api"), service("more", port=5002), web="2"))
    assert Step("stop", "jobs", "the release has it no more") in found
    assert Step("start", "more", "it is new") in found
    assert Step("restart", "nginx", "its program changed") in found


def test_a_head_with_roles_does_its_part() -> None:
    found = steps(None, OLD, ("jobs",))
    assert {each.service for each in found} == {"jobs", "pages"}


def test_what_came_anew_may_restart_who_uses_it() -> None:
    new = release(service("api", "2"), service("jobs", port=5001))
    done = steps(OLD, new)
    users = {"api": ("KEY",), "jobs": ("KEY", "OTHER"), "nginx": ("TLS_CERT",)}
    assert rotated(done, users, ("KEY",)) == (
        Step("restart", "jobs", "if it is another value: KEY was sealed anew"),
    )
    assert rotated(done, users, ()) == ()
    assert [each.action for each in rotated(done, users, ("TLS_CERT",))] == ["reload"]


def managed(instance: str, *, routes: tuple[Route, ...] = ()) -> Service:
    said = Unit("sealift-api", socket=True, concurrent=True, instance=instance, listens="text")
    return replace(service("api"), unit=said, routes=routes)


def test_another_text_of_a_unit_restarts_its_service_as_the_head_does() -> None:
    old, new = (release(managed(f"{'0' * 32}-{each * 8}")) for each in "12")
    assert steps(old, new) == (Step("restart", "api", "its unit changed"),)


def test_what_no_unit_says_restarts_nothing() -> None:
    old, new = (release(managed("i", routes=(Route(each),))) for each in ("/a/", "/b/"))
    assert [(each.action, each.service) for each in steps(old, new)] == [("reload", "nginx")]


def test_another_text_of_the_web_servers_unit_restarts_it() -> None:
    old, new = (
        replace(OLD, systemd=Systemd("sealift-nginx", 80, None, None, None, "r", instance=each))
        for each in "12"
    )
    assert steps(old, new) == (Step("restart", "nginx", "its unit changed"),)


def test_the_canary_is_alone_and_first() -> None:
    heads = ["head1", "head2", "head3", "head4"]
    assert batches(heads, "head3", 2) == (("head3",), ("head1", "head2"), ("head4",))
    assert batches(heads, None, 8) == (("head1",), ("head2", "head3", "head4"))
    assert batches(["head1"], None, 8) == (("head1",),)
    assert batches([], None, 8) == ()
