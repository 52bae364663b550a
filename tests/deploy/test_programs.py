"""What a head fills in: ports of its own and of others, state, the folder of secrets."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from deploy.errors import BadReleaseError
from deploy.layout import Layout
from deploy.programs import programs
from deploy.release import Health, Probe, Release, Service, WebServer
from deploy.settings import Settings

if TYPE_CHECKING:
    from deploy.services import Program

LAYOUT = Layout(Path("/var/x"), Path("/state"))
SETTINGS = Settings(port=8443, port_offset=100)
WEB = WebServer(Path("/store/nginx"), Path("/store/nginx/nginx"))


def service(name: str, port: int, *words: str, env: dict[str, str] | None = None) -> Service:
    place = Path("/store") / name
    health = Health(Probe.TCP, "/", 1.0)
    given = MappingProxyType(env or {})
    return Service(name, place, port, place, ("/bin/x", *words), health, (), given, (), ())


def filled(*services: Service, secrets: str = "", web: bool = True) -> dict[str, Program]:
    release = Release(
        Path("/store/r"), {each.name: each for each in services}, {}, WEB if web else None
    )
    folders = {services[0].name: Path(secrets)} if secrets else {}
    return {each.name: each for each in programs(release, LAYOUT, SETTINGS, folders)}


def test_ports_of_others_are_those_of_this_head() -> None:
    words = ("{port}", "http://127.0.0.1:{port:idp}/", "{port:nginx}")
    made = filled(service("api", 5010, *words), service("idp", 7000))
    assert made["api"].command == ("/bin/x", "5110", "http://127.0.0.1:7100/", "8443")


def test_the_folder_of_secrets_can_be_named() -> None:
    one = service("idp", 7000, "--key={credentials}/KEY", env={"AT": "{credentials}"})
    made = filled(one, secrets="/run/idp/1")["idp"]
    assert made.command[1] == "--key=/run/idp/1/KEY"
    assert made.environment["AT"] == "/run/idp/1"
    assert made.environment["CREDENTIALS_DIRECTORY"] == "/run/idp/1"


@pytest.mark.parametrize("where", ["command", "env"])
def test_the_port_of_nobody_is_refused(where: str) -> None:
    word = "{port:idp}"
    one = (
        service("api", 5010, word) if where == "command" else service("api", 5010, env={"A": word})
    )
    with pytest.raises(BadReleaseError, match=r"api asks for \{port:idp\}") as caught:
        filled(one)
    assert caught.value.expected == "{port:api}, {port:nginx}"


def test_without_a_web_server_there_is_no_port_of_it() -> None:
    with pytest.raises(BadReleaseError, match="port:nginx"):
        filled(service("api", 5010, "{port:nginx}"), web=False)


def test_other_braces_stay() -> None:
    said = '{"port": 1} {portal} {port'
    assert filled(service("api", 5010, said))["api"].command[1] == said
