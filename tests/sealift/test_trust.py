"""`sealift trust` and `sealift inventory` against real SSH servers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.deploy.sshd import USER, Server, needs_sshd, public, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sealift.conftest import Folder

pytestmark = needs_sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("head") / "sshd") as running:
        yield running


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("jump") / "sshd") as running:
        yield running


@pytest.fixture
def site(folder: Folder, server: Server, jump: Server) -> Folder:
    """A site whose head1 is reached through a gateway."""
    with (folder.root / "sealift.yaml").open("a") as file:
        file.write(
            "ssh_config: /dev/null\n"
            "hosts:\n"
            f"  head1: {{address: 127.0.0.1, port: {server.port}, user: {USER}, sudo: never,\n"
            f"          key: {server.folder}/user, gateway: jump}}\n"
            f"  jump: {{address: 127.0.0.1, port: {jump.port}, user: {USER},\n"
            f"         key: {jump.folder}/user, priority: 5, roles: [none]}}\n"
            "  local: {port: 8081}\n"
            "groups: {heads: head1}\n"
            "roles: {none: []}\n"
        )
    return folder


def known(site: Folder) -> list[str]:
    file = site.root / "known_hosts"
    return file.read_text().splitlines() if file.exists() else []


def line(server: Server) -> str:
    return f"[127.0.0.1]:{server.port} {server.key}"


class TestTrust:
    def test_a_host_and_the_gateway_before_it(
        self, site: Folder, server: Server, jump: Server
    ) -> None:
        done = site.run("trust", "@heads", "--yes")
        assert done.returncode == 0, done.stderr
        assert known(site) == [line(jump), line(server)]
        rows = [row.split() for row in done.stdout.splitlines()]
        assert rows == [
            ["jump", f"[127.0.0.1]:{jump.port}", "new", "ssh-ed25519", jump.key.fingerprint],
            ["head1", f"[127.0.0.1]:{server.port}", "new", "ssh-ed25519", server.key.fingerprint],
        ]
        again = site.run("trust", "@heads", "--json")
        assert again.returncode == 0, again.stderr
        records = [json.loads(row) for row in again.stdout.splitlines()]
        assert [(each["host"], each["state"]) for each in records] == [
            ("jump", "pinned"),
            ("head1", "pinned"),
        ]

    def test_nobody_is_there_to_confirm(self, site: Folder) -> None:
        done = site.run("trust", "jump")
        assert done.returncode == 2
        assert "nobody is here to confirm" in done.stderr
        assert known(site) == []

    def test_asked_on_a_terminal(self, site: Folder) -> None:
        """Which ends at once: so the answer is no."""
        said = site.on_a_terminal("trust", "jump", input=b"n\n")
        assert "Are these the keys of jump?" in said
        assert "nothing was done" in said
        assert "interrupted" not in said
        assert known(site) == []
        site.on_a_terminal("trust", "jump", input=b"y\n")
        assert len(known(site)) == 1

    def test_what_is_no_fingerprint_is_refused_before_anybody_is_asked(self, site: Folder) -> None:
        done = site.run("trust", "jump", "--fingerprint", "nonsense")
        assert done.returncode == 2
        assert "'nonsense' is no fingerprint" in done.stderr
        assert "expected" in done.stderr
        assert done.stdout == ""

    def test_a_fingerprint_that_is_known_from_elsewhere(self, site: Folder, jump: Server) -> None:
        stranger = public(jump.folder / "stranger.pub")
        done = site.run("trust", "jump", "--fingerprint", stranger.fingerprint)
        assert done.returncode == 6
        assert "[host-key]" in done.stderr
        assert jump.key.fingerprint in done.stderr
        assert known(site) == []
        done = site.run("trust", "jump", "--fingerprint", jump.key.fingerprint)
        assert done.returncode == 0, done.stderr
        assert known(site) == [line(jump)]

    def test_a_key_that_has_changed(self, site: Folder, jump: Server) -> None:
        stranger = f"[127.0.0.1]:{jump.port} {public(jump.folder / 'stranger.pub')}"
        (site.root / "known_hosts").write_text(f"{stranger}\n")
        done = site.run("trust", "jump", "--yes")
        assert done.returncode == 6
        assert "[host-key]" in done.stderr
        assert "--replace" in done.stderr
        assert known(site) == [stranger]
        done = site.run("trust", "jump", "--yes", "--replace")
        assert done.returncode == 0, done.stderr
        assert known(site) == [line(jump)]

    def test_this_machine_needs_none(self, site: Folder) -> None:
        done = site.run("trust", "local", "--yes")
        assert done.returncode == 2
        assert "none of these is reached by SSH" in done.stderr

    @pytest.mark.parametrize("word", ["head9", "@nobody", "", "../x", "$(id)", "head[1-"])
    def test_what_is_no_host(self, site: Folder, word: str) -> None:
        done = site.run("trust", "--yes", word)
        assert done.returncode == 2
        assert "error: " in done.stderr
        assert known(site) == []


class TestInventory:
    def test_all_hosts(self, site: Folder, server: Server) -> None:
        done = site.run("inventory", "list")
        assert done.returncode == 0, done.stderr
        rows = done.stdout.splitlines()
        assert [row.split()[0] for row in rows] == ["jump", "head1", "local", "@heads"]
        assert f"{USER}@127.0.0.1:{server.port}" in rows[1]
        assert "over jump" in rows[1]
        assert "roles none" in rows[0]

    def test_whom_one_can_speak_to(self, site: Folder) -> None:
        assert site.run("trust", "jump", "--yes").returncode == 0
        done = site.run("inventory", "list", "--resolved", "--json")
        assert done.returncode == 0, done.stderr
        records = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
        assert records["jump"]["trusted"] is True
        assert records["head1"]["trusted"] is False
        assert records["head1"]["services"] is None
        assert records["jump"]["services"] == []
        assert "trusted" not in records["local"]

    def test_taking_over(self, site: Folder) -> None:
        (site.root / "old").write_text("[heads]\nhead[1:2] ansible_password=hunter2\n")
        done = site.run("inventory", "import", "old")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:3] == [
            "hosts:",
            "  head1: {kind: ssh}",
            "  head2: {kind: ssh}",
        ]
        assert '  heads: "head[1-2]"' in done.stdout
        assert "left out  ansible_password of head1" in done.stderr
        done = site.run("inventory", "import", "old", "-o", "new.yaml")
        assert done.returncode == 0, done.stderr
        before = (site.root / "new.yaml").read_text()
        done = site.run("inventory", "import", "old", "-o", "new.yaml")
        assert done.returncode == 2
        assert "the file is there already" in done.stderr
        assert (site.root / "new.yaml").read_text() == before

    @pytest.mark.parametrize(
        "text",
        ["[x]\n-oProxyCommand=id\n", "a ansible_host=$(id)\n", "[x]\n../../etc\n", "x\n[x:y]\n"],
    )
    def test_names_that_are_none(self, site: Folder, text: str) -> None:
        (site.root / "old").write_text(text)
        done = site.run("inventory", "import", "old")
        assert done.returncode == 2, done.stdout
        assert done.stdout == ""
        assert "error: " in done.stderr


def test_capture_goes_the_inventory_s_way(site: Folder, tmp_path: Path) -> None:
    del tmp_path
    refused = site.run("capture", "head1")
    assert refused.returncode == 6
    assert "hint      sealift trust jump" in refused.stderr
    assert site.run("trust", "head1", "--yes").returncode == 0
    done = site.run("capture", "head1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(site.root / "recipes/bases/head1.status")
