"""What runs on a head before and after Redis: as it is rendered, with a redis-cli that is none.

Paths of the scripts are led to folders of the test; time passes by ten seconds when it is asked.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders.phase_site import PhaseSite

RECIPE = Path(__file__).parents[3] / "recipes/phases/redis.yaml"
HEADS = {f"head{at}": f"10.0.0.1{at}" for at in (1, 2, 3)}
PRIMARY = "# the primary\n"
PROGRAMS = {
    "redis-cli": 'said="$SAID/$2:$4:$5"; [ -e "$said" ] && cat "$said"',
    "sleep": ":",
    "date": 'now=$(cat "$SAID/now" 2>/dev/null); now=$((${now:-0} + 10)); echo $now >"$SAID/now"; '
    "echo $now",
    # A file of it is torn after TORN, and damaged where it says BAD.
    "redis-check-aof": """\
if [ "$1" = --fix ]; then read yes; sed -i /TORN/d appendonlydir/*.incr.aof; fi
if grep -q TORN appendonlydir/*.incr.aof; then echo "AOF analyzed: size=9, ok_up_to=4, diff=5"; fi
if grep -q BAD appendonlydir/*.incr.aof; then echo "Expected to read 4 bytes"; fi
! grep -qE "TORN|BAD" appendonlydir/*.incr.aof""",
}


@dataclass
class Head:
    """A folder that is a head: what others say to it lies in `said`."""

    root: Path
    name: str
    site: PhaseSite

    def __post_init__(self) -> None:
        for each in (self.data, self.run, self.said, self.programs, self.etc):
            each.mkdir()
        for name, text in PROGRAMS.items():
            (self.programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.programs / name).chmod(0o755)
        (self.etc / "password.conf").write_text("requirepass word\nmasterauth word\n")

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def said(self) -> Path:
        return self.root / "said"

    @property
    def programs(self) -> Path:
        return self.root / "bin"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    def script(self, name: str, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the phase, as it is rendered for this head."""
        text = self.site.text(f"/etc/redis/{name}", self.name, "redis")
        for path, here in (
            ("/var/lib/redis", self.data),
            ("/run/sealift-redis", self.run),
            ("/etc/redis", self.etc),
        ):
            text = text.replace(path, str(here))
        path = f"{self.programs}:{os.environ['PATH']}"
        return subprocess.run(
            ["/bin/sh", "-c", text, name, *argv],
            env={"PATH": path, "SAID": str(self.said), **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def begin(self) -> tuple[int, str]:
        """Begin; return the status, and as what Redis is going to run."""
        ended = self.script("begin-server")
        role = self.run / "role.conf"
        return ended.returncode, role.read_text() if role.exists() else ended.stderr

    def mend(self) -> str:
        """End with an error; return what was said about it."""
        return self.script("mend", str(self.data), SERVICE_RESULT="exit-code").stdout

    def hear(self, head: str, port: int, command: str, said: str) -> None:
        """Let a head answer to a command."""
        (self.said / f"{HEADS[head]}:{port}:{command}").write_text(said)

    def watch(self, head: str, primary: str, epoch: int) -> None:
        """Let a head's Sentinel name a primary."""
        facts = f"name\nmymaster\nip\n{HEADS[primary]}\nport\n6379\nconfig-epoch\n{epoch}\n"
        self.hear(head, 26379, "sentinel", facts)

    def keys(self, said: str = "*1\nkey\n") -> None:
        """Let Redis here have an append-only file."""
        folder = self.data / "appendonlydir"
        folder.mkdir()
        (folder / "appendonly.aof.1.base.rdb").write_text("base")
        (folder / "appendonly.aof.1.incr.aof").write_text(said)
        (folder / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb\n")

    @property
    def file(self) -> Path:
        """The end of the append-only file."""
        return self.data / "appendonlydir/appendonly.aof.1.incr.aof"

    @property
    def kept(self) -> list[str]:
        """What was put aside."""
        return sorted(each.name for each in self.data.glob("appendonlydir.torn.*"))


@pytest.fixture
def site(tmp_path: Path) -> PhaseSite:
    made = PhaseSite(tmp_path.resolve())
    made.settings()
    text = RECIPE.read_text()
    made.recipe("redis", re.sub(r"(?m)^(inputs|packages|after): .*\n", "", text))
    return made


@pytest.fixture
def head(site: PhaseSite, tmp_path: Path) -> Head:
    root = tmp_path / "head1"
    root.mkdir()
    made = Head(root, "head1", site)
    for other in ("head2", "head3"):
        made.watch(other, "head1", 0)
        made.hear(other, 6379, "dbsize", "0\n")
    return made


def test_the_first_head_begins_as_the_primary_of_empty_others(head: Head) -> None:
    assert head.begin() == (0, PRIMARY)


@pytest.mark.parametrize(
    "said",
    [
        "7\n",
        "LOADING Redis is loading the dataset in memory\n\n",
        "NOAUTH Authentication required.\n\n",
        "MASTERDOWN Link with MASTER is down\n\n",
        "",
    ],
)
def test_an_empty_primary_does_not_begin_while_another_may_have_keys(head: Head, said: str) -> None:
    """Unknown is not absent: its replicas would become as empty as it is."""
    head.hear("head3", 6379, "dbsize", said)
    status, told = head.begin()
    assert (status, "10.0.0.13 does not say that it has none" in told) == (1, True)


def test_an_empty_primary_does_not_begin_while_another_is_not_there(head: Head) -> None:
    (head.said / "10.0.0.12:6379:dbsize").unlink()
    assert head.begin()[0] == 1
    # An empty folder is no data either.
    (head.data / "appendonlydir").mkdir()
    assert head.begin()[0] == 1


def test_a_primary_with_data_does_not_ask_for_those_of_others(head: Head) -> None:
    head.keys()
    head.hear("head3", 6379, "dbsize", "7\n")
    assert head.begin() == (0, PRIMARY)


def test_the_highest_epoch_counts(head: Head) -> None:
    head.keys()
    head.watch("head3", "head2", 4)
    (head.data / "sentinel.conf").write_text(
        "sentinel monitor mymaster 10.0.0.11 6379 2\nsentinel config-epoch mymaster 3\n"
    )
    assert head.begin() == (0, "replicaof 10.0.0.12 6379\n")


def test_nobody_is_the_primary_without_a_majority(head: Head) -> None:
    """However long it waits: who is silent may know of another one."""
    head.keys()
    for other in ("head2", "head3"):
        (head.said / f"{HEADS[other]}:26379:sentinel").unlink()
    (head.data / "sentinel.conf").write_text("sentinel monitor mymaster 10.0.0.11 6379 2\n")
    status, told = head.begin()
    assert (status, "only 1 of 3 Sentinels" in told) == (1, True)
    head.watch("head3", "head1", 0)
    assert head.begin() == (0, PRIMARY)


def test_what_was_torn_is_cut_off_and_kept_each_time(head: Head) -> None:
    head.keys("key\nTORN")
    assert "cut 5 bytes" in head.mend()
    assert head.file.read_text() == "key\n"
    head.file.write_text("key\nother\nTORN")
    assert "cut 5 bytes" in head.mend()
    assert head.kept == ["appendonlydir.torn.1", "appendonlydir.torn.2"]
    # What is cut is another file than what is kept; what never changes is the same.
    kept = head.data / "appendonlydir.torn.1"
    assert (kept / head.file.name).read_text() == "key\nTORN"
    base = "appendonly.aof.1.base.rdb"
    assert (kept / base).stat().st_ino == (head.file.parent / base).stat().st_ino


def test_a_damaged_file_stays_where_it_is_whatever_was_written_of_the_role(head: Head) -> None:
    """Sentinels may have made it the primary since it began as a replica."""
    head.keys("key\nBAD\nmore")
    (head.run / "role.conf").write_text("replicaof 10.0.0.12 6379\n")
    assert "is damaged" in head.mend()
    assert head.file.read_text() == "key\nBAD\nmore"
    assert head.kept == []
    # It is said once, not each second that Redis is started again.
    assert head.mend() == ""
    assert head.begin() == (0, PRIMARY)
    assert head.file.exists()


def test_a_replica_begins_without_its_damaged_file_where_the_primary_leads(head: Head) -> None:
    head.keys("key\nBAD\nmore")
    head.mend()
    head.watch("head3", "head2", 1)
    assert head.begin()[0] == 1
    assert head.file.exists()
    head.hear("head2", 6379, "info", "role:slave\r\n")
    assert head.begin()[0] == 1
    head.hear("head2", 6379, "info", "# Replication\r\nrole:master\r\n")
    assert head.begin() == (0, "replicaof 10.0.0.12 6379\n")
    assert not head.file.exists()
    assert head.kept == ["appendonlydir.torn.1"]


def test_a_file_that_was_put_right_by_hand_is_read(head: Head) -> None:
    head.keys("key\nBAD\nmore")
    head.mend()
    head.file.write_text("key\n")
    head.watch("head3", "head2", 1)
    assert head.begin() == (0, "replicaof 10.0.0.12 6379\n")
    assert head.file.exists()


def test_nothing_is_mended_that_ended_by_itself(head: Head) -> None:
    head.keys("key\nTORN")
    head.script("mend", str(head.data), SERVICE_RESULT="success")
    assert "TORN" in head.file.read_text()


def test_a_sentinel_keeps_what_it_found_out_of_hosts_that_there_are(head: Head) -> None:
    told = "port 26379\nsentinel monitor mymaster 10.0.0.11 6379 2\nsentinel auth-pass mymaster x\n"
    (head.etc / "sentinel.conf").write_text(told)
    (head.data / "sentinel.conf").write_text(
        "port 1\nsentinel myid abc\nsentinel monitor mymaster 10.0.0.12 6379 2\n"
        "sentinel config-epoch mymaster 7\nsentinel known-sentinel mymaster 10.0.0.13 26379 def\n"
        "sentinel known-sentinel mymaster 10.0.0.99 26379 fed\n"
    )
    assert head.script("begin-sentinel").returncode == 0
    lines = (head.data / "sentinel.conf").read_text().splitlines()
    assert lines == [
        "port 26379",
        "sentinel monitor mymaster 10.0.0.12 6379 2",
        "sentinel auth-pass mymaster x",
        "sentinel myid abc",
        "sentinel config-epoch mymaster 7",
        "sentinel known-sentinel mymaster 10.0.0.13 26379 def",
        "sentinel known-replica mymaster 10.0.0.11 6379",
        "sentinel known-replica mymaster 10.0.0.13 6379",
    ]
    assert (head.data / "sentinel.conf").stat().st_mode & 0o777 == 0o600


def test_a_sentinel_that_knows_nothing_begins_with_what_it_is_told(head: Head) -> None:
    (head.etc / "sentinel.conf").write_text("sentinel monitor mymaster 10.0.0.11 6379 2\n")
    assert head.script("begin-sentinel").returncode == 0
    lines = (head.data / "sentinel.conf").read_text().splitlines()
    assert lines[0] == "sentinel monitor mymaster 10.0.0.11 6379 2"


@pytest.mark.parametrize("mode", ["sentinel", "cluster"])
def test_no_script_runs_as_root(site: PhaseSite, mode: str) -> None:
    """They write where redis may have put a link."""
    site.settings(f"phases: {{redis: {{mode: {mode}}}}}")
    texts = site.steps("redis")["head1"].arguments["texts"]
    assert isinstance(texts, dict)
    lines = [line for text in texts.values() for line in text.splitlines()]
    run = [line.partition("=")[2] for line in lines if re.match(r"Exec\w+=.", line)]
    scripts = [each for each in run if "/etc/redis/" in each]
    assert len(scripts) == {"sentinel": 3, "cluster": 2}[mode]
    who = "/usr/bin/setpriv --reuid redis --regid redis --clear-groups --no-new-privs /bin/sh "
    assert all(each.removeprefix("+").startswith(who) for each in scripts)
    assert [each for each in run if each.startswith("+") and each not in scripts] == []
