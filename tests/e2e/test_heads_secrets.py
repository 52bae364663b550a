"""Secrets on real heads: where they lie and where not, rotated, refused, taken back, sealed again.

In the order of a site's life; each test leaves the platform running.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from deploy.key_pairs import signing_pair
from tests.lab.fixtures import require
from tests.lab.lab import Lab, available
from tests.lab.platform import STATE, Site, agent, ask, kept_store, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.head import LabHead

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
BOTH = "head[1-2]"
OPEN = "/run/sealift/credentials"
FIRST, SECOND = "the first word of Alpha, 5141", "the second word of Alpha, 9716"


@dataclass(frozen=True, slots=True)
class Two:
    """Two heads that run the small platform, and the site of their operator."""

    site: Site
    lab: Lab

    def words(self) -> set[str]:
        """Return the digests of the secret that the service on each head knows."""
        return {str(record(head, "/alpha/health")["word"]) for head in self.lab.heads}

    def processes(self, name: str) -> list[bytes]:
        """Return a service's main process on each head, and when it began."""
        words = ("-p", "MainPID", "-p", "ExecMainStartTimestamp", f"sealift-{name}@*.service")
        return [head.run("systemctl", "show", *words).stdout for head in self.lab.heads]

    def generations(self) -> set[int]:
        said = (head.run(agent(self.site), "status", "--json") for head in self.lab.heads)
        return {int(json.loads(each.stdout)["generation"]) for each in said}

    def set(self, value: str) -> None:
        self.site.sealift("secret", "set", "ALPHA_WORD", given=f"{value}\n")


def told(value: str) -> str:
    """Return what the service tells of its secret."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    require(available())
    root = tmp_path_factory.mktemp("heads")
    with kept_store("secrets") as store, Lab(2, folder=root / "lab") as lab:
        site = Site.small(root / "site", store)
        site.build()
        site.join(lab)
        made = Two(site, lab)
        made.set(FIRST)
        yield made


def test_what_is_missing_is_named_before_anything_is_touched(two: Two) -> None:
    done = two.site.try_sealift("deploy", "--host", BOTH, "--yes")
    assert done.code == 6, done.err
    assert "TLS_CERT" in done.err
    assert "sealift secret generate" in done.err
    for head in two.lab.heads:
        assert head.run("ls", "/run/systemd/system").stdout.count(b"sealift") == 0


def test_services_get_their_own(two: Two) -> None:
    two.site.sealift("secret", "generate", "--all")
    two.site.deploy(heads=BOTH)
    assert two.words() == {told(FIRST)}
    for head in two.lab.heads:
        assert ask(head, "/")[0] == 200


def test_they_are_open_in_memory_alone_and_for_root_alone(two: Two) -> None:
    for head in two.lab.heads:
        kind = head.run("stat", "-f", "-c", "%T", OPEN).stdout.strip()
        assert kind in (b"tmpfs", b"ramfs")
        assert head.run("cat", f"{OPEN}/alpha/ALPHA_WORD").stdout.decode() == FIRST
        for path in ("alpha/ALPHA_WORD", "nginx/TLS_KEY"):
            other = head.run(
                "runuser", "-u", "operator", "--", "cat", f"{OPEN}/{path}", check=False
            )
            assert other.returncode != 0
        assert head.run("ls", f"{OPEN}/beta", check=False).returncode != 0


@pytest.mark.parametrize("value", [FIRST, "BEGIN PRIVATE KEY"])
def test_no_disk_and_no_log_holds_one(two: Two, value: str) -> None:
    for head in two.lab.heads:
        below = ["/etc", "/opt", "/var", "/home", "/root", "/usr/local"]
        places = [p for p in below if head.run("test", "-e", p, check=False).returncode == 0]
        words = ("--devices=skip", "--binary-files=text", "-rlF", "--", value)
        found = head.run("grep", *words, *places, check=False).stdout.decode().splitlines()
        # Text about keys is no key: what a release brings was built without any.
        found = [file for file in found if not file.startswith(str(two.site.store_dir))]
        assert found == []
        assert value not in head.journal()
        assert value not in head.run("sh", "-c", "cat /proc/[0-9]*/cmdline").stdout.decode()


def test_that_search_finds_what_is_there(two: Two) -> None:
    """What holds them open is found by the same words; so nothing found says something."""
    head = two.lab.heads[0]
    words = ("--devices=skip", "--binary-files=text", "-rlF", "--", FIRST)
    # The folders of services are links, which grep follows only where they are named.
    found = head.run("grep", *words, f"{OPEN}/alpha/").stdout.decode()
    assert "ALPHA_WORD" in found


def test_a_rotated_secret_restarts_its_users_alone(two: Two) -> None:
    alpha, beta = two.processes("alpha"), two.processes("beta")
    two.set(SECOND)
    done = two.site.deploy(heads=BOTH)
    assert two.words() == {told(SECOND)}, done.err
    assert not set(two.processes("alpha")) & set(alpha)
    assert two.processes("beta") == beta


def test_sealing_again_restarts_nobody(two: Two) -> None:
    alpha = two.processes("alpha")
    two.set(SECOND)
    two.site.deploy(heads=BOTH)
    assert two.processes("alpha") == alpha


def test_a_certificate_of_another_key_is_refused_before_the_switch(two: Two) -> None:
    file = two.site.root / "secrets" / "TLS_CERT.age"
    kept, before = file.read_bytes(), two.generations()
    key = (two.site.root / "secrets" / "TLS_KEY.age").read_bytes()
    two.site.sealift("secret", "generate", "--replace", "TLS_CERT")
    (two.site.root / "secrets" / "TLS_KEY.age").write_bytes(key)
    # Nginx keeps one pair for each algorithm, and misses nothing of two halves.
    for another in ("", signing_pair("of another algorithm")[0].decode()):
        if another:
            two.site.sealift("secret", "set", "TLS_CERT", given=another)
        done = two.site.try_sealift("deploy", "--host", BOTH, "--yes")
        assert done.code == 6, done.err
        assert two.generations() == before
    assert {ask(head, "/")[0] for head in two.lab.heads} == {200}
    file.write_bytes(kept)
    two.site.deploy(heads=BOTH)


def test_a_change_that_fails_takes_its_secret_back(two: Two) -> None:
    """The service that is ill has the new word; what runs afterwards has the one before."""
    words = two.words()
    two.set("a word that never comes to be")
    two.site.edit("alpha/app.py", 'VERSION = "1"', 'VERSION = "2"')
    for head in two.lab.heads:
        ill = f"{STATE}/alpha/database/ill-2"
        head.run("sh", "-c", f"echo 0 > {ill}")
    two.site.build()
    done = two.site.try_sealift("deploy", "--host", BOTH, "--yes")
    assert done.code == 5, (done.out, done.err)
    assert two.words() == words == {told(SECOND)}
    two.lab.heads[0].reboot()
    assert answers(two.lab.heads[0]) == told(SECOND)
    two.site.edit("alpha/app.py", 'VERSION = "2"', 'VERSION = "1"')
    two.site.build()
    two.set(SECOND)


def test_a_head_starts_with_its_secrets_and_nobody_to_ask(two: Two) -> None:
    head = two.lab.heads[0]
    head.power_cut()
    head.start()
    head.wait_ssh()
    assert answers(head) == told(SECOND)


def test_heads_seal_for_one_whose_key_is_another_now(two: Two) -> None:
    head = two.lab.heads[1]
    head.change_host_keys()
    done = two.site.try_sealift("deploy", "--host", BOTH, "--yes")
    assert done.code != 0
    two.site.sealift("trust", "head2", "--replace", "--yes")
    done = two.site.try_sealift("deploy", "--host", BOTH, "--yes")
    assert done.code == 6
    assert "sealift secret rekey" in done.err
    done = two.site.sealift("secret", "rekey")
    assert SECOND not in done.out + done.err
    two.site.deploy(heads=BOTH)
    assert two.words() == {told(SECOND)}


def answers(head: LabHead) -> str:
    """Wait until a head that has just begun serves, and return what it tells of its secret."""
    for _ in range(100):
        try:
            return str(record(head, "/alpha/health")["word"])
        except (OSError, AssertionError):
            time.sleep(0.2)
    pytest.fail(f"{head.name} does not serve")
