"""Sealing secrets again by way of heads that can read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sealift.shown import say
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builders.settings import Settings
    from deploy.host import Host
    from deploy.reseal import Request
    from deploy.vault import Recipients

SECONDS = 120.0


def reseal(
    settings: Settings, names: Sequence[str], recipients: Recipients, wanted: str | None
) -> Iterator[tuple[str, bytes]]:
    """Give secrets as heads sealed them for `recipients`, as they come.

    `wanted` names the head to ask; without it, each that can read some is tried in its order.

    Raises:
        InputError: none of the heads that were reached can read what is left.
    """
    from deploy import inventory
    from deploy.reseal import Request
    from sealift import keyring

    vault = keyring.vault(settings)
    hosts = inventory.load(settings).select(wanted or ",".join(recipients.hosts))
    readers = {name: vault.standing(name, recipients).hosts for name in names}
    left = list(names)
    for host in hosts:
        mine = [name for name in left if host.name in readers[name]]
        request = Request({name: vault.read(name) for name in mine}, recipients.keys)
        done = _tried(settings, host, request) if mine else {}
        yield from done.items()
        left = [name for name in left if name not in done]
    if left:
        raise InputError(
            f"no head that was asked can read {', '.join(left)}",
            hint="name a private key that reads them: sealift secret rekey --identity FILE; "
            "or give the values again: sealift secret set NAME",
        )


def _tried(settings: Settings, host: Host, request: Request) -> dict[str, bytes]:
    """Ask a head; say why if it cannot, for another one may."""
    try:
        return _asked(settings, host, request)
    except Error as error:
        say(f"{host.name}: {error.reason}", err=True)
        return {}


def _asked(settings: Settings, host: Host, request: Request) -> dict[str, bytes]:
    """Ask the agent of one head.

    Raises:
        Error: it cannot be reached, has no agent that can, or cannot read them.
    """
    from deploy.place import Place
    from deploy.report import error_from_json
    from deploy.reseal import parse
    from deploy.transport import connect
    from sealift.hosts import ssh

    argv = [Place(settings.store_dir).agent, "agent", "reseal", "--json"]
    with connect(host, ssh(settings)) as connection:
        done = connection.run(argv, input=request.to_json(), timeout=SECONDS)
    if done.status == 0:
        return parse(done.stdout, request)
    said = _record(done.stdout)
    if "error" in said:
        raise error_from_json({**said, "slug": said["error"], "exit_code": done.status})
    raise InputError(
        f"{host.name} has no agent that seals secrets again",
        where=host.name,
        got=done.stderr.strip()[-200:] or f"exit status {done.status}",
        hint=f"sealift deploy --host {host.name}",
    )


def _record(output: bytes) -> dict[str, object]:
    try:
        said = json.loads(output)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
