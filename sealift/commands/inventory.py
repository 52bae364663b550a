"""`sealift inventory`: the hosts of the site, and hosts taken over from other inventories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealift.options import as_json
from store.errors import InputError

if TYPE_CHECKING:
    from deploy.host import Host
    from sealift.site import Location


@click.group()
def inventory() -> None:
    """Show the hosts of the site, or take them over from another inventory."""


@inventory.command("list")
@click.argument("hosts", nargs=-1)
@click.option("--resolved", is_flag=True, help="As SSH would reach them, and whether trusted.")
@as_json
@click.pass_obj
def list_hosts(
    location: Location, hosts: tuple[str, ...], *, resolved: bool, as_json: bool
) -> None:
    """List HOSTS, or all: address, way, roles. In the order in which they are taken."""
    from deploy.inventory import load
    from deploy.node_sets import fold

    settings = location.settings()
    found = load(settings)
    meant = found.select(hosts) if hosts else found.every()
    records = [_record(host) for host in meant]
    if resolved:
        records = [
            record | ({} if host.local else _resolved(location, host))
            for record, host in zip(records, meant, strict=True)
        ]
    if as_json:
        for record in records:
            click.echo(json.dumps(record))
        return
    _table(records)
    if not hosts:
        for name, members in found.groups.items():
            click.echo(f"@{name:<15} {fold(members.split(','))}")


@inventory.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a new file instead of standard output.",
)
@click.pass_obj
def take_over(location: Location, file: Path, output: Path | None) -> None:
    """Read FILE and give its hosts as sealift.yaml wants them.

    FILE is the YAML of a cluster with controllers and compute nodes, or an inventory of Ansible
    in either of its forms. Passwords are never taken over.
    """
    del location
    from builders.hosts_found import read
    from deploy.node_sets import fold

    found = read(file)
    text = found.text(fold)
    _check(text, file)
    for note in found.notes:
        click.echo(f"left out  {note}", err=True)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        reason = "the file is there already"
        raise InputError(reason, where=str(output), hint="add the hosts to it by hand") from None
    click.echo(output)


def _check(text: str, file: Path) -> None:
    """See that what was made of a file is what sealift itself reads.

    Raises:
        InputError: a host's name or setting is not taken.
    """
    import tempfile

    from builders.settings import load_settings
    from deploy.inventory import load

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "sealift.yaml"
        made.write_text(text, encoding="utf-8")
        try:
            load(load_settings(file=made))
        except InputError as fault:
            raise InputError(fault.reason, where=str(file), got=fault.got) from fault


def _record(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "kind": host.kind,
        "address": None if host.local else host.address,
        "user": host.user,
        "port": host.port,
        "gateway": host.gateway.name if host.gateway else None,
        "roles": list(host.roles),
        "services": None if host.services is None else list(host.services),
        "priority": host.priority,
    }


def _resolved(location: Location, host: Host) -> dict[str, Any]:
    from deploy.known_hosts import pinned
    from deploy.route import route
    from sealift.hosts import ssh

    settings = location.settings()
    hops = route(host, ssh(settings))
    last = hops[-1]
    return {
        "address": last.address,
        "user": last.user,
        "port": last.port,
        "gateway": " ".join(hop.pin for hop in hops[:-1]) or None,
        "trusted": all(pinned(settings.known_hosts, hop.pin) for hop in hops),
    }


def _table(records: list[dict[str, Any]]) -> None:
    width = max(len(record["name"]) for record in records)
    for record in records:
        click.echo(f"{record['name']:<{width}}  {_place(record):<32} {_what(record)}".rstrip())


def _place(record: dict[str, Any]) -> str:
    if record["kind"] == "local":
        return f"this machine, port {record['port']}"
    user = f"{record['user']}@" if record["user"] else ""
    port = f":{record['port']}" if record["port"] else ""
    return f"{user}{record['address']}{port}"


def _what(record: dict[str, Any]) -> str:
    words = [f"over {record['gateway']}"] if record["gateway"] else []
    words += [f"priority {record['priority']}"] if record["priority"] else []
    words.append("roles " + ", ".join(record["roles"]) if record["roles"] else "all services")
    if "trusted" in record:
        words.append(
            "trusted" if record["trusted"] else f"not trusted: sealift trust {record['name']}"
        )
    return "; ".join(words)
