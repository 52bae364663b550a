"""Services of a head: started, stopped and killed; their secrets, their state and their logs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.activate import deploy, prune, restart, rollback, start, stop
from deploy.errors import (
    BadReleaseError,
    NoGenerationError,
    SecretMissingError,
    StateError,
    UnhealthyError,
    UnknownServiceError,
)
from deploy.events import Event, What
from deploy.logs import last_lines
from deploy.profile import Status
from deploy.programs import MARK
from deploy.services import Phase
from deploy.status import history, status
from store.local import LocalStore
from tests.deploy.synthetic import QUICK, Site, Tiny, fetch, free_ports, pids, spoil, version


def test_secrets_are_seen_by_the_service_alone(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = replace(pair[0], secrets=("JWT_KEY", "DB_PASSWORD")), pair[1]
    head, events = site.head(), list[Event]()
    deploy(head, site.release(alpha, beta), observe=events.append)
    generated = {each.name for each in events if each.what is What.GENERATED}
    assert generated == {"JWT_KEY", "DB_PASSWORD"}
    secret = (head.layout.secrets_dir / "JWT_KEY").read_text()
    assert f"JWT_KEY={secret}" in fetch(f"http://127.0.0.1:{alpha.port}/")
    assert secret not in head.layout.supervisor_conf.read_text()
    for folder in (head.layout.secrets_dir, *head.layout.credentials_dir.rglob("*")):
        assert folder.stat().st_mode & 0o077 == 0
    for name, pid in pids(head).items():
        for file in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{pid}/{file}").read_bytes(), name
    assert not (head.layout.credentials_dir / "beta").exists()


def test_a_changed_secret_restarts_its_users(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = replace(pair[0], secrets=("JWT_KEY",)), replace(pair[1], secrets=("OTHER",))
    head, release = site.head(), site.release(alpha, beta)
    deploy(head, release)
    (head.layout.secrets_dir / "JWT_KEY").write_text("changed by hand")
    outcome = deploy(head, release)
    assert outcome.changes.restarted == ("alpha",)
    assert "JWT_KEY=changed by hand" in fetch(f"http://127.0.0.1:{alpha.port}/")
    assert len(list((head.layout.credentials_dir / "alpha").iterdir())) == 1
    assert deploy(head, release).changes.restarted == ()


def test_an_empty_secret_is_refused(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    (head.layout.secrets_dir / "JWT_KEY").write_text("")
    with pytest.raises(Exception, match="the secret JWT_KEY is empty"):
        deploy(head, site.release(replace(pair[0], secrets=("JWT_KEY",))))
    assert history(head) == ()


def test_state_outlives_releases(site: Site) -> None:
    (port,) = free_ports(1)
    alpha = Tiny(
        "alpha",
        port,
        state=("logs", "database/app.db", "uploads/"),
        seeds=(("database/app.db", "seed"), ("logs/readme.txt", "look here")),
    )
    head = site.head()
    deploy(head, site.release(alpha))
    home = site.state_dir / "alpha"
    assert (home / "database/app.db").read_text() == "seed"
    assert (home / "logs/readme.txt").read_text() == "look here"
    assert (home / "uploads").is_dir()
    assert head.load(head.profile.get(1).path).services["alpha"].path.joinpath("logs").is_dir()
    (home / "database/app.db").write_text("rows")
    other = replace(alpha, version="2.0", seeds=(("database/app.db", "another seed"),))
    deploy(head, site.release(other))
    rollback(head)
    assert (home / "database/app.db").read_text() == "rows"


def test_seeds_that_do_not_arrive_are_named(site: Site) -> None:
    (port,) = free_ports(1)
    names = [f"conf/{n}.ini" for n in range(5)]
    alpha = Tiny("alpha", port, state=("conf/",), seeds=tuple((each, "one") for each in names))
    head, events = site.head(), list[Event]()
    first = site.release(alpha)
    deploy(head, first, observe=events.append)
    assert [each for each in events if each.what is What.KEPT] == []
    other = replace(alpha, version="2.0", seeds=tuple((each, "two") for each in names))
    deploy(head, site.release(other), observe=events.append)
    start(head, observe=events.append)
    said = "differs from the release: conf/0.ini, conf/1.ini, conf/2.ini and 2 more"
    assert [each for each in events if each.what is What.KEPT] == [Event(What.KEPT, "alpha", said)]
    assert (site.state_dir / "alpha/conf/0.ini").read_text() == "one"


def test_a_file_in_the_way_of_state(site: Site) -> None:
    (port,) = free_ports(1)
    place = site.state_dir / "alpha" / "logs"
    place.parent.mkdir(parents=True)
    place.write_text("a file")
    with pytest.raises(StateError) as caught:
        deploy(site.head(), site.release(Tiny("alpha", port, state=("logs/",))))
    assert (caught.value.where, caught.value.got) == (str(place), "File exists")
    assert "move it away" in str(caught.value.hint)
    assert place.read_text() == "a file"


def test_a_file_in_the_way_of_every_state(site: Site) -> None:
    (port,) = free_ports(1)
    site.state_dir.write_text("a file")
    with pytest.raises(StateError) as caught:
        deploy(site.head(), site.release(Tiny("alpha", port)))
    assert caught.value.got == "Not a directory"


def test_a_state_folder_that_cannot_be_written(site: Site) -> None:
    """The process file system is read-only in its own way, for root too."""
    (port,) = free_ports(1)
    head = type(site.head())(site.store, Path("/proc/nowhere"), QUICK)
    with pytest.raises(StateError) as caught:
        deploy(head, site.release(Tiny("alpha", port)))
    assert str(caught.value.where).startswith("/proc/nowhere")
    assert "state_dir" in str(caught.value.hint)


def test_start_and_restart_provide_state_and_secrets(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha = replace(pair[0], secrets=("JWT_KEY",), state=("logs/",))
    beta = replace(pair[1], secrets=("JWT_KEY",))
    head = site.head()
    deploy(head, site.release(alpha, beta))
    other = pids(head)["beta"]
    secret, logs = head.layout.secrets_dir / "JWT_KEY", site.state_dir / "alpha" / "logs"

    def used() -> tuple[str, bool]:
        return fetch(f"http://127.0.0.1:{alpha.port}/").split("=")[1], logs.is_dir()

    for value, command in (("one", restart), ("two", start), ("three", restart)):
        secret.write_text(value)
        logs.rmdir()
        command(head, ["alpha"])
        assert used() == (value, True)
        assert pids(head)["beta"] == other
    logs.rmdir()
    stop(head, ["alpha"])
    start(head, ["alpha"])
    assert used() == ("three", True)
    logs.rmdir()
    restart(head)
    assert used() == ("three", True)
    assert "JWT_KEY=three" in fetch(f"http://127.0.0.1:{beta.port}/")


def test_a_secret_that_is_gone_is_asked_for(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    release = site.release(replace(pair[0], secrets=("JWT_KEY",)))
    (head.layout.secrets_dir / "JWT_KEY").write_text("by hand")
    deploy(head, release)
    (head.layout.secrets_dir / "JWT_KEY").unlink()
    for command in (lambda: deploy(head, release), lambda: restart(head, ["alpha"])):
        with pytest.raises(SecretMissingError) as caught:
            command()
    assert caught.value.where == str(head.layout.secrets_dir / "JWT_KEY")
    assert list(head.layout.secrets_dir.glob("JWT_KEY")) == []
    assert status(head).healthy
    record = str(caught.value.hint).rpartition("rm ")[2]
    Path(record).unlink()
    events = list[Event]()
    deploy(head, release, observe=events.append)
    assert What.GENERATED in {each.what for each in events}


def test_a_worker_that_answers_for_another_is_found_out(site: Site) -> None:
    """Killed with -9, a parent leaves a child that goes on listening."""
    (port,) = free_ports(1)
    head = site.head(replace(QUICK, start_seconds=0))
    deploy(head, site.release(Tiny("alpha", port, temper="prefork")))
    assert status(head).healthy
    group = pids(head)["alpha"] or 0
    os.kill(group, signal.SIGKILL)
    try:
        deadline = time.monotonic() + 10
        while not (found := status(head).services[0]).pid or found.pid == group:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not found.healthy
        assert str(found.health).startswith(f"another process holds port {port}: pid ")
        assert version(Tiny("alpha", port)) == "1.0"
    finally:
        os.killpg(group, signal.SIGKILL)


def test_state_of_another_folder_is_refused(site: Site, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    release = site.release(Tiny("alpha", port, state=("logs",)))
    other = type(site.head())(site.store, tmp_path / "elsewhere", QUICK)
    with pytest.raises(BadReleaseError) as caught:
        deploy(other, release)
    assert caught.value.got == f"{site.state_dir}/alpha/logs"


def test_stop_start_and_restart(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    with pytest.raises(NoGenerationError):
        start(head)
    deploy(head, site.release(*pair))
    before = pids(head)
    restart(head, ["alpha"])
    after = pids(head)
    assert (after["alpha"] != before["alpha"], after["beta"] == before["beta"]) == (True, True)
    stop(head, ["alpha"])
    found = {each.name: each for each in status(head).services}
    assert (found["alpha"].phase, found["alpha"].pid) == (Phase.STOPPED, None)
    assert found["beta"].healthy
    assert start(head).started == ("alpha",)
    restart(head)
    assert pids(head)["beta"] != before["beta"]
    stop(head)
    stop(head)
    found = {each.name: each for each in status(head).services}
    assert {each.phase for each in found.values()} == {Phase.STOPPED}
    assert not status(head).alive
    assert start(head).started == ("alpha", "beta")
    assert status(head).healthy
    with pytest.raises(UnknownServiceError) as caught:
        restart(head, ["gamma"])
    assert caught.value.got == "there are: alpha, beta"
    with pytest.raises(UnknownServiceError) as caught:
        stop(head, ["alpa"])
    assert caught.value.hint == "did you mean 'alpha'?"


def test_start_says_what_is_sick_and_leaves_it(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = (replace(each, timeout=0.5) for each in pair)
    head = site.head()
    release = site.release(alpha, beta)
    deploy(head, release)
    stop(head)
    spoil(head.load(release).services["beta"].path / "serve.py", "import time\ntime.sleep(60)\n")
    with pytest.raises(UnhealthyError) as caught:
        start(head)
    assert caught.value.service == "beta"
    assert status(head).alive


def test_rollback_after_stop(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    deploy(head, site.release(*pair))
    deploy(head, site.release(pair[0].at("2.0"), pair[1]))
    stop(head)
    rollback(head)
    assert version(pair[0]) == "1.0"


def test_children_are_stopped_with_their_parent(site: Site) -> None:
    (port,) = free_ports(1)
    head = site.head()
    deploy(head, site.release(Tiny("alpha", port, temper="child")))
    group = pids(head)["alpha"]
    assert group is not None
    assert len(members(group)) == 2
    deploy(head, site.release(Tiny("alpha", port, "2.0")))
    assert members(group) == []


def test_one_that_will_not_stop_is_killed(site: Site) -> None:
    (port,) = free_ports(1)
    head = site.head(replace(QUICK, stop_seconds=1))
    deploy(head, site.release(Tiny("alpha", port, temper="ignores-term")))
    group = pids(head)["alpha"]
    deploy(head, site.release(Tiny("alpha", port, "2.0")))
    assert members(group or 0) == []


def members(group: int) -> list[str]:
    said = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in said.stdout.splitlines())
    return [pgid for pgid, stat in rows if int(pgid) == group and not stat.startswith("Z")]


def test_a_killed_supervisord_leaves_no_riddle(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    """Its services live on without it; the next start ends them and takes over."""
    head = site.head()
    deploy(head, site.release(*pair))
    before = pids(head)
    os.kill(int(head.layout.supervisor_pid.read_text()), signal.SIGKILL)
    time.sleep(0.05)
    found = status(head)
    assert not found.alive
    assert {each.phase for each in found.services} == {Phase.STOPPED}
    assert version(pair[0]) == "1.0"
    deploy(head, site.release(pair[0].at("2.0"), pair[1]))
    assert version(pair[0]) == "2.0"
    assert all(members(pid or 0) == [] for pid in before.values())


def test_logs_survive_and_tell(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    deploy(head, site.release(*pair))
    deploy(head, site.release(pair[0].at("2.0"), pair[1]))
    lines = [each.text for each in last_lines(head.layout, "alpha", 10)]
    assert lines == ["alpha 1.0 begins", "alpha 2.0 begins"]


def test_a_deep_folder(tmp_path: Path, pair: tuple[Tiny, Tiny]) -> None:
    """A socket's path has 107 bytes; a folder may have more."""
    deep = tmp_path.resolve() / ("deep" * 20) / ("and deeper" * 5)
    deep.mkdir(parents=True)
    with LocalStore.open(deep / "store") as store:
        site = Site(deep, store)
        head = site.head()
        try:
            deploy(head, site.release(*pair))
            assert status(head).healthy
            assert head.layout.supervisor_socket.parent.stat().st_mode & 0o077 == 0
        finally:
            head.services.shutdown()
            head.layout.supervisor_socket.parent.rmdir()


def test_a_job_handed_on_outlives_its_service(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    """A scheduler passes the environment on: the mark alone makes nobody ours to end."""
    head = site.head()
    deploy(head, site.release(*pair))
    environment = {MARK: str(head.layout.head_dir)}
    with subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as job:
        os.kill(int(head.layout.supervisor_pid.read_text()), signal.SIGKILL)
        time.sleep(0.05)
        stop(head)
        assert job.poll() is None
        job.kill()


def test_prune_keeps_the_way_back(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    for number in range(1, 5):
        deploy(head, site.release(pair[0].at(f"{number}.0")))
    rollback(head, 2)
    units = [head.layout.unit_record(number) for number in (3, 4)]
    units[0].parent.mkdir(parents=True)
    for file in units:
        file.write_text("{}")
    assert [each.number for each in prune(head, 1)] == [3]
    assert [file.exists() for file in units] == [False, True]
    assert [each.number for each in history(head)] == [1, 2, 4]
    kept = {str(site.store.parse(each.path)) for each in history(head)}
    gone = {each.name for each in site.store.store_dir.iterdir() if each.name.endswith("-release")}
    assert len(gone - kept) == 1
    assert rollback(head).generation == 1
    assert deploy(head, site.release(pair[1])).generation == 5


def test_prune_forgets_first_what_never_was_healthy(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    head = site.head()
    for number in range(1, 4):
        deploy(head, site.release(pair[0].at(f"{number}.0")))
    for number in range(4, 7):
        path = site.release(pair[0].at(f"{number}.0"))
        head.profile.add(number, path, "somebody")
        head.profile.mark(number, Status.FAILED if number < 6 else Status.CUT)
    assert [each.number for each in prune(head, 5)] == [4]
    assert [each.number for each in prune(head, 3)] == [5, 6]
    assert [each.number for each in history(head)] == [1, 2, 3]
    assert head.audit.entries()[-1].action == "gc"
