"""Units on a head: what systemd makes of words, secrets, limits and sockets that it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builders.scripts.units import Head, Unit, sysusers, units

if TYPE_CHECKING:
    from tests.lab.fixtures import MakeLab
    from tests.lab.head import LabHead

pytestmark = pytest.mark.lab

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
NEXT = HASH[::-1]
PLACE = Head("/opt/sealift/store", "/opt/sealift/var", "/var/lib/sealift")
PATH = f"{PLACE.store_dir}/{HASH}-alpha"
ODD = (
    *("", " ", "a b", "%i %n %%", "$HOME ${HOME} $$", '"q"', "'q'", "\\n \\x41 \\\\", ";", "#"),
    *("{path}", "é€𝄞", "`id` $(id) | > x", "-", "~"),
)
SAY = """\
#!/bin/sh
printf '%s\\0' "$ODD" "$SEALIFT_URL" "$(cat "$CREDENTIALS_DIRECTORY/KEY")" "$@" > "$HOME/seen.new"
mv "$HOME/seen.new" "$HOME/seen"
touch /etc/x /opt/sealift/store/x /root/x 2> /dev/null && touch "$HOME/escaped"
exec sleep 1000
"""
SLEEP = "#!/bin/sh\nexec sleep 1000\n"
NONBLOCKING = 0o4000


@pytest.fixture(scope="module")
def head(make_shared_lab: MakeLab) -> LabHead:
    return make_shared_lab(1).heads[0]


def unit(name: str, *words: str, path: str | None = None) -> Unit:
    place = path or f"{PLACE.store_dir}/{HASH}-{name}"
    return Unit(name, place, 5000, place, (f"{place}/run", *words), {})


def lay(head: LabHead, wanted: Unit, script: str) -> None:
    """Put a service with its units on the head; nothing of it is started."""
    put(head, f"{wanted.path}/run", script, mode="0755")
    for name, text in units([wanted], f"{PLACE.store_dir}/{HASH}-nginx", PLACE, None).items():
        if name.startswith(f"sealift-{wanted.name}"):
            put(head, f"/run/systemd/system/{name}", text)
    put(head, "/run/sysusers.conf", sysusers([wanted.name]))
    head.run("systemd-sysusers", "/run/sysusers.conf")
    head.run("systemctl", "daemon-reload")


def put(head: LabHead, place: str, text: str, mode: str = "0644") -> None:
    head.run("mkdir", "-p", place.rpartition("/")[0])
    head.run("install", "-m", mode, "/dev/stdin", place, input=text.encode())


def seen(head: LabHead, name: str) -> bytes:
    place = f"/var/lib/sealift/{name}"
    wait = f"for n in $(seq 100); do test -e {place} && exec cat {place}; sleep .1; done; exit 1"
    return bytes(head.run("sh", "-c", wait).stdout)


def test_words_values_and_secrets_arrive_as_they_were_meant(head: LabHead) -> None:
    wanted = replace(
        unit("alpha", *ODD, "{url}/a", "{credentials}"),
        env={"ODD": 'a %i $HOME "q" \\n \' é'},
        secrets=("KEY",),
        limits={"memory": "64M", "cpu": "150%", "tasks": "32", "files": "128"},
    )
    lay(head, wanted, SAY)
    put(head, "/run/sealift/credentials/alpha/KEY", "hush", mode="0600")
    put(head, "/run/sealift/site.env", "SEALIFT_URL=https://head1\n")
    name = f"sealift-alpha@{HASH}.service"
    head.run("systemctl", "start", name)
    values = seen(head, "alpha/seen").decode().split("\0")[:-1]
    assert values[:3] == ['a %i $HOME "q" \\n \' é', "https://head1", "hush"]
    assert tuple(values[3:-2]) == ODD
    assert values[-2:] == ["https://head1/a", f"/run/credentials/{name}"]
    assert head.run("test", "-e", "/var/lib/sealift/alpha/escaped", check=False).returncode == 1
    told = head.run("stat", "-c", "%U %a", "/var/lib/sealift/alpha").stdout.decode().strip()
    assert told == "sealift-alpha 750"


def test_limits_hold(head: LabHead) -> None:
    limits = {"memory": "64M", "cpu": "150%", "tasks": "32", "files": "128"}
    lay(head, replace(unit("limited"), limits=limits), SAY)
    name = f"sealift-limited@{HASH}.service"
    keys = {
        "MemoryMax": str(64 << 20),
        "CPUQuotaPerSecUSec": "1.500000s",
        "TasksMax": "32",
        "LimitNOFILE": "128",
    }
    told = head.run("systemctl", "show", *(f"-P{key}" for key in keys), name).stdout.decode()
    assert sorted(told.split()) == sorted(keys.values())


@pytest.fixture
def pair(head: LabHead) -> LabHead:
    """Start two instances on one socket."""
    wanted = replace(unit("flagged"), socket=True, concurrent=True)
    lay(head, wanted, SLEEP)
    head.run("cp", "-rT", wanted.path, f"{PLACE.store_dir}/{NEXT}-flagged")
    for each in (HASH, NEXT):
        head.run("systemctl", "restart", f"sealift-flagged@{each}.service")
    return head


def blocks(head: LabHead, each: str) -> bool:
    """Tell whether one of the two sockets that an instance has would keep it waiting."""
    pid = f"$(systemctl show -P MainPID sealift-flagged@{each}.service)"
    told = head.run("sh", "-c", f"cd /proc/{pid}/fdinfo && grep -h flags 3 4").stdout.decode()
    flags = [int(line.split()[1], 8) for line in told.splitlines()]
    assert len(flags) == 2
    return not all(each & NONBLOCKING for each in flags)


def test_a_new_instance_leaves_the_old_ones_socket_as_it_was(pair: LabHead) -> None:
    assert not blocks(pair, HASH)
    assert not blocks(pair, NEXT)
    assert len(pair.run("ss", "-Hltn", "sport = :5000").stdout.decode().splitlines()) == 1


def test_without_that_it_would_block(pair: LabHead) -> None:
    pair.run("sed", "-i", "/^NonBlocking/d", "/run/systemd/system/sealift-flagged@.service")
    pair.run("systemctl", "daemon-reload")
    pair.run("systemctl", "restart", f"sealift-flagged@{NEXT}.service")
    assert blocks(pair, HASH)
