"""How a host is reached: the hops on the way, each as OpenSSH itself resolves it.

`ssh -G` reads the user's configuration, so that Fabric and OpenSSH mean the same address, user,
port and keys; the client for bulk data then gets a configuration of ours alone. Connecting is for
`deploy.transport`.
"""

from __future__ import annotations

import os
import pwd
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import openssh
from deploy.command import run
from deploy.host import Host, is_address, is_user, parse_hop
from deploy.known_hosts import spell
from deploy.ssh_errors import TransportError
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALIVE = 5
"""Seconds of silence after which the other side is asked for a sign of life."""
MISSED = 4
"""Signs of life that may stay out before the connection is given up."""
MOST_HOPS = 8
_RESOLVE = 30.0
"""Seconds for `ssh -G`, which reads files and no more, unless they say `Match exec`."""
_CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr"
"""The first moves 330 MB/s where OpenSSH's own first choice moves 240, both ends on one machine."""
_TOKEN = re.compile(r"%([%dhru])")


@dataclass(frozen=True, slots=True)
class Ssh:
    """What holds for all hosts: the file of host keys, and seconds in which one must answer.

    `config` is read instead of the user's and the system's SSH configuration.
    """

    known_hosts: Path
    connect_timeout: float = 10.0
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One host on the way, the last being the one that is meant; all is decided.

    `only` says that no other key than `identities` is to be tried, not even one of the agent.
    """

    name: str
    address: str
    port: int
    user: str
    identities: tuple[Path, ...]
    only: bool

    @property
    def pin(self) -> str:
        """How the file of host keys spells it."""
        return spell(self.address, self.port)


def route(host: Host, ssh: Ssh) -> tuple[Hop, ...]:
    """Resolve the hops to a host, the first gateway first.

    Raises:
        InputError: the SSH configuration cannot be read, or says what is not taken.
        TransportError: there are too many hops.
        NoOpenSshError: there is no OpenSSH client to ask.
    """
    if host.local:
        raise InputError(f"{host.name} is this machine; it is not reached by SSH", where=host.name)
    hops: list[Hop] = []
    at: Host | None = host
    while at is not None:
        if len(hops) == MOST_HOPS:
            raise TransportError("gateways lead to gateways without end", where=host.name)
        said = _resolved(at, ssh)
        hops.insert(0, _hop(at, said))
        at = at.gateway or _jump(said)
    return tuple(hops)


def config(hops: tuple[Hop, ...], ssh: Ssh) -> str:
    """Spell an SSH configuration that knows these hops, as `hop-0` and so on, and nothing else."""
    sections = [_section(number, hop) for number, hop in enumerate(hops)]
    return "".join((*sections, _stanza("*", _strict(ssh))))


def alias(hops: tuple[Hop, ...]) -> str:
    """Name the last hop as `config` does."""
    return f"hop-{len(hops) - 1}"


def public_keys(files: Iterable[Path]) -> set[str]:
    """Return the public keys that lie beside private ones, in base 64."""
    found: set[str] = set()
    for file in files:
        with suppress(OSError):
            found.update(Path(f"{file}.pub").read_text(encoding="utf-8").split()[1:2])
    return found


def _section(number: int, hop: Hop) -> str:
    said = {"HostName": hop.address, "Port": str(hop.port), "User": hop.user}
    if number:
        said["ProxyJump"] = f"hop-{number - 1}"
    said["IdentitiesOnly"] = "yes" if hop.only else "no"
    text = _stanza(f"hop-{number}", said)
    return text + "".join(f"  IdentityFile {_quoted(file)}\n" for file in hop.identities)


def _strict(ssh: Ssh) -> dict[str, str]:
    return {
        # Never ask, never learn: nobody may be there to answer, and a key is pinned or refused.
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(ssh.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "VerifyHostKeyDNS": "no",
        "PreferredAuthentications": "publickey",
        "ConnectTimeout": str(max(1, round(ssh.connect_timeout))),
        "ConnectionAttempts": "1",
        "ServerAliveInterval": str(ALIVE),
        "ServerAliveCountMax": str(MISSED),
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ControlMaster": "no",
        "ControlPath": "none",
        "PermitLocalCommand": "no",
        "RequestTTY": "no",
        "EscapeChar": "none",
        "Compression": "no",
        "Ciphers": _CIPHERS,
        "LogLevel": "ERROR",
    }


def _stanza(name: str, said: Mapping[str, str]) -> str:
    return f"Host {name}\n" + "".join(f"  {key} {value}\n" for key, value in said.items())


def _quoted(file: Path) -> str:
    """Spell a path so that ssh takes it as it is: in quotes, without tokens or variables."""
    text = str(file)
    if any(sign in text for sign in ('"', "\n", "\r", "\0", "${")):
        raise InputError("this path cannot be named to ssh", where=repr(text))
    return f'"{text.replace("%", "%%")}"'


def _resolved(host: Host, ssh: Ssh) -> dict[str, list[str]]:
    """Ask OpenSSH what it would do for a host; the inventory's own words go before the file's."""
    said = {
        "User": host.user,
        "Port": host.port,
        "HostName": host.address if host.written else None,
    }
    options = [f"-o{key}={value}" for key, value in said.items() if value is not None]
    files = ["-F", str(ssh.config)] if ssh.config else []
    argv = [openssh.ssh(), "-G", "-T", *files, *options, "--", host.name]
    ended = run(argv, env=os.environ, timeout=_RESOLVE)
    if ended.status:
        raise InputError(
            "the SSH configuration cannot be read",
            where=host.name,
            got=ended.output.strip().splitlines()[-1] if ended.output.strip() else None,
        )
    found: dict[str, list[str]] = {}
    for line in ended.output.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


def _hop(host: Host, said: Mapping[str, list[str]]) -> Hop:
    command = said.get("proxycommand", ["none"])[0]
    if command != "none" and host.gateway is None:
        raise InputError(
            "a ProxyCommand is not taken: nobody could tell whose host key it checks",
            where=host.name,
            got=command,
            hint="say ProxyJump in the SSH configuration, or gateway: in sealift.yaml",
        )
    address, user = said["hostname"][0], said["user"][0]
    if not is_address(address) or not is_user(user):
        raise InputError(
            "the SSH configuration says what is not taken", where=host.name, got=f"{user}@{address}"
        )
    port = int(said["port"][0])
    if host.key is not None:
        return Hop(host.name, address, port, user, (_there(host.key, host.name),), only=True)
    only = said.get("identitiesonly") == ["yes"]
    hop = Hop(host.name, address, port, user, (), only=only)
    files = [_expanded(text, hop) for text in said.get("identityfile", [])]
    return replace(hop, identities=tuple(file for file in files if file.is_file()))


def _there(key: Path, name: str) -> Path:
    if not key.is_file():
        raise InputError(f"the private key {key} is not there", where=f"hosts.{name}")
    return key


def _expanded(text: str, hop: Hop) -> Path:
    """Expand a key file's name as ssh does; it goes by the user, not by HOME."""
    home = pwd.getpwuid(os.getuid())
    if text.startswith("~/"):
        text = f"{home.pw_dir}{text[1:]}"
    words = {"%": "%", "d": home.pw_dir, "h": hop.address, "r": hop.user, "u": home.pw_name}
    return Path(_TOKEN.sub(lambda found: words[found[1]], text))


def _jump(said: Mapping[str, list[str]]) -> Host | None:
    """Return the gateway that the SSH configuration names, with those before it."""
    text = said.get("proxyjump", ["none"])[0]
    if text == "none":
        return None
    gateway: Host | None = None
    for word in text.split(","):
        gateway = replace(parse_hop(word.strip()), gateway=gateway)
    return gateway
