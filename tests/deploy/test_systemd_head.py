"""A real head: what runs as which unit, what is relieved by what, and what the head does alone."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.bench import turn
from tests.lab.fixtures import require
from tests.lab.lab import Lab, available
from tests.lab.platform import Site, agent, ask, kept_store, record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.lab.head import LabHead

pytestmark = [pytest.mark.lab, pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]


@dataclass(frozen=True)
class One:
    """One head that runs the small platform, and releases to change it with."""

    site: Site
    lab: Lab
    first: str

    @property
    def head(self) -> LabHead:
        return self.lab.heads[0]

    @property
    def var(self) -> str:
        return str(self.site.store_dir.parent / "var")

    def sealift(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run the head's own sealift."""
        return self.head.run(agent(self.site), *words, check=check)

    def status(self) -> dict[str, Any]:
        found = json.loads(self.sealift("status", "--json", check=False).stdout)
        assert isinstance(found, dict)
        return found

    def pids(self) -> dict[str, int]:
        return {each["name"]: each["pid"] for each in self.status()["services"]}

    def deploy(self, path: str, *words: str) -> None:
        self.site.deploy("--release", path, *words, heads=self.head.name)

    def refused(self, *words: str) -> tuple[int, str]:
        done = self.site.try_sealift("deploy", "--host", self.head.name, "--yes", *words)
        return done.code, done.err + done.out

    def show(self, unit: str, name: str) -> str:
        return self.head.run("systemctl", "show", "-P", name, unit).stdout.decode().strip()

    def instance(self, service: str) -> str:
        said = self.head.run("systemctl", "list-units", "--plain", "--no-legend", "sealift-*")
        found = re.findall(rf"sealift-{service}@[\w-]{{41}}\.service", said.stdout.decode())
        assert len(found) == 1, said.stdout.decode()
        return str(found[0])

    def version(self) -> str:
        return str(record(self.head, "/alpha/health")["version"])

    @property
    def words(self) -> tuple[str, ...]:
        """The command that holds a session."""
        return (agent(self.site), "agent", "session")

    @contextmanager
    def session(self, **order: Any) -> Iterator[Talk]:
        """Hold a session with the head, as an operator elsewhere does."""
        asked = {"do": "prepare", "by": "test", "deadline": 30.0, **order}
        with subprocess.Popen(
            ("ssh", "-F", str(self.lab.ssh_config), self.head.name, *self.words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            talk = Talk(process)
            try:
                talk.say(**asked)
                yield talk
            finally:
                process.kill()

    def switched(self, **order: Any) -> AbstractContextManager[Talk]:
        """Hold a session in which the head is told to switch."""
        return _switched(self.session(**order))

    def await_rest(self, seconds: float = 40.0) -> dict[str, Any]:
        """Wait until the head has put itself right; return its status."""
        until = time.monotonic() + seconds
        while True:
            try:
                found = self.status()
            except ValueError:
                found = {}
            if found.get("healthy") and not found["interrupted"] and not found["changing"]:
                return found
            assert time.monotonic() < until, found
            time.sleep(0.3)


@dataclass(frozen=True)
class Talk:
    """A session as its operator has it."""

    process: subprocess.Popen[bytes]

    def say(self, **words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, what: str) -> dict[str, Any]:
        """Read until the head says `what`, or that an event of that kind happened."""
        assert self.process.stdout is not None
        heard = []
        for line in self.process.stdout:
            said = json.loads(line)
            heard.append(said)
            if what == (f"event {said['what']}" if said["say"] == "event" else said["say"]):
                return dict(said)
        raise AssertionError(f"the head ended without {what}: {heard}")


@contextmanager
def _switched(session: AbstractContextManager[Talk]) -> Iterator[Talk]:
    with session as talk:
        talk.hear("prepared")
        talk.say(do="switch")
        yield talk


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[One]:
    require(available())
    folder: Path = tmp_path_factory.mktemp("head")
    with kept_store("head") as store, Lab(1, folder=folder / "lab") as lab:
        site = Site.small(folder / "site", store)
        first = site.build()
        site.prepare(lab)
        made = One(site, lab, first)
        made.deploy(first)
        yield made


@pytest.fixture
def second(one: One) -> Iterator[str]:
    """Another alpha and other pages; afterwards the head is back at the first release."""
    turn(one.site, alpha="2", pages="2")
    try:
        yield one.site.build()
    finally:
        turn(one.site, alpha="1", pages="1")
        one.await_rest()
        if one.version() != "1":
            one.deploy(one.first)


@contextmanager
def asking(one: One, path: str = "/alpha/health") -> Iterator[list[int]]:
    """Ask for a page again and again during the block; give the statuses that came."""
    url = f"https://{one.head.address}{path}"
    # One line per answer, on standard error as only that is written at once; curl goes on with the
    # next whatever comes of one.
    command = (
        "curl",
        "-sk",
        "--http1.1",
        "--noproxy",
        "*",
        "-o",
        "/dev/null",
        "-w",
        "%{stderr}status %{http_code}\\n",
    )
    process = subprocess.Popen(
        (*command, "--parallel", "--parallel-max", "2", f"{url}?[1-100000]"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    found: list[int] = []
    try:
        yield found
    finally:
        process.terminate()
        _, out = process.communicate()
        # The last ones were cut off by ourselves.
        found += [int(each) for each in re.findall(rb"status (\d+)\n", out)[:-2]]


def test_each_service_runs_as_its_own_user_behind_its_socket(one: One) -> None:
    users = set()
    for name in ("alpha", "beta", "nginx"):
        unit = one.instance(name)
        user = one.show(unit, "User")
        pid = one.show(unit, "MainPID")
        assert one.head.run("stat", "-c", "%U", f"/proc/{pid}").stdout.decode().strip() == user
        assert one.show(f"sealift-{name}.socket", "ActiveState") == "active"
        users.add(user)
    assert len(users) == 3
    assert "root" not in users


def test_units_are_closed_in_and_that_is_on_record(one: One) -> None:
    number = one.status()["generation"]
    said = json.loads(one.head.run("cat", f"{one.var}/head/units/{number}.json").stdout)
    assert set(said["exposure"]) == {"alpha", "beta", "nginx"}
    assert all(level < 4.0 for level in said["exposure"].values())


def test_a_changed_service_is_relieved_and_nobody_waits_in_vain(one: One, second: str) -> None:
    before = one.pids()
    with asking(one) as answers:
        time.sleep(0.3)
        one.deploy(second)
        assert one.version() == "2"
        one.site.sealift("rollback", "--host", one.head.name, "--yes")
        assert one.version() == "1"
    assert len(answers) > 200
    assert set(answers) == {200}, {each: answers.count(each) for each in set(answers)}
    after = one.pids()
    assert after["alpha"] != before["alpha"]
    assert (after["beta"], after["nginx"]) == (before["beta"], before["nginx"])


@contextmanager
def changed(one: One, file: Path, old: str, new: str) -> Iterator[str]:
    """Build a release with one text changed; afterwards the head is back at the first release."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    try:
        yield one.site.build()
    finally:
        file.write_text(text)
        one.deploy(one.first)


def test_another_text_of_the_web_servers_unit_keeps_nobody_waiting(one: One) -> None:
    before = one.pids()
    units = one.site.root / "builders" / "scripts" / "units.py"
    with changed(one, units, "LimitNOFILE=16384", "LimitNOFILE=16000") as release:
        # A request whose body never ends holds the old instance back for as long as it may.
        slow = subprocess.Popen(
            ("openssl", "s_client", "-quiet", "-connect", f"{one.head.address}:443"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert slow.stdin is not None
        slow.stdin.write(b"POST /alpha/health HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na")
        slow.stdin.flush()
        longest = [0.0]
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                began = time.monotonic()
                assert ask(one.head, "/alpha/health", timeout=20.0)[0] == 200
                longest.append(time.monotonic() - began)

        with ThreadPoolExecutor() as pool:
            looking = pool.submit(look)
            try:
                one.deploy(release)
            finally:
                done.set()
            looking.result()
            slow.kill()
            slow.wait()
            slow.stdin.close()
        assert max(longest) < 5.0
        assert one.pids()["nginx"] != before["nginx"]
        assert one.pids()["alpha"] == before["alpha"]


def test_a_service_with_another_port_is_asked_where_it_is(one: One) -> None:
    recipe = one.site.recipes / "backends" / "alpha.yaml"
    with changed(one, recipe, "5101", "5199") as release, asking(one) as answers:
        time.sleep(0.3)
        one.deploy(release)
        time.sleep(0.5)
    assert set(answers) == {200}, {each: answers.count(each) for each in set(answers)}


def test_a_service_with_another_name_is_asked_where_it_is_and_leaves_nothing(one: One) -> None:
    recipes = one.site.recipes
    old, new = (recipes / "backends" / f"{name}.yaml" for name in ("alpha", "gamma"))
    lock = recipes / "locks" / "gamma.pylock.toml"
    lock.write_bytes((recipes / "locks" / "alpha.pylock.toml").read_bytes())
    old.rename(new)
    try:
        with changed(one, new, "5101", "5199") as release:
            with asking(one) as answers:
                time.sleep(0.3)
                one.deploy(release)
                time.sleep(0.5)
            left = one.head.run("systemctl", "list-units", "--all", "--plain", "sealift-alpha*")
            files = one.head.run("ls", "/run/sealift/probe").stdout.decode().split()
            assert "sealift-alpha" not in left.stdout.decode(), left.stdout.decode()
            assert len(files) == 3, files
    finally:
        new.rename(old)
        lock.unlink()
    assert set(answers) == {200}, {each: answers.count(each) for each in set(answers)}


def test_a_page_of_before_finds_its_files(one: One, second: str) -> None:
    number = one.status()["generation"]
    one.deploy(second)
    links = {
        name: one.head.run("readlink", f"{one.var}/profiles/{name}").stdout.decode().strip()
        for name in ("system", "system-before")
    }
    assert links["system-before"] == f"system-{number}-link"
    assert links["system"] != links["system-before"]


def test_one_that_does_not_start_leaves_the_old_one_serving(one: One) -> None:
    before = one.pids()
    app = one.site.source("alpha") / "app.py"
    text = app.read_text()
    app.write_text(text + "\nraise RuntimeError('this one cannot be loaded')\n")
    try:
        broken = one.site.build()
    finally:
        app.write_text(text)
    with asking(one) as answers:
        time.sleep(0.2)
        code, said = one.refused("--release", broken)
        time.sleep(0.2)
    assert code == 5
    assert "alpha" in said
    assert "this one cannot be loaded" in said, said
    assert set(answers) == {200}
    assert one.pids() == before
    assert one.status()["healthy"]


def test_another_secret_restarts_its_users_alone(one: One) -> None:
    before, word = one.pids(), record(one.head, "/alpha/health")["word"]
    one.site.sealift("secret", "set", "ALPHA_WORD", given="another word")
    with asking(one) as answers:
        time.sleep(0.2)
        one.deploy(one.first)
        time.sleep(0.2)
    after = one.pids()
    assert record(one.head, "/alpha/health")["word"] != word
    assert after["alpha"] != before["alpha"]
    assert (after["beta"], after["nginx"]) == (before["beta"], before["nginx"])
    assert set(answers) == {200}


def test_another_certificate_is_loaded_without_a_restart(one: One) -> None:
    before = one.pids()
    command = ("openssl", "s_client", "-connect", f"{one.head.address}:443", "-showcerts")

    def shown() -> bytes:
        said = subprocess.run(command, input=b"", capture_output=True, check=False).stdout
        found = re.search(rb"-----BEGIN CERT.*?END CERTIFICATE-----", said, re.DOTALL)
        assert found, said
        return found[0]

    old = shown()
    for name in ("TLS_CERT", "TLS_KEY"):
        one.site.sealift("secret", "rm", name, "--yes")
    one.site.sealift("secret", "generate", "--all")
    one.deploy(one.first)
    assert shown() != old
    assert one.pids() == before


def test_nothing_is_open_on_the_disk(one: One) -> None:
    one.site.sealift("secret", "set", "ALPHA_WORD", given="findmewhereveryoucan")
    one.deploy(one.first)
    said = one.head.run(
        *("grep", "-rl", "findmewhereveryoucan", "/var", "/opt", "/etc", "/root", "/home", "/usr"),
        check=False,
    )
    assert said.stdout == b""
    found = one.head.run("grep", "-rl", "findmewhereveryoucan", "/run/sealift", check=False)
    assert found.stdout != b""


def test_state_belongs_to_the_service_and_root_follows_none_of_its_links(one: One) -> None:
    home = "/var/lib/sealift/alpha"
    owner = one.head.run("stat", "-c", "%U", home).stdout.decode().strip()
    assert owner == "sealift-alpha"
    one.head.run("sh", "-c", f"rm -rf {home}/logs; ln -s /etc/evil {home}/logs")
    code, said = one.refused("--release", one.first)
    one.head.run("rm", f"{home}/logs")
    one.deploy(one.first)
    assert one.head.run("test", "-e", "/etc/evil", check=False).returncode != 0
    assert code == 6, said


def test_a_port_of_somebody_else_is_named_and_nothing_touched(one: One) -> None:
    before = one.pids()
    one.sealift("stop", "beta")
    one.head.run(
        *("systemd-run", "--unit=stranger", "--collect"),
        *("systemd-socket-activate", "-l", "127.0.0.1:5102", "/bin/cat"),
    )
    try:
        time.sleep(0.3)
        code, said = one.refused("--release", one.first)
    finally:
        one.head.run("systemctl", "stop", "stranger.service")
    assert code == 6
    assert "5102" in said
    assert "beta" in said
    one.sealift("start", "beta")
    assert one.pids()["alpha"] == before["alpha"]
    assert one.status()["healthy"]


def test_stop_start_and_restart_by_name(one: One) -> None:
    before = one.pids()
    one.sealift("stop", "alpha")
    assert ask(one.head, "/alpha/health")[0] == 502
    assert not one.status()["healthy"]
    one.sealift("start", "alpha")
    assert one.version() == "1"
    with asking(one) as answers:
        time.sleep(0.2)
        one.sealift("restart", "alpha")
        time.sleep(0.2)
    assert set(answers) == {200}
    after = one.pids()
    assert after["alpha"] != before["alpha"]
    assert after["beta"] == before["beta"]


def test_logs_are_what_the_service_wrote(one: One) -> None:
    said = one.sealift("logs", "alpha", "-n", "50").stdout.decode()
    assert "Booting worker" in said
    code = one.sealift("logs", "gamma", check=False).returncode
    assert code == 2


def test_a_head_runs_just_the_services_of_its_roles(one: One) -> None:
    head = {"name": one.head.name, "services": ["nginx", "beta"], "url": "", "keep": 3}
    all_of_them = {**head, "services": None}
    before = one.pids()
    for settings, expected in (
        (head, {"nginx", "beta"}),
        (all_of_them, {"nginx", "beta", "alpha"}),
    ):
        with one.switched(action="deploy", release=one.first, head=settings) as talk:
            talk.hear("healthy")
            talk.say(do="vouch")
            talk.hear("vouched")
            talk.say(do="confirm")
            talk.hear("confirmed")
            assert talk.process.wait(20) == 0
        assert set(one.pids()) == expected
    assert one.pids()["beta"] == before["beta"]


def test_the_settings_of_a_change_that_was_taken_back_do_not_stay(one: One, second: str) -> None:
    one.site.sealift("deploy", "--host", one.head.name, "--yes", "--release", second)
    before = one.pids()
    head = {"name": one.head.name, "services": ["nginx", "beta"], "url": "", "keep": 3}
    with one.switched(action="deploy", release=one.first, head=head) as talk:
        talk.hear("event switched")
        talk.say(do="back")
        talk.hear("reverted")
    one.await_rest()
    assert set(one.pids()) == set(before)


@pytest.mark.parametrize("stage", ["event switched", "healthy"])
def test_a_head_whose_agent_was_killed_goes_back_by_itself(
    one: One, second: str, stage: str
) -> None:
    one.deploy(second)
    one.deploy(one.first)
    number = one.status()["generation"]
    with one.switched(action="rollback") as talk:
        talk.hear(stage)
        one.head.run("pkill", "-9", "-f", "agent session")
    assert one.await_rest()["generation"] == number
    assert one.version() == "1"
    assert one.show("sealift-recover.timer", "ActiveState") == "inactive"


def test_without_the_timer_nobody_would_put_it_right(one: One, second: str) -> None:
    """The control: the same death, and nobody who looks."""
    one.deploy(second)
    one.deploy(one.first)
    number = one.status()["generation"]
    with one.switched(action="rollback") as talk:
        talk.hear("healthy")
        one.head.run("systemctl", "stop", "sealift-recover.timer")
        one.head.run("pkill", "-9", "-f", "agent session")
    time.sleep(15)
    found = one.status()
    assert found["interrupted"]
    assert found["generation"] != number
    one.sealift("agent", "recover")
    assert one.await_rest()["generation"] == number


def test_a_machine_that_was_off_comes_up_with_what_was_current(one: One) -> None:
    before = one.status()["generation"]
    one.head.reboot()
    assert one.await_rest()["generation"] == before
    assert one.version() == "1"
    # What the start of the machine began is known to the next deploy, which has nothing to do.
    pids = one.pids()
    one.deploy(one.first)
    assert one.pids() == pids


def test_a_power_cut_in_a_change_ends_at_the_generation_before(one: One, second: str) -> None:
    one.deploy(second)
    one.deploy(one.first)
    before = one.status()["generation"]
    with one.switched(action="rollback") as talk:
        talk.hear("healthy")
        one.head.power_cut()
    one.head.start()
    one.head.wait_ssh()
    assert one.await_rest()["generation"] == before
    assert one.version() == "1"


def test_the_log_tells_who_did_what_from_where(one: One) -> None:
    lines = one.head.run("cat", f"{one.var}/head/audit.jsonl").stdout.decode().splitlines()
    entries = [json.loads(each) for each in lines]
    deploys = [each for each in entries if each["action"] == "deploy"]
    assert {"begun", "done"} <= {each["result"] for each in deploys}
    assert all(each["source"].startswith("10.78.") for each in deploys)
    assert all("@" in each["who"] or each["who"] == "test" for each in deploys)
    assert one.head.run("stat", "-c", "%a", f"{one.var}/head/audit.jsonl").stdout == b"600\n"


def test_old_generations_go_and_what_runs_stays(one: One) -> None:
    one.sealift("gc", "--keep", "1")
    left = json.loads(one.sealift("history", "--json").stdout)["generations"]
    assert sum(each["current"] for each in left) == 1
    assert len(left) <= 3
    assert one.version() == "1"
    assert one.status()["healthy"]
    assert json.loads(one.sealift("store", "verify", "--json").stdout)["clean"]
