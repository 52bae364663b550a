"""systemd's units of a release: what they say, and what systemd itself makes of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders.scripts.unit_names import LONGEST_USER, instance, named, user
from builders.scripts.unit_words import bare, setting, word
from builders.scripts.units import HIDDEN, Head, Unit, sysusers, units

if TYPE_CHECKING:
    from pathlib import Path

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
OTHER = HASH[::-1]
HASH_SIZE = len(HASH)
LONGEST_ADDRESS = 108
"""Bytes of the address of a Unix socket, with the one that ends it."""
WORST = 4.0
"""What no unit may exceed in `systemd-analyze security`."""
HEAD = Head("/opt/sealift/store", "/opt/sealift/var", "/var/lib/sealift")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


def unit(name: str = "alpha", store: str = HEAD.store_dir, **more: Any) -> Unit:
    path = f"{store}/{HASH}-{name}"
    facts: dict[str, Any] = {
        "command": ("/bin/sh", "-c", f"{path}/run"),
        "env": {},
        "port": 5000,
        "socket": True,
        "concurrent": True,
        "notify": True,
    }
    return Unit(name=name, path=path, cwd=path, **(facts | more))


def files(*wanted: Unit, head: Head = HEAD, agent: str | None = None) -> dict[str, str]:
    return units([*wanted], f"{head.store_dir}/{OTHER}-nginx-1.22", head, agent)


def service(wanted: Unit, head: Head = HEAD) -> str:
    return files(wanted, head=head)[f"sealift-{wanted.name}@.service"]


def values(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


# What a unit says.


def test_a_template_names_its_store_path_itself() -> None:
    text = service(unit(command=("/bin/sh", f"{HEAD.store_dir}/{HASH}-alpha/run")))
    assert values(text, "ExecStart") == [f'"/bin/sh" "{HEAD.store_dir}/{HASH}-alpha/run"']
    assert values(text, "WorkingDirectory") == [f"{HEAD.store_dir}/{HASH}-alpha"]


@pytest.mark.parametrize(
    "change", [{"limits": {"files": "99"}}, {"port": 5001}, {"env": {"A": "1"}}]
)
def test_whatever_changes_is_another_instance(change: dict[str, Any]) -> None:
    before, after = (named("alpha", each.path, files(each)) for each in (unit(), unit(**change)))
    assert before.startswith(f"{HASH}-")
    assert before[:HASH_SIZE] == after[:HASH_SIZE]
    assert before != after


def test_an_instance_has_room_for_its_probe_whatever_its_name() -> None:
    wanted = unit("a" * 64)
    address = values(files(wanted)[f"sealift-{wanted.name}-probe@.socket"], "ListenStream")[0]
    mine = named(wanted.name, wanted.path, files(wanted))
    assert len(address.replace("%i", mine)) < LONGEST_ADDRESS


def test_both_sockets_go_to_an_instance_and_never_block() -> None:
    text = service(unit())
    assert values(text, "Sockets") == ["sealift-alpha.socket sealift-alpha-probe@%i.socket"]
    assert values(text, "NonBlocking") == ["yes"]


def test_the_socket_is_for_this_machine_and_never_gives_up() -> None:
    text = files(unit())["sealift-alpha.socket"]
    assert values(text, "ListenStream") == ["127.0.0.1:5000"]
    mine = named("alpha", unit().path, files(unit()))
    assert values(text, "Service") == [f"sealift-alpha@{mine}.service"]
    assert values(text, "TriggerLimitIntervalSec") == ["0"]


def test_a_probe_is_roots_and_goes_with_its_instance() -> None:
    text = files(unit())["sealift-alpha-probe@.socket"]
    assert values(text, "ListenStream") == ["/run/sealift/probe/%i.sock"]
    assert values(text, "SocketMode") == ["0600"]
    assert values(text, "PartOf") == ["sealift-alpha@%i.service"]


def test_without_a_socket_the_service_opens_its_port_itself() -> None:
    found = files(unit(socket=False, concurrent=False, notify=False))
    assert "sealift-alpha.socket" not in found
    text = found["sealift-alpha@.service"]
    assert not values(text, "Sockets")
    assert values(text, "Type") == ["exec"]


def test_what_the_head_fills_in() -> None:
    text = service(
        unit(
            command=(
                "/bin/sh",
                "{port}",
                "{port:nginx}",
                "{state}",
                "{credentials}/KEY",
                "{url}/a",
            ),
            env={"OTHER": "127.0.0.1:{port:alpha}", "FILE": "{credentials}/KEY"},
            secrets=("KEY",),
        )
    )
    assert values(text, "ExecStart") == [
        '"/bin/sh" "5000" "443" "/var/lib/sealift/alpha" "%d/KEY" "${SEALIFT_URL}/a"'
    ]
    environment = values(text, "Environment")
    assert '"OTHER=127.0.0.1:5000"' in environment
    assert '"FILE=%d/KEY"' in environment
    assert values(text, "LoadCredential") == ["KEY:/run/sealift/credentials/alpha/KEY"]


def test_words_of_gunicorn_follow_the_command() -> None:
    text = service(unit(command=("/bin/sh",), words=("--preload", "--pid", "/run/x.pid")))
    assert values(text, "ExecStart") == ['"/bin/sh" "--preload" "--pid" "/run/x.pid"']


def test_limits() -> None:
    text = service(unit(limits={"memory": "2G", "cpu": "200%", "tasks": "512", "files": "4096"}))
    assert values(text, "MemoryMax") == ["2G"]
    assert values(text, "CPUQuota") == ["200%"]
    assert values(text, "TasksMax") == ["512"]
    assert values(text, "LimitNOFILE") == ["4096"]


@pytest.mark.parametrize(
    ("state_dir", "key", "value"),
    [
        ("/var/lib/sealift", "StateDirectory", '"sealift/alpha"'),
        ("/srv/state", "ReadWritePaths", '"/srv/state/alpha"'),
        ("/var/lib", "ReadWritePaths", '"/var/lib/alpha"'),
        ("/var/lib/a b", "ReadWritePaths", '"/var/lib/a b/alpha"'),
        ("/var/lib/a:b", "ReadWritePaths", '"/var/lib/a:b/alpha"'),
    ],
)
def test_state_is_all_that_can_be_written(state_dir: str, key: str, value: str) -> None:
    text = service(unit(), replace(HEAD, state_dir=state_dir))
    assert values(text, key) == [value]
    assert values(text, "ProtectSystem") == ["strict"]
    assert len(values(text, "StateDirectory") + values(text, "ReadWritePaths")) == 1


@pytest.mark.parametrize("root", [*HIDDEN, "/home/x/y"])
def test_what_a_unit_of_its_own_tmp_would_not_see_is_shown_to_it(root: str) -> None:
    head = Head(f"{root}/store", f"{root}/var", f"{root}/lib")
    text = service(unit(store=head.store_dir), head)
    assert values(text, "BindReadOnlyPaths") == [f'"{root}/store"', f'"{root}/var"']
    assert values(text, "BindPaths") == [f'"{root}/lib/alpha"']
    assert not values(service(unit()), "Bind.*")


def test_the_target_wants_each_instance() -> None:
    found = files(unit(), unit("beta", port=1, socket=False))
    paths = {name: f"{HEAD.store_dir}/{HASH}-{name}" for name in ("alpha", "beta")}
    paths["nginx"] = f"{HEAD.store_dir}/{OTHER}-nginx-1.22"
    assert values(found["sealift.target"], "Wants") == [
        "sealift-alpha.socket",
        "sealift-nginx.socket",
        *(f"sealift-{name}@{named(name, path, found)}.service" for name, path in paths.items()),
    ]


def test_the_web_server_takes_as_many_sockets_as_it_has() -> None:
    found = files(unit())
    assert values(found["sealift-nginx.socket"], "ListenStream") == ["0.0.0.0:80", "0.0.0.0:443"]
    assert '"NGINX=3;4;5;"' in values(found["sealift-nginx@.service"], "Environment")
    plain = files(unit(), head=replace(HEAD, http=8080, https=None))
    assert values(plain["sealift-nginx.socket"], "ListenStream") == ["0.0.0.0:8080"]
    assert '"NGINX=3;4;"' in values(plain["sealift-nginx@.service"], "Environment")


def test_a_reload_does_not_look_for_sockets_that_it_has_not_got() -> None:
    (command,) = values(files(unit())["sealift-nginx@.service"], "ExecReload")
    assert command.startswith("/usr/bin/env --unset=NGINX ")
    assert command.endswith(" -s reload")


def test_no_unit_of_an_agent_that_is_not_there() -> None:
    assert not [name for name in files(unit()) if name.startswith(("sealift-b", "sealift-r"))]
    found = files(unit(), agent="/opt/sealift/store/x-agent/bin/sealift")
    assert {"sealift-boot.service", "sealift-recover.service", "sealift-recover.timer"} <= {*found}


# Names.


@given(NAMES)
@example("a" * 64)
@example("kooCAEWebServer_5000")
def test_users_are_legal_and_short(name: str) -> None:
    assert re.fullmatch(r"sealift-[A-Za-z0-9_-]+", user(name))
    assert len(user(name)) <= LONGEST_USER


@given(st.lists(NAMES, unique=True, max_size=50))
@example(["a.b", "a-b"])
@example(["a" * 40, "a" * 41])
def test_no_two_services_share_a_user(names: list[str]) -> None:
    assert len({user(name) for name in names}) == len(names)


def test_a_user_for_two_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builders.scripts.units.user", lambda _: "sealift-one")
    with pytest.raises(SystemExit, match="one and two would run as one user"):
        sysusers(["one", "two"])


@pytest.mark.parametrize("limit", ["", "2 G", "2G\nUser=root", "-1", "infinity", "2X"])
def test_what_is_no_limit(limit: str) -> None:
    with pytest.raises(SystemExit, match="no limit of memory"):
        files(unit(limits={"memory": limit}))


@pytest.mark.parametrize("name", ["../x", "a b", "a@b", "", "-a", "a\n", "é"])
def test_a_name_after_which_no_unit_can_be_called(name: str) -> None:
    with pytest.raises(SystemExit, match="no unit can be called"):
        files(replace(unit(), name=name))


# Spelling. What systemd reads of it is tried on a head, in `tests/lab`.


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("plain", '"plain"'),
        ("", '""'),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("$HOME ${X}", '"$$HOME $${X}"'),
        ('say "no"', r'"say \"no\""'),
        ("it's", '"it\'s"'),
        (r"C:\n", r'"C:\\n"'),
        (";", '";"'),
        ("#!;", '"#!;"'),
        ("é€", '"é€"'),
    ],
)
def test_words_of_a_command(text: str, spelled: str) -> None:
    assert word(text) == spelled


def test_dollars_are_nothing_special_elsewhere() -> None:
    assert setting("$HOME %h") == '"$HOME %%h"'
    assert bare("/a b/%i$x") == "/a b/%%i$x"


@pytest.mark.parametrize("bad", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x85", "\u2028"])
def test_nothing_gets_out_of_its_line(bad: str) -> None:
    for spell in (word, setting, bare):
        with pytest.raises(SystemExit, match="control character"):
            spell(f"a{bad}ExecStartPre=/bin/sh")


@given(st.text())
def test_a_spelled_word_is_one_line_in_quotes(text: str) -> None:
    try:
        spelled = word(text)
    except SystemExit:
        return
    assert len(spelled.splitlines()) == 1
    assert re.fullmatch(r'"(?:[^"\\]|\\\\|\\")*"', spelled)


# systemd's own judgement.

needs_systemd = pytest.mark.skipif(
    not os.environ.get("CI") and shutil.which("systemd-analyze") is None,
    reason="there is no systemd-analyze here",
)


def laid(folder: Path) -> tuple[Path, list[str]]:
    """Write the units of a release whose programs are there; give the names to verify."""
    store = folder / "store"
    head = Head(str(store), str(folder / "var"), "/var/lib/sealift")
    for name in (f"{HASH}-alpha/run", f"{HASH}-beta/run", f"{OTHER}-nginx-1.22/usr/sbin/nginx"):
        program(store / name)
    program(folder / "var/profiles/system/bin/sealift")
    alpha = unit("alpha", head.store_dir, secrets=("KEY",), limits={"memory": "1G", "cpu": "50%"})
    odd = 'a %n $HOME ${X} "q" \\ \' ; # é'
    beta = unit("beta", head.store_dir, port=2, env={"ODD": odd}, socket=False)
    beta = replace(beta, command=(f"{beta.path}/run", odd, ";", "{url}"))
    wanted = files(alpha, beta, head=head, agent=str(store / f"{HASH}-alpha/run"))
    (folder / "units").mkdir()
    for name, text in wanted.items():
        (folder / "units" / name).write_text(text)
    paths = {name: f"{head.store_dir}/{HASH}-{name}" for name in ("alpha", "beta")}
    paths["nginx"] = f"{head.store_dir}/{OTHER}-nginx-1.22"
    known = {name: named(name, path, wanted) for name, path in paths.items()}
    names = [each for each in wanted if each.startswith("sealift")]
    return folder / "units", [_named(each, known) for each in names]


def _named(name: str, known: dict[str, str]) -> str:
    found = re.fullmatch(r"sealift-(\w+?)(?:-probe)?@\.\w+", name)
    return name if found is None else name.replace("@.", f"@{known[found[1]]}.")


def program(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{folder}:", "LANG": "C.UTF-8"}
    argv = ["systemd-analyze", *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
def test_systemd_has_nothing_to_say_against_any_unit(tmp_path: Path) -> None:
    folder, names = laid(tmp_path)
    done = analyze(folder, "verify", "--man=no", *names)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_would_have_said_so(tmp_path: Path) -> None:
    folder, names = laid(tmp_path)
    file = folder / "sealift-alpha@.service"
    file.write_text(file.read_text() + "NoSuchKey=yes\n")
    done = analyze(folder, "verify", "--man=no", *names)
    assert "NoSuchKey" in done.stderr


@needs_systemd
def test_each_unit_is_confined(tmp_path: Path) -> None:
    folder, names = laid(tmp_path)
    found = {}
    for name in (each for each in names if each.endswith(".service")):
        (link := tmp_path / name).symlink_to(folder / re.sub(r"@[\w-]+", "@", name))
        done = analyze(folder, "security", "--offline=yes", "--no-pager", str(link))
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert level is not None, done.stderr
        found[name] = float(level[1])
    assert len(found) == 5
    assert not {name: level for name, level in found.items() if level >= WORST}
    assert max(level for name, level in found.items() if "@" in name) < 2.0


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers here")
def test_the_users_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    names = ["alpha", "kooCAEWebServer_5000", "a.b", "x" * 64, "nginx"]
    conf = tmp_path / "sysusers.conf"
    conf.write_text(sysusers(names))
    argv = ["systemd-sysusers", f"--root={tmp_path}", str(conf)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    assert made == {user(name) for name in names}


def test_which_instance_comes_next_is_no_part_of_its_name() -> None:
    texts = [f"[Socket]\nListenStream=1\nService={each}\n" for each in ("a", "b")]
    first, second = (instance(f"/opt/store/{HASH}-a-b", "text", each) for each in texts)
    assert first == second
