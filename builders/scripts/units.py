"""systemd units of a release, as text. Pure.

A service has one socket, which stays open, and a template whose instance is named after its store
path and the text of its units: whatever changes, a new instance starts beside the old one. Names
are made in `builders.scripts.unit_names`, words spelled in `builders.scripts.unit_words`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from math import ceil
from pathlib import PurePosixPath
from typing import Any

from builders.scripts.unit_names import check_name, instance, listens, named, user
from builders.scripts.unit_words import bare, fill, joined, located, setting, word

BACKLOG = 4096
STOP_SECONDS = 60
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUN = "/run/sealift"
SITE = f"{RUN}/site.env"
"""Where a head writes the one variable `unit_words.URL`."""
HIDDEN = ("/tmp", "/var/tmp", "/home", "/root", "/run/user")  # noqa: S108 - they are not used
"""What a unit sees an own or an empty folder for."""
LIMIT = re.compile(r"[1-9][0-9]*[KMGT%]?")
HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
UMask=0027
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""
AGENT_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID
CapabilityBoundingSet=CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID CAP_SYS_PTRACE
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
"""
"""It runs as root: it makes users, tries out the web server and talks to systemd; no more."""


@dataclass(frozen=True, slots=True)
class Head:
    """What units say of every head: its folders, and what its web server listens on.

    `https` is None where pages go unencrypted.
    """

    store_dir: str
    var_dir: str
    state_dir: str
    http: int = 80
    https: int | None = 443

    @property
    def port(self) -> int:
        """Return the port at which browsers reach the site."""
        return self.https or self.http

    @property
    def profile(self) -> str:
        """Return the link that leads to the current release."""
        return f"{self.var_dir}/profiles/system"


@dataclass(frozen=True, slots=True)
class Unit:
    """One service as systemd runs it; `path` is its store path, `words` follow its command.

    `notify`: it says itself when it is ready.
    """

    name: str
    path: str
    port: int
    cwd: str
    command: tuple[str, ...]
    env: dict[str, str]
    secrets: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    socket: bool = False
    concurrent: bool = False
    notify: bool = False
    limits: dict[str, str] = field(default_factory=dict)
    start_seconds: float = 30.0

    @classmethod
    def read(cls, name: str, said: dict[str, Any]) -> Unit:
        """Take from what a service says of itself that which a unit is made of."""
        unit = said.get("unit", {})
        return cls(
            name=name,
            path=said["path"],
            port=said["port"],
            cwd=said["cwd"],
            command=tuple(said["command"]),
            env=said.get("env", {}),
            secrets=tuple(said.get("secrets", ())),
            words=tuple(unit.get("words", ())),
            socket=unit.get("socket", False),
            concurrent=unit.get("concurrent", False),
            notify=unit.get("notify", False),
            limits=unit.get("limits", {}),
            start_seconds=said["health"]["timeout"],
        )

    def about(self, files: dict[str, str]) -> dict[str, Any]:
        """Return what a head is told besides the texts of the units, which are `files`."""
        text = files.get(f"sealift-{self.name}.socket", "")
        return {
            "user": user(self.name),
            "socket": self.socket,
            "concurrent": self.concurrent,
            "instance": named(self.name, self.path, files),
            **({"listens": listens(text)} if text else {}),
        }


def units(services: list[Unit], nginx: str, head: Head, agent: str | None) -> dict[str, str]:
    """Return file name → text of all units and of `sysusers.conf`."""
    files: dict[str, str] = {}
    ports = {unit.name: unit.port for unit in services} | {"nginx": head.port}
    for unit in services:
        files |= service_files(unit, head, ports)
    files |= nginx_files(nginx, head)
    files["sealift.target"] = target(services, nginx, files)
    files["sysusers.conf"] = sysusers([unit.name for unit in services] + ["nginx"])
    return files | (agent_files(agent, head) if agent else {})


def service_files(unit: Unit, head: Head, ports: dict[str, int]) -> dict[str, str]:
    """Return the units of one service."""
    check_name(unit.name)
    files = {f"sealift-{unit.name}@.service": service(unit, head, ports)}
    if unit.socket:
        template = files[f"sealift-{unit.name}@.service"]
        address = f"127.0.0.1:{unit.port}"
        files[f"sealift-{unit.name}.socket"] = socket(unit.name, unit.path, [address], template)
        files[f"sealift-{unit.name}-probe@.socket"] = probe_socket(unit.name)
    return files


def service(unit: Unit, head: Head, ports: dict[str, int]) -> str:
    """Return the template of one service."""
    state = f"{head.state_dir}/{unit.name}"
    known = {"{port}": str(unit.port), "{state}": state}
    known |= {f"{{port:{name}}}": str(port) for name, port in ports.items()}

    def spell(text: str, quote: Any) -> str:  # noqa: ANN401 - one of the three above
        return located(quote(fill(text, known)))

    environment = {**base_environment(unit.name, state), **unit.env}
    lines = [f"Environment={spell(f'{k}={v}', setting)}" for k, v in environment.items()]
    lines += [f"LoadCredential={s}:{RUN}/credentials/{unit.name}/{s}" for s in unit.secrets]
    lines += limits(unit.limits)
    command = " ".join(spell(each, word) for each in (*unit.command, *unit.words))
    return (
        f"[Unit]\nDescription=sealift: {unit.name} (%i)\n"
        f"{common(head, state)}"
        f"\n[Service]\nType={'notify' if unit.notify else 'exec'}\n"
        f"{sockets(unit.name) if unit.socket else ''}"
        f"User={user(unit.name)}\nSyslogIdentifier={unit.name}\n"
        f"WorkingDirectory={spell(unit.cwd, bare)}\n"
        f"ExecStart={command}\n"
        f"EnvironmentFile=-{SITE}\n"
        f"TimeoutStartSec={max(ceil(unit.start_seconds), 1)}\n"
        f"{RUNNING}{joined(lines)}{HARDENING}"
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n"
        f"{state_folder(state, unit.name)}{seen(head, state)}"
    )


RUNNING = f"""\
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec={STOP_SECONDS}
"""


def common(head: Head, *places: str) -> str:
    """Return what all services say of when they run."""
    mounts = " ".join(setting(place) for place in (head.store_dir, *places))
    return (
        "PartOf=sealift.target\nAfter=network.target\nStartLimitIntervalSec=0\n"
        f"CollectMode=inactive-or-failed\nRequiresMountsFor={mounts}\n"
    )


def sockets(name: str) -> str:
    """Return the sockets that an instance takes over: the shared one, and one of its own.

    A start sets whether they block, and for the old instance as well: an `accept` of it that lost
    the race for a connection would hang, and with it every request of that worker.
    """
    return f"Sockets=sealift-{name}.socket sealift-{name}-probe@%i.socket\nNonBlocking=yes\n"


def base_environment(name: str, home: str) -> dict[str, str]:
    """Return the variables of every service, as on other heads."""
    return {
        "HOME": home,
        "LANG": "C.UTF-8",
        "PATH": PATH,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "SEALIFT_SERVICE": name,
    }


def limits(said: dict[str, str]) -> list[str]:
    """Return the limits that a recipe sets; no specifiers hold in them."""
    for name, value in said.items():
        if not LIMIT.fullmatch(value):
            sys.exit(f"{value!r} is no limit of {name}")
    keys = {"memory": "MemoryMax", "cpu": "CPUQuota", "tasks": "TasksMax", "files": "LimitNOFILE"}
    return [f"{keys[name]}={value}" for name, value in sorted(said.items())]


def state_folder(state: str, name: str) -> str:
    """Let systemd make the state where it makes such folders; elsewhere the agent does."""
    root = PurePosixPath("/var/lib")
    place = PurePosixPath(state)
    if not place.is_relative_to(root) or place.parent == root:
        return f"ReadWritePaths={setting(state)}\n"
    relative = str(place.relative_to(root))
    if " " in relative or ":" in relative:
        return f"ReadWritePaths={setting(state)}\n"
    check_name(name)
    return f"StateDirectory={setting(relative)}\nStateDirectoryMode=0750\n"


def seen(head: Head, *writable: str) -> str:
    """Show a unit the folders of ours that its own /tmp, /var/tmp and homes would hide."""
    shown = [("BindReadOnlyPaths", head.store_dir), ("BindReadOnlyPaths", head.var_dir)]
    shown += [("BindPaths", place) for place in writable]
    return joined([f"{key}={setting(place)}" for key, place in shown if hidden(place)])


def hidden(place: str) -> bool:
    """Tell whether a unit sees something else there."""
    return any(PurePosixPath(place).is_relative_to(folder) for folder in HIDDEN)


def socket(name: str, path: str, addresses: list[str], template: str) -> str:
    """Return the socket that all instances of a service share.

    It may be triggered as often as it likes: a socket that gives up refuses every request.
    """
    text = (
        f"[Unit]\nDescription=sealift: {name}, its socket\nPartOf=sealift.target\n"
        f"\n[Socket]\n{joined([f'ListenStream={address}' for address in addresses])}"
        f"Backlog={BACKLOG}\nNoDelay=yes\nTriggerLimitIntervalSec=0\n"
    )
    return f"{text}Service=sealift-{name}@{instance(path, template, text)}.service\n"


def probe_socket(name: str) -> str:
    """Return the socket by which one instance is asked whether it is healthy.

    Its address leaves out the service, which may have a longer name than an address has room for.
    """
    return (
        f"[Unit]\nDescription=sealift: {name} (%i), asked for its health\n"
        f"PartOf=sealift-{name}@%i.service\n"
        f"\n[Socket]\nListenStream={RUN}/probe/%i.sock\nSocketMode=0600\n"
        f"DirectoryMode=0711\nRemoveOnStop=yes\nTriggerLimitIntervalSec=0\n"
        f"Service=sealift-{name}@%i.service\n"
    )


def nginx_files(path: str, head: Head) -> dict[str, str]:
    """Return the units of the web server."""
    addresses = [f"0.0.0.0:{port}" for port in (head.http, head.https) if port]
    template = nginx(path, head)
    return {
        "sealift-nginx@.service": template,
        "sealift-nginx.socket": socket("nginx", path, addresses, template),
        "sealift-nginx-probe@.socket": probe_socket("nginx"),
    }


def nginx(path: str, head: Head) -> str:
    """Return the template of the web server, which takes its sockets as a new nginx takes an old's.

    It reads its configuration anew at a reload, so both lie behind the profile.
    """
    binary = word(f"{path}/usr/sbin/nginx")
    files = f"-p {word(head.var_dir + '/')} -c {word(head.profile + '/nginx/nginx.conf')}"
    count = 2 if head.https is None else 3
    passed = "".join(f"{number};" for number in range(3, 3 + count))
    return (
        "[Unit]\nDescription=sealift: nginx (%i)\n"
        f"{common(head, head.var_dir)}"
        f"\n[Service]\nType=exec\n{sockets('nginx')}"
        f"User={user('nginx')}\nSyslogIdentifier=nginx\nEnvironment={setting(f'NGINX={passed}')}\n"
        f"ExecStart={binary} {files}\n"
        # Who only brings the signal inherits no socket, and would miss those that NGINX promises.
        f"ExecReload=/usr/bin/env --unset=NGINX {binary} {files} -s reload\n"
        f"KillSignal=SIGQUIT\n{RUNNING}"
        "RuntimeDirectory=sealift-nginx/%i\nCacheDirectory=sealift-nginx\n"
        "CacheDirectoryMode=0700\nLimitNOFILE=16384\n"
        f"{HARDENING}"
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
        f"MemoryDenyWriteExecute=yes\nProcSubset=pid\n{seen(head)}"
    )


def target(services: list[Unit], nginx_path: str, files: dict[str, str]) -> str:
    """Return what stands for the whole release; a unit that a head does without is passed over."""
    wanted = [f"sealift-{unit.name}.socket" for unit in services if unit.socket]
    paths = [(unit.name, unit.path) for unit in services] + [("nginx", nginx_path)]
    wanted += ["sealift-nginx.socket"]
    wanted += [f"sealift-{name}@{named(name, path, files)}.service" for name, path in paths]
    lines = joined([f"Wants={name}" for name in wanted])
    return f"[Unit]\nDescription=sealift: the current generation\n{lines}"


def sysusers(names: list[str]) -> str:
    """Return the users that services run as: sysusers.d(5)."""
    taken: dict[str, str] = {}
    for name in names:
        if taken.setdefault(user(name), name) != name:
            sys.exit(f"{taken[user(name)]} and {name} would run as one user")
    return joined([f'u {each} - "sealift {name}"' for each, name in taken.items()])


def agent_files(agent: str, head: Head) -> dict[str, str]:
    """Return the units by which a head helps itself: after a start, and when nobody confirms."""
    mounts = f"RequiresMountsFor={setting(head.store_dir)} {setting(head.var_dir)}\n"
    confined = AGENT_HARDENING + ("" if hidden(head.var_dir) else "ProtectHome=yes\n")
    return {
        "sealift-boot.service": (
            "[Unit]\nDescription=sealift: bring up the current generation\n"
            f"{mounts}ConditionPathIsSymbolicLink={bare(head.profile)}\n"
            "\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
            f"ExecStart={word(f'{head.profile}/bin/sealift')} agent boot\n"
            f"{confined}"
            "\n[Install]\nWantedBy=multi-user.target\n"
        ),
        "sealift-recover.service": (
            f"[Unit]\nDescription=sealift: go back if nobody confirms\n{mounts}"
            f"\n[Service]\nType=oneshot\nExecStart={word(agent)} agent recover\n{confined}"
        ),
        "sealift-recover.timer": (
            "[Unit]\nDescription=sealift: go back if nobody confirms\n"
            "\n[Timer]\nOnActiveSec=10\nOnUnitInactiveSec=10\nAccuracySec=1\n"
        ),
    }
