"""release.json: what is read, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import BadReleaseError
from deploy.release import Certificate, Probe, Systemd, Unit
from deploy.release_file import load, parse

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD: dict[str, Any] = {
    "format": 1,
    "services": {
        "api": {
            "path": "/store/a-api",
            "port": 5010,
            "cwd": "/store/a-api",
            "command": ["/store/p/bin/python3", "serve", "{port}"],
            "health": {"probe": "http", "path": "/api/health", "timeout": 30},
            "state": ["logs", "data/app.db"],
            "env": {"A": "b"},
            "secrets": ["JWT_SECRET_KEY"],
            "routes": [
                {
                    "path": "/api/",
                    "strip": False,
                    "upgrade": False,
                    "timeout": 60,
                    "body_limit": "16m",
                }
            ],
        }
    },
    "frontends": {"home": {"path": "/store/h-home", "root": "web", "routes": [{"path": "/"}]}},
    "nginx": {"path": "/store/n-nginx", "executable": "/store/n-nginx/usr/sbin/nginx"},
    "tools": {"supervisord": {"path": "/store/s", "executable": "/store/s/bin/supervisord"}},
}


def test_a_good_release_is_read() -> None:
    release = parse(json.dumps(GOOD), Path("/store/r-release"))
    api = release.services["api"]
    assert (api.port, api.health.probe, api.health.timeout) == (5010, Probe.HTTP, 30.0)
    assert api.routes[0].path == "/api/"
    assert release.frontends["home"].root == "web"
    assert release.web is not None
    assert release.tools["supervisord"].executable == Path("/store/s/bin/supervisord")
    assert release.site_conf == Path("/store/r-release/nginx/site.conf")


def spoil(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


API = ("services", "api")
TOOL = ("tools", "supervisord")


@pytest.mark.parametrize(
    "change",
    [
        spoil("format", value=2),
        spoil("surprise", value=1),
        spoil("tools", value=[]),
        spoil(*TOOL, value="x"),
        spoil(*TOOL, "executable", value="/usr/bin/supervisord"),
        spoil(*TOOL, "executable", value="/store/s/../bin/supervisord"),
        spoil(*TOOL, "path", value="store/s"),
        spoil(*TOOL, "version", value="1"),
        spoil("services", value=[]),
        spoil(*API, value="x"),
        spoil(*API, "port", value="5010"),
        spoil(*API, "port", value=True),
        spoil(*API, "port", value=0),
        spoil(*API, "port", value=65536),
        spoil(*API, "command", value=[]),
        spoil(*API, "command", value=["python"]),
        spoil(*API, "command", value="/bin/sh -c x"),
        spoil(*API, "cwd", value="relative"),
        spoil(*API, "cwd", value="/a/../b"),
        spoil(*API, "path", value="/a\nb"),
        spoil(*API, "health", value=None),
        spoil(*API, "health", "probe", value="ping"),
        spoil(*API, "health", "path", value="no-slash"),
        spoil(*API, "health", "path", value="/a b"),
        spoil(*API, "health", "timeout", value=-1),
        spoil(*API, "health", "timeout", value=float("nan")),
        spoil(*API, "state", value=["/etc"]),
        spoil(*API, "state", value=["a/../../b"]),
        spoil(*API, "state", value=[""]),
        spoil(*API, "env", value={"A": 1}),
        spoil(*API, "secrets", value=["../x"]),
        spoil(*API, "secrets", value=[".key"]),
        spoil(*API, "routes", value=[{"path": "api"}]),
        spoil(*API, "routes", value=[{"path": "/", "colour": "red"}]),
        spoil("services", "../x", value=GOOD["services"]["api"]),
        spoil("services", "a:b", value=GOOD["services"]["api"]),
        spoil("services", "nginx", value=GOOD["services"]["api"]),
        spoil("services", "twin", value=GOOD["services"]["api"]),
        spoil("frontends", "home", "root", value="../.."),
        spoil("nginx", value=None),
        spoil("nginx", "executable", value="nginx"),
    ],
)
def test_a_bad_release_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    document = copy.deepcopy(GOOD)
    change(document)
    with pytest.raises(BadReleaseError) as caught:
        parse(json.dumps(document), Path("/store/r-release"))
    assert str(caught.value.where).startswith("/store/r-release/release.json")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": 1}'])
def test_what_is_no_release(text: str, tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text(text)
    with pytest.raises(BadReleaseError):
        load(tmp_path)


def test_a_store_path_without_release(tmp_path: Path) -> None:
    with pytest.raises(BadReleaseError) as caught:
        load(tmp_path)
    assert "sealift build release" in str(caught.value.hint)


PAIR = {"certificate": "CERT", "key": "KEY", "subject": "us"}


def with_certificates(*pairs: object) -> str:
    document = copy.deepcopy(GOOD)
    api = document["services"]["api"]
    for number, pair in enumerate(pairs):
        more = {"path": f"/store/{number}", "port": 6000 + number, "certificates": [pair]}
        document["services"][f"more-{number}"] = {**api, **more, "routes": []}
    return json.dumps(document)


def test_certificates_are_read() -> None:
    text = with_certificates(PAIR, PAIR, {"certificate": "CERT"})
    services = parse(text, Path("/store/r")).services
    assert services["more-0"].certificates == (Certificate("CERT", "KEY", "us"),)
    assert services["more-2"].certificates == (Certificate("CERT"),)
    assert services["api"].certificates == ()


@pytest.mark.parametrize(
    "other",
    [{**PAIR, "key": "OTHER"}, {**PAIR, "certificate": "OTHER"}, {**PAIR, "subject": "them"}],
)
def test_two_pairs_by_one_name_are_refused(other: dict[str, str]) -> None:
    with pytest.raises(BadReleaseError, match="in different pairs"):
        parse(with_certificates(PAIR, other), Path("/store/r"))


@pytest.mark.parametrize(
    "pair",
    [{}, {"certificate": "../x"}, {"certificate": "A", "key": "a/b"}, {**PAIR, "days": 1}, 1],
)
def test_a_certificate_that_cannot_be_used_is_refused(pair: object) -> None:
    with pytest.raises(BadReleaseError):
        parse(with_certificates(pair), Path("/store/r"))


UNIT = {"user": "sealift-api", "socket": True, "concurrent": True}
SYSTEMD = {
    "user_nginx": "sealift-nginx",
    "http": 80,
    "https": 443,
    "certificate": "TLS_CERT",
    "key": "TLS_KEY",
    "revision": "0" * 32,
}


def managed(unit: object = UNIT, systemd: object = SYSTEMD) -> str:
    document = copy.deepcopy(GOOD)
    document["services"]["api"]["unit"] = unit
    document["systemd"] = systemd
    return json.dumps(document)


def test_how_systemd_runs_it_is_read() -> None:
    release = parse(managed(), Path("/store/r"))
    assert release.services["api"].unit == Unit("sealift-api", socket=True, concurrent=True)
    assert release.systemd == Systemd("sealift-nginx", 80, 443, "TLS_CERT", "TLS_KEY", "0" * 32)
    assert release.nginx_conf == Path("/store/r/nginx/nginx.conf")
    assert release.units_dir == Path("/store/r/systemd")


def test_a_web_server_without_tls_has_no_certificate() -> None:
    plain = {**SYSTEMD, "https": None, "certificate": None, "key": None}
    release = parse(managed(systemd=plain), Path("/store/r"))
    assert release.systemd is not None
    assert (release.systemd.https, release.systemd.certificate) == (None, None)


def test_a_release_that_knows_nothing_of_systemd() -> None:
    release = parse(managed(None, None), Path("/store/r"))
    assert release.services["api"].unit is None
    assert release.systemd is None


@pytest.mark.parametrize(
    "unit",
    [
        {**UNIT, "user": "root"},
        {**UNIT, "user": "sealift-"},
        {**UNIT, "user": "sealift-a b"},
        {**UNIT, "user": "sealift-" + "a" * 24},
        {**UNIT, "user": "sealift-nginx"},
        {**UNIT, "socket": False},
        {**UNIT, "socket": "yes"},
        {**UNIT, "more": 1},
        {},
        [],
    ],
)
def test_a_unit_that_cannot_be_used_is_refused(unit: object) -> None:
    with pytest.raises(BadReleaseError):
        parse(managed(unit), Path("/store/r"))


@pytest.mark.parametrize(
    "change",
    [
        {"user_nginx": "root"},
        {"user_nginx": "sealift-api"},
        {"http": 0},
        {"http": None},
        {"https": 70000},
        {"https": None},
        {"certificate": None},
        {"key": None},
        {"certificate": None, "key": None},
        {"key": "../KEY"},
        {"revision": "x"},
        {"revision": '0";}'},
        {"more": 1},
    ],
)
def test_what_is_said_of_the_web_server_must_fit(change: dict[str, object]) -> None:
    with pytest.raises(BadReleaseError):
        parse(managed(systemd={**SYSTEMD, **change}), Path("/store/r"))
