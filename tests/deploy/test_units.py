"""Which units a head links for which part of a release; what it keeps of its inventory."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from deploy import keeping
from deploy.errors import BadReleaseError, UnknownServiceError
from deploy.layout import Layout
from deploy.orders import HeadSettings
from deploy.ownership import check_room
from deploy.profile import Profile
from deploy.release import Health, Probe, Release, Service, Systemd, WebServer
from deploy.release import Unit as Said
from deploy.units import TARGET, chosen, files, parse, probe, units
from sealift import site as site_module
from store.database import DiskFullError

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
SOCKET = "[Socket]\nListenStream=127.0.0.1:5101\nService={next}\n"


def service(name: str, *, socket: bool = True, concurrent: bool = True) -> Service:
    path = Path(f"/s/{HASH}-{name}")
    return Service(
        name=name,
        path=path,
        port=5101,
        cwd=path,
        command=("/bin/true",),
        health=Health(Probe.HTTP, "/", 1.0),
        state=(),
        env={},
        secrets=(),
        routes=(),
        unit=Said(f"sealift-{name}", socket, concurrent),
    )


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release of two services and the web server, with the texts of its units."""
    folder = tmp_path / "release" / "systemd"
    folder.mkdir(parents=True)
    for name in ("alpha", "nginx"):
        (folder / f"sealift-{name}.socket").write_text(SOCKET.format(next="x"))
        (folder / f"sealift-{name}-probe@.socket").write_text("probe")
    for name in ("alpha", "beta", "nginx"):
        (folder / f"sealift-{name}@.service").write_text(f"text of {name}")
    (folder / TARGET).write_text("target")
    (folder / "sealift-boot.service").write_text("boot")
    (folder / "sysusers.conf").write_text("users")
    every = {"alpha": service("alpha"), "beta": service("beta", socket=False, concurrent=False)}
    web = WebServer(Path(f"/s/{HASH}-nginx"), Path(f"/s/{HASH}-nginx/usr/sbin/nginx"))
    said = Systemd("sealift-nginx", 80, 443, "TLS_CERT", "TLS_KEY", "0" * 32)
    made = Release(folder.parent, MappingProxyType(every), MappingProxyType({}), web)
    return replace(made, systemd=said)


def test_every_service_is_an_instance_of_its_path(release: Release) -> None:
    found = units(release)
    assert set(found) == {"alpha", "beta", "nginx"}
    assert found["alpha"].service == f"sealift-alpha@{HASH}.service"
    assert parse(found["alpha"].service) == ("alpha", HASH)
    assert str(found["alpha"].address) == f"/run/sealift/probe/alpha-{HASH}.sock"
    assert found["beta"].sockets == ()
    assert found["beta"].address is None


def test_an_instance_is_called_what_the_release_says(release: Release) -> None:
    mine = f"{HASH}-0a1b2c3d"
    alpha = release.services["alpha"]
    assert alpha.unit is not None
    said = replace(alpha, unit=replace(alpha.unit, instance=mine))
    wanted = replace(release, services={**release.services, "alpha": said})
    found = units(wanted)["alpha"]
    assert parse(found.service) == ("alpha", mine)
    assert probe(found.service) == found.probe
    assert str(found.address) == f"/run/sealift/probe/{mine}.sock"
    # By its own name it stays what it was begun as, whatever the template says later.
    assert files(wanted, units(wanted))[found.service].name == "sealift-alpha@.service"


@pytest.mark.parametrize(
    "name", ["sealift-alpha.socket", "sealift.target", "sealift-boot.service", "alpha@x.service"]
)
def test_what_is_no_instance_is_none(name: str) -> None:
    assert parse(name) is None


def test_which_instance_comes_next_is_no_other_socket(release: Release) -> None:
    before = units(release)["alpha"].socket_digest
    file = release.units_dir / "sealift-alpha.socket"
    file.write_text(SOCKET.format(next="another"))
    assert units(release)["alpha"].socket_digest == before
    file.write_text(SOCKET.format(next="x").replace("5101", "5199"))
    assert units(release)["alpha"].socket_digest != before


def test_a_head_links_what_it_runs_and_nothing_else(release: Release) -> None:
    part = chosen(release, ["beta"])
    assert set(files(part, units(part))) == {TARGET, "sealift-beta@.service"}
    assert set(files(release, units(release))) == {
        TARGET,
        "sealift-beta@.service",
        *(
            f"sealift-{name}{end}"
            for name in ("alpha", "nginx")
            for end in (".socket", "@.service")
        ),
        *(f"sealift-{name}-probe@.socket" for name in ("alpha", "nginx")),
    }


def test_a_part_without_the_web_server_needs_no_certificate(release: Release) -> None:
    part = chosen(release, ["alpha", "of another release"])
    assert set(part.services) == {"alpha"}
    assert part.web is None
    assert part.systemd is None
    assert chosen(release, None) is release


def test_a_head_of_which_nothing_is_left_is_refused(release: Release) -> None:
    with pytest.raises(UnknownServiceError) as caught:
        chosen(release, ["gamma"])
    assert "alpha" in str(caught.value.got)


def test_a_release_for_other_heads_is_refused(release: Release) -> None:
    without = {name: replace(each, unit=None) for name, each in release.services.items()}
    with pytest.raises(BadReleaseError):
        units(replace(release, services=without))
    (release.units_dir / "sealift-beta@.service").unlink()
    with pytest.raises(BadReleaseError) as caught:
        units(release)
    assert "sealift-beta@.service" in caught.value.reason


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "var", tmp_path / "state")
    for folder in (made.head_dir, made.records_dir, made.profiles_dir):
        folder.mkdir(parents=True)
    return made


def test_settings_hold_when_the_change_is_done_and_not_before(layout: Layout) -> None:
    first, second = HeadSettings("head1", keep=3), HeadSettings("head1", ("beta",))
    keeping.keep(layout, first)
    keeping.settle(layout)
    keeping.settle(layout)
    keeping.keep(layout, second)
    assert keeping.load(layout) == second
    assert keeping.drop(layout) is True
    assert keeping.load(layout) == first
    assert keeping.drop(layout) is False


def test_the_same_settings_again_are_nothing_to_go_back_from(layout: Layout) -> None:
    settings = HeadSettings("head1", keep=3)
    keeping.keep(layout, settings)
    keeping.settle(layout)
    keeping.keep(layout, settings)
    assert keeping.drop(layout) is False
    assert json.loads(layout.head_settings.read_text())["keep"] == 3


def test_a_head_without_settings_has_a_name(layout: Layout) -> None:
    assert keeping.load(layout).name


def test_the_profile_knows_what_it_left(layout: Layout) -> None:
    profile = Profile(layout)
    for number in (1, 2):
        profile.add(number, Path(f"/s/{number}"), "anna")
    profile.switch(1)
    assert profile.left() is None
    profile.switch(2)
    assert profile.left() == 1
    profile.switch(2)
    assert profile.left() == 1, "the same again is no switch"
    profile.switch(1)
    assert profile.left() == 2
    assert [each.number for each in profile.generations()] == [1, 2]


def test_a_change_without_room_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room(layout.var_dir)
    real = os.statvfs(layout.var_dir)

    class Full:
        f_bavail, f_frsize, f_files, f_favail = 10, 4096, real.f_files, real.f_favail

    monkeypatch.setattr(os, "statvfs", lambda _: Full())
    with pytest.raises(DiskFullError):
        check_room(layout.var_dir)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"/o/store/{HASH}-agent-project/lib/sealift/site.py", "/o/store"),
        ("/srv/sealift/sealift/site.py", None),
        ("/o/store/agent/lib/sealift/site.py", None),
    ],
)
def test_a_program_knows_the_store_that_it_lies_in(
    monkeypatch: pytest.MonkeyPatch, file: str, expected: str | None
) -> None:
    monkeypatch.setattr(site_module, "__file__", file)
    found = site_module.own_store()
    assert (None if found is None else str(found)) == expected
