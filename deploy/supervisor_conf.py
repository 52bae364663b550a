"""supervisord's configuration as text. Pure.

It is an INI file with `%` expansion, inline comments and quotes of three kinds; what cannot be
spelled in it is refused, never bent.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from deploy.errors import BadReleaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.layout import Layout
    from deploy.services import Program

HEADER = """\
[unix_http_server]
file = {socket}
chmod = 0700

[supervisord]
logfile = {log}/supervisord.log
logfile_maxbytes = 5MB
logfile_backups = 2
loglevel = info
pidfile = {pid}
childlogdir = {log}
directory = /
nocleanup = true
minfds = 256
minprocs = 64
umask = 022
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

# startretries: after a machine's start a service may wait minutes for what it needs.
PROGRAM = """
[program:{name}]
command = {command}
directory = {directory}
environment = {environment}
autostart = true
autorestart = true
startsecs = {start}
startretries = 20
stopsignal = TERM
stopwaitsecs = {stop}
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 5
"""


def render(programs: Sequence[Program], layout: Layout, *, user: str | None = None) -> str:
    """Return the configuration that runs `programs`; `user` is set where root asks.

    Raises:
        BadReleaseError: a command or a value that this format cannot carry.
    """
    header = HEADER.format(
        socket=_plain(str(layout.supervisor_socket)),
        log=_plain(str(layout.log_dir)),
        pid=_plain(str(layout.supervisor_pid)),
        user=f"user = {user}\n" if user else "",
    )
    return header + "".join(_program(each) for each in programs)


def _program(program: Program) -> str:
    return PROGRAM.format(
        name=program.name,
        command=_plain(shlex.join(program.command)),
        directory=_plain(str(program.directory)),
        environment=_plain(_environment(program)),
        start=program.start_seconds,
        stop=program.stop_seconds,
        log=_plain(str(program.log)),
    )


def _environment(program: Program) -> str:
    pairs = sorted(program.environment.items())
    return ",".join(f"{_key(key)}={_quote(key, value)}" for key, value in pairs)


def _key(key: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise BadReleaseError("this is no name of a variable", got=repr(key))
    return key


def _quote(key: str, value: str) -> str:
    """Quote a value: the reader knows no escapes, and strips every quote at either end."""
    mark = "'" if '"' in value else '"'
    if mark in value or value[:1] in ("'", '"') or value[-1:] in ("'", '"'):
        hint = "no quotes at the ends, and not both kinds"
        raise BadReleaseError(
            f"supervisord cannot carry the value of {key}", got=repr(value), hint=hint
        )
    return f"{mark}{value}{mark}"


def _plain(text: str) -> str:
    if not text.isprintable():
        reason = "supervisord's configuration cannot carry control characters"
        raise BadReleaseError(reason, got=repr(text)[:200])
    # An empty expansion between a blank and `;` or `#` keeps it from being taken for a comment.
    return re.sub(r"(?<=\s)(?=[;#])", "%(program_name).0s", text.replace("%", "%%"))
