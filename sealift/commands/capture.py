"""`sealift capture`: write down what a head has installed, to lock packages beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from builders.base_system import BaseSystem
    from builders.settings import Settings
    from deploy.host import Host
    from sealift.site import Location


@click.command()
@click.argument("host")
@click.option("--name", help="What the base system is called; by default as the host.")
@click.option(
    "--ssh-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read this file instead of ~/.ssh/config: ports, keys, known hosts.",
)
@click.option(
    "--minimal",
    metavar="CODENAME",
    help="Ask no head: make the base HOST of what a Debian release requires.",
)
@click.pass_obj
def capture(
    location: Location, host: str, name: str | None, ssh_config: Path | None, minimal: str | None
) -> None:
    """Write the base system of HOST to recipes/bases/HOST.status.

    HOST is a host of sealift.yaml, reached as the inventory says, or else a destination of ssh,
    whose host key must be known to ssh. It may be the file of a receipt: then each head that this
    tells of gets a file, or with --name all of them one, if they are alike. Only what apt decides
    by is kept.
    """
    settings = location.settings()
    receipt = Path(host)
    if minimal is None and _is_receipt(receipt):
        for base, found in _told(receipt, settings, name).items():
            _keep(base, found, f"sealift capture {receipt.name}", settings)
        return
    base = host.rpartition("@")[2] if name is None else name
    _check_name(base)
    found, origin = _captured(host, settings, ssh_config=ssh_config, release=minimal)
    _keep(base, found, origin, settings)


def _keep(base: str, found: BaseSystem, origin: str, settings: Settings) -> None:
    """Write a base system, and say so."""
    file = _write(base, found.text(origin), settings)
    click.echo(f"captured  {base}: {found.title}, {found.packages} packages", err=True)
    click.echo(file)


def _is_receipt(file: Path) -> bool:
    from deploy.receipt_file import is_receipt

    return is_receipt(file)


def _told(file: Path, settings: Settings, name: str | None) -> dict[str, BaseSystem]:
    """Return the base systems of a receipt by what they are to be called.

    Raises:
        InputError: it tells of none, or --name would make one of several.
        Error: nobody signed it whom the settings trust.
    """
    from builders.base_system import BaseSystem
    from builders.dpkg_status import reduce
    from sealift.receipts import load
    from store.errors import InputError

    found = {
        each.name: BaseSystem(each.packages.title, reduce(each.packages.status, where=str(file)))
        for each in load(settings, file).heads
        if each.packages is not None
    }
    if not found:
        reason = "the receipt tells of no head that has dpkg"
        raise InputError(reason, where=str(file), hint="sealift receipt -o FILE --host HEADS")
    if name is not None:
        alike = set(found.values())
        if len(alike) > 1:
            reason = f"{len(found)} heads have different packages: {', '.join(found)}"
            raise InputError(reason, where=str(file), hint="leave --name out")
        found = {name: alike.pop()}
    for base in found:
        _check_name(base)
    return found


def _captured(
    host: str, settings: Settings, *, ssh_config: Path | None, release: str | None
) -> tuple[BaseSystem, str]:
    from builders.base_system import capture_local, capture_remote, minimal
    from deploy.inventory import load

    if release is not None:
        _check_codename(release)
        return minimal(release, settings), f"sealift capture {host} --minimal {release}"
    said = f"sealift capture {host}"
    listed = load(settings).hosts.get(host)
    if listed is None:
        return capture_remote(host, config=ssh_config), said
    if listed.local:
        return capture_local(), said
    return _over_ssh(listed, settings, ssh_config), said


def _over_ssh(host: Host, settings: Settings, config: Path | None) -> BaseSystem:
    """Ask a host of the inventory, on the same route as a deploy."""
    from dataclasses import replace

    from builders.base_system import SCRIPT, TIMEOUT, heard
    from deploy.transport import connect
    from sealift.hosts import ssh

    using = replace(ssh(settings), config=config) if config else ssh(settings)
    with connect(host, using) as connection:
        ended = connection.run(["sh", "-c", SCRIPT], timeout=TIMEOUT, root=False)
    return heard(host.name, ended.status, ended.stdout, ended.stderr.encode())


def _check_codename(codename: str) -> None:
    """Refuse what is no codename: it becomes part of a mirror's address."""
    from builders.recipe_words import is_suite
    from store.errors import InputError

    if not is_suite(codename):
        raise InputError(f"{codename!r} is no Debian release", expected="for example bookworm")


def _check_name(base: str) -> None:
    from builders.recipe_words import name_fault
    from store.errors import InputError

    fault = name_fault(base)
    if fault is not None:
        raise InputError(fault, hint="--name NAME")


def _write(base: str, text: str, settings: Settings) -> Path:
    """Replace the base system's file at once."""
    from builders.apt_base import base_file

    file = base_file(base, settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
    return file
