"""`sealift push-cache`, and caches as the settings name them: keys, hosts and their own keys."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from builders.cache_record import parse
from builders.cache_urls import CacheUrl, Patience, opened
from builders.plan import arrange
from builders.sandbox import SandboxMode
from builders.settings import Settings, Substituter, load_settings
from deploy.ssh_errors import HostKeyError
from sealift.caches import caches, dial
from sealift.commands.push_cache import push_cache
from store.cache_keys import SecretKey
from store.errors import InputError
from store.local import LocalStore
from tests.builders.workbench import Bench, text
from tests.deploy.sshd import USER, Server, needs_sshd, public, serve

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from builders.plan import Plan

STEPS = [text("part", "part"), text("whole", "whole", "part"), text("unbuilt", "never")]


@dataclass(frozen=True)
class Site:
    """A site that plans our steps, whatever its recipes are."""

    settings: Settings
    store: LocalStore

    def plan(self, names: Collection[str], *, keep_going: bool = False) -> Plan:
        del keep_going
        return arrange(STEPS, names or [step.key for step in STEPS])


@dataclass(frozen=True)
class Location:
    """Where that site is."""

    site: Site

    @contextmanager
    def open(self) -> Iterator[Site]:
        yield self.site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path.resolve()
    (root / "sealift.yaml").write_text("store_dir: store\nsandbox: off\n".replace("off", "'off'"))
    settings = load_settings(file=root / "sealift.yaml")
    with LocalStore.open(settings.store_dir) as store:
        Bench(store, mode=SandboxMode.OFF).build(STEPS, "whole")
        yield Site(settings, store)


def run(site: Site, *words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(push_cache, words, obj=Location(site), standalone_mode=False)
    if isinstance(done.exception, InputError):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_key_is_made_and_what_is_there_is_signed(site: Site, tmp_path: Path) -> None:
    key, shared = tmp_path / "key", tmp_path.resolve() / "shared"
    words = (f"file://{shared}", "--sign-key", str(key))
    _, out, _ = run(site, *words, "--new-key", "cache-1", "--json")
    said = json.loads(out)
    assert key.stat().st_mode & 0o777 == 0o600
    assert said["public_key"] == str(SecretKey.load(key).public)
    assert said["public_key"].startswith("cache-1:")
    assert (said["paths"], said["added"], said["told"], said["not_built"]) == (2, 2, 2, 1)
    assert len(list(shared.glob("realisations/*.json"))) == 2
    _, out, err = run(site, *words)
    assert out == ""
    assert "0 of 2 paths are new there" in err
    assert f"signed by {said['public_key']}" in err
    assert "1 steps were not built here" in err
    with pytest.raises(InputError, match="cannot be made"):
        run(site, *words, "--new-key", "cache-1")


def test_what_a_key_of_the_settings_said_is_said_too(site: Site, tmp_path: Path) -> None:
    """Of another key nothing is taken over, not even how long building took."""
    shared = tmp_path.resolve() / "shared"
    known, unknown = SecretKey.generate("known"), SecretKey.generate("unknown")
    named = (Substituter(f"file://{shared}", (str(known.public),)),)
    trusting = replace(site, settings=replace(site.settings, substituters=named))
    words = (f"file://{shared}", "part", "--sign-key", str(tmp_path / "key"))
    run(trusting, *words, "--new-key", "cache-1")
    [file] = shared.glob("realisations/*.json")
    ours = parse(file.read_text(), file.stem, str(site.store.store_dir))
    for key, expected in ((unknown, ours.seconds), (known, 7777.0)):
        file.write_text(str(replace(ours, seconds=7777.0, signatures=()).signed(key)))
        run(trusting, *words)
        there = parse(file.read_text(), file.stem, str(site.store.store_dir))
        assert there.seconds == expected
        assert there.signed_by([SecretKey.load(tmp_path / "key").public])


def test_only_what_is_named(site: Site, tmp_path: Path) -> None:
    _, _, err = run(site, f"file://{tmp_path.resolve() / 'shared'}", "part")
    assert "1 of 1 paths" in err
    assert "not signed" in err


def test_an_address_that_is_none(site: Site) -> None:
    with pytest.raises(InputError, match="no address of a cache"):
        run(site, "cache")


def test_what_the_settings_name(tmp_path: Path) -> None:
    root, key = tmp_path.resolve(), SecretKey.generate("k-1").public
    said = [{"url": "file:///srv/cache", "public_keys": [str(key)]}]
    (root / "sealift.yaml").write_text(json.dumps({"substituters": said}))
    [cache] = caches(load_settings(file=root / "sealift.yaml"))
    assert (str(cache.url), cache.keys) == ("file:///srv/cache", (key,))
    (root / "sealift.yaml").write_text("parallel: 2\n")
    assert caches(load_settings(file=root / "sealift.yaml")) == ()


@needs_sshd
class TestHosts:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        with serve(tmp_path / "sshd", Subsystem="sftp internal-sftp") as running:
            yield running

    def settings(self, root: Path, server: Server, known: str, hosts: str = "") -> Settings:
        (root / "known").write_text(known)
        (root / "ssh").write_text(f"Host *\n  IdentityFile {server.folder / 'user'}\n")
        said = f"known_hosts: known\nssh_config: ssh\n{hosts}"
        (root / "sealift.yaml").write_text(said)
        return load_settings(file=root / "sealift.yaml")

    def look(self, settings: Settings, url: str) -> bool:
        parsed = CacheUrl.parse(url)
        with opened(parsed, Patience(), dial=dial(settings)) as files:
            return files.exists("nix-cache-info")

    def test_any_host_with_a_pinned_key(self, tmp_path: Path, server: Server) -> None:
        root = tmp_path.resolve()
        (root / "nix-cache-info").write_text("")
        pinned = f"[127.0.0.1]:{server.port} {server.key}\n"
        url = f"sftp://{USER}@127.0.0.1:{server.port}{root}"
        assert self.look(self.settings(root, server, pinned), url)
        with pytest.raises(HostKeyError) as caught:
            self.look(self.settings(root, server, ""), url)
        assert str(root / "known") in str(caught.value.hint)
        other = f"[127.0.0.1]:{server.port} {public(server.folder / 'stranger.pub')}\n"
        with pytest.raises(HostKeyError) as caught:
            self.look(self.settings(root, server, other), url)
        assert "find out why" in str(caught.value.hint)

    def test_a_host_of_the_inventory(self, tmp_path: Path, server: Server) -> None:
        root = tmp_path.resolve()
        hosts = (
            f"hosts: {{cache1: {{address: 127.0.0.1, port: {server.port}, user: {USER},"
            f" key: {server.folder / 'user'}}}}}\n"
        )
        pinned = f"[127.0.0.1]:{server.port} {server.key}\n"
        assert not self.look(self.settings(root, server, pinned, hosts), f"sftp://cache1{root}")
        with pytest.raises(HostKeyError) as caught:
            self.look(self.settings(root, server, "", hosts), f"sftp://cache1{root}")
        assert caught.value.hint == "sealift trust cache1"
