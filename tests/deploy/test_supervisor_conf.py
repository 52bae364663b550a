"""The configuration as supervisord itself reads it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from supervisor.options import ServerOptions

from deploy.errors import BadReleaseError
from deploy.layout import SOCKET_LIMIT, Layout
from deploy.services import Program
from deploy.supervisor_conf import render

USER = "root" if os.geteuid() == 0 else None


def program(environment: dict[str, str], command: tuple[str, ...] = ("/bin/true",)) -> Program:
    return Program(
        name="one",
        command=command,
        directory=Path("/"),
        environment=environment,
        log=Path("/tmp/one.log"),  # noqa: S108
        start_seconds=1,
        stop_seconds=10,
    )


def read(text: str, folder: Path) -> Any:
    """Return the one program that supervisord finds in `text`."""
    layout_log = folder / "var/head/log"
    layout_log.mkdir(parents=True, exist_ok=True)
    (folder / "var/head/run").mkdir(exist_ok=True)
    file = folder / "supervisord.conf"
    file.write_text(text)
    options = ServerOptions()
    options.realize(["-c", str(file)])
    return options.process_group_configs[0].process_configs[0]


PRINTABLE = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=40
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(words=st.lists(PRINTABLE, min_size=1, max_size=4), value=PRINTABLE)
def test_supervisord_reads_what_was_meant(words: list[str], value: str, tmp_path: Path) -> None:
    """Whatever is not refused comes out as it went in."""
    layout = Layout(tmp_path / "var", tmp_path / "state")
    wanted = program({"KEY": value, "OTHER": "plain"}, ("/bin/true", *words))
    try:
        text = render([wanted], layout, user=USER)
    except BadReleaseError:
        return
    found = read(text, tmp_path)
    assert tuple(shlex.split(found.command)) == wanted.command
    assert found.environment == {"KEY": value, "OTHER": "plain"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a ; b",
        "a # b",
        ";",
        " #",
        "100%",
        "%(ENV_HOME)s",
        "a,b=c",
        'say "x" now',
        "it's one",
        '{"json": [1, 2]}',
        "back\\slash",
        "${HOME} $(id)",
        "ünï",
    ],
)
def test_values_that_must_go_through(value: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var", tmp_path / "state")
    text = render([program({"KEY": value}, ("/bin/echo", value))], layout, user=USER)
    found = read(text, tmp_path)
    assert found.environment["KEY"] == value
    assert shlex.split(found.command)[1] == value


@pytest.mark.parametrize("value", ["a\nb", "a\x00b", "\x1b", "'\"", '"quoted"', "'", "x\u2028y"])
def test_values_that_cannot(value: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var", tmp_path / "state")
    with pytest.raises(BadReleaseError):
        render([program({"KEY": value})], layout)


@pytest.mark.parametrize("key", ["A B", "A=B", "", "Ä", "A\n[program:x]"])
def test_names_of_variables_that_cannot(key: str, tmp_path: Path) -> None:
    with pytest.raises(BadReleaseError):
        render([program({key: "x"})], Layout(tmp_path / "var", tmp_path / "state"))


def test_stop_and_log_settings(tmp_path: Path) -> None:
    found = read(render([program({})], Layout(tmp_path / "var", tmp_path), user=USER), tmp_path)
    assert (found.stopasgroup, found.killasgroup) == (True, True)
    assert found.stdout_logfile_maxbytes > 0
    assert found.stdout_logfile_backups > 0


def test_a_long_folder_gets_a_short_socket() -> None:
    short = Layout(Path("/srv/sealift/var"), Path("/srv/state"))
    long = Layout(Path("/srv") / ("deep/" * 40), Path("/srv/state"))
    assert short.supervisor_socket == short.run_dir / "supervisor.sock"
    assert len(str(long.supervisor_socket)) <= SOCKET_LIMIT
    assert long.supervisor_socket != Layout(Path("/x/" + "y" * 200), Path("/")).supervisor_socket
