"""Who is sent which secrets: those of its own services, sealed for its pinned key."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders.settings import Settings, load_settings
from deploy import inventory
from deploy.errors import SecretUnreadableError
from deploy.release import Health, Probe, Release, Service, Systemd, WebServer
from deploy.vault import NoRecipientError
from sealift import keyring
from tests.deploy.age_keys import Pair, ssh_key

SITE = """\
recipes: recipes
hosts:
  head1: {address: 10.9.8.1}
  head2: {address: 10.9.8.2, port: 2222, roles: [api]}
  node1: {address: 10.9.8.3, roles: [compute]}
  local: {}
roles:
  api: [api]
  compute: []
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: ssh_key(folder, name) for name in ("head1", "head2", "anew")}


@pytest.fixture
def settings(tmp_path: Path, keys: dict[str, Pair]) -> Settings:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "sealift.yaml").write_text(SITE)
    pin(tmp_path, keys["head1"], keys["head2"])
    return load_settings(file=tmp_path / "sealift.yaml")


def pin(folder: Path, one: Pair, two: Pair | None) -> None:
    lines = [f"10.9.8.1 {one.public}"] + ([f"[10.9.8.2]:2222 {two.public}"] if two else [])
    (folder / "known_hosts").write_text("\n".join(lines) + "\n")


def service(name: str, *secrets: str) -> Service:
    health = Health(Probe.TCP, "/", 1.0)
    place = Path("/store") / name
    return Service(name, place, 1, place, ("/bin/x",), health, (), {}, secrets, ())


API, PORTAL = service("api", "DB"), service("portal", "JWT", "DB")
RELEASE = Release(
    Path("/store/release"),
    {"api": API, "portal": PORTAL},
    {},
    WebServer(Path("/store/nginx"), Path("/store/nginx/nginx")),
    systemd=Systemd("sealift-nginx", 80, 443, "TLS_CERT", "TLS_KEY", "0" * 32),
)


def sent(settings: Settings, *names: str) -> dict[str, set[str]]:
    hosts = [inventory.load(settings).host(name) for name in names or ("head1", "head2")]
    return {name: set(of) for name, of in keyring.sealed(settings, hosts, RELEASE).items()}


def put(settings: Settings, *names: str) -> None:
    for name in names:
        keyring.vault(settings).put(name, b"x", keyring.recipients(settings))


def test_those_read_that_run_services_and_are_reached_by_ssh(
    settings: Settings, keys: dict[str, Pair]
) -> None:
    found = keyring.recipients(settings).hosts
    assert found == {name: keys[name].public for name in ("head1", "head2")}


def test_a_head_is_sent_what_its_services_need(settings: Settings) -> None:
    put(settings, "DB", "JWT", "TLS_CERT", "TLS_KEY", "NOBODYS")
    assert sent(settings) == {"head1": {"DB", "JWT", "TLS_CERT", "TLS_KEY"}, "head2": {"DB"}}
    assert sent(settings, "head2") == {"head2": {"DB"}}


def test_what_the_vault_has_not_is_for_the_head_to_miss(settings: Settings) -> None:
    assert sent(settings) == {}
    put(settings, "DB")
    assert sent(settings) == {"head1": {"DB"}, "head2": {"DB"}}


def test_a_head_with_another_key_is_refused_before_it_is_asked(
    settings: Settings, keys: dict[str, Pair]
) -> None:
    put(settings, "DB")
    pin(settings.root, keys["head1"], keys["anew"])
    with pytest.raises(SecretUnreadableError, match="head2"):
        sent(settings)
    assert sent(settings, "head1") == {"head1": {"DB"}}


def test_a_head_without_a_pinned_key_stops_sealing_and_is_sent_nothing(
    settings: Settings, keys: dict[str, Pair]
) -> None:
    put(settings, "DB")
    pin(settings.root, keys["head1"], None)
    assert sent(settings) == {"head1": {"DB"}}
    with pytest.raises(NoRecipientError, match="head2"):
        put(settings, "DB")


def test_a_host_of_the_cluster_reads_what_its_phases_need(
    settings: Settings, keys: dict[str, Pair]
) -> None:
    """Also one on which no service runs."""
    (settings.root / "sealift.yaml").write_text(f"{SITE}cluster: {{hosts: 'head1,node1'}}\n")
    with (settings.root / "known_hosts").open("a") as pins:
        pins.write(f"10.9.8.3 {keys['anew'].public}\n")
    again = load_settings(file=settings.file)
    assert set(keyring.recipients(again).hosts) == {"head1", "head2", "node1"}
    put(again, "MUNGE_KEY")
    wants = {"node1": ("MUNGE_KEY", "LACKING"), "head2": ()}
    found = keyring.sealed_names(again, wants)
    assert {name: set(of) for name, of in found.items()} == {"node1": {"MUNGE_KEY"}, "head2": set()}
