"""`sealift prove-offline`: run a release while nothing may leave the site, and sign the counts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealift.options import as_json, host, yes
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builders.settings import Settings
    from deploy.host import Host
    from deploy.offline import Step
    from deploy.proof import Proof
    from deploy.release import Release
    from deploy.watching import Watch
    from sealift.site import Location

TRANSFER = "transfer host"
"""What this machine is called in a proof; no host of an inventory has a blank in its name."""
_STEERING = re.compile(r"(?:PIP|NPM|UV|APT|YARN|NODE)_|.*_PROXY\Z", re.IGNORECASE)
_NOWHERE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_NO_INDEX": "1",
    "UV_NO_CONFIG": "1",
    "UV_OFFLINE": "1",
    "NPM_CONFIG_OFFLINE": "true",
    "NPM_CONFIG_USERCONFIG": os.devnull,
    "NPM_CONFIG_GLOBALCONFIG": os.devnull,
    "APT_CONFIG": os.devnull,
}


@click.command("prove-offline")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@host
@click.option(
    "--allow",
    multiple=True,
    metavar="ADDRESS",
    help="What may be reached besides the heads: an address, a network or a name of the site's "
    "own. It stands in the record. Can be given again.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0, max=3600),
    default=15.0,
    metavar="SECONDS",
    help="How long to go on counting after deploy, and after restart; 15 by default.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The record; its signature is FILE.sig. By default proof-TIME.json here.",
)
@click.option(
    "--sign-key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="KEY",
    help="Sign with this key instead of the site's.",
)
@click.option("--unsigned", is_flag=True, help="Do not sign the record.")
@yes
@as_json
@click.pass_obj
def prove_offline(
    location: Location,
    /,
    host: str | None,
    *,
    files: tuple[Path, ...],
    allow: tuple[str, ...],
    wait: float,
    output: Path | None,
    sign_key: Path | None,
    unsigned: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Receive FILES, deploy and restart everything while nothing may leave, and count what tries.

    On this machine and on the heads every packet to anywhere but the heads is dropped and counted;
    configuration and caches of pip, npm, uv and apt are hidden. The counts go to a record, which
    is signed. Needs root on this machine too. Exits with 8 if anything was counted.
    """
    from deploy.offline import prove
    from deploy.proof import dump
    from deploy.signing import PROOF
    from sealift.signing import signer

    _check_root()
    with location.open() as site:
        settings, hosts = site.settings, _heads(location, host)
    sign = None if unsigned else signer(settings, [sign_key] if sign_key else [], PROOF)
    names = ",".join(each.name for each in hosts)
    _agree(names, yes=yes)
    steps = _steps(files, names, wait)
    ours = _own_command(location)
    with ExitStack() as stack:
        watches, may = _watches(stack, location, settings, hosts, allow)
        proof = prove(watches, may, steps, partial(_act, ours), lambda: _services(location))
    proof = replace(proof, about=_about(location, settings, files))
    data = dump(proof)
    file = output or Path(time.strftime("proof-%Y%m%dT%H%M%SZ.json", time.gmtime(proof.began)))
    _write(file, data, sign)
    if as_json:
        click.echo(data.decode(), nl=False)
    else:
        _show(proof, file)
    proof.check()


def _check_root() -> None:
    if os.geteuid() != 0:
        raise InputError(
            "only root can see to it that nothing leaves this machine", hint="run it with sudo"
        )


def _heads(location: Location, wanted: str | None) -> tuple[Host, ...]:
    """Return the heads that are meant.

    Raises:
        InputError: none is reached by SSH.
    """
    from sealift import fleet

    with location.open() as site:
        hosts = fleet.chosen(site, wanted)
    if hosts is None:
        raise InputError("this is proved of heads that are reached by SSH", hint="--host HOSTS")
    return hosts


def _agree(names: str, *, yes: bool) -> None:
    question = (
        f"Deploy to {names} and restart everything there, with all ways out of these machines and "
        "of this one closed meanwhile?"
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is here to confirm", hint="pass --yes")
    click.confirm(question, err=True, abort=True)


def _steps(files: Sequence[Path], names: str, wait: float) -> tuple[Step, ...]:
    from deploy.offline import Step

    received = [Step("receive", ("sealift", "receive", *map(str, files)))] if files else []
    return (
        *received,
        Step("deploy", ("sealift", "deploy", "--host", names, "--yes"), wait),
        Step("restart", ("sealift", "restart", "--host", names), wait),
    )


def _own_command(location: Location) -> tuple[str, ...]:
    """Spell how this very program was started, without the words of this command."""
    words = len(sys.argv) - 1
    own = tuple(sys.orig_argv[: len(sys.orig_argv) - words])
    return own if location.config is None else (*own, "--config", str(location.config.absolute()))


def _act(ours: Sequence[str], step: Step) -> int:
    """Make a step; what it says goes to people, as only the record goes to standard output."""
    say(f"step {step.name}", err=True)
    env = {name: value for name, value in os.environ.items() if not _STEERING.match(name)}
    argv = [*ours, *step.command[1:]]
    done = subprocess.run(argv, env=env | _NOWHERE, stdout=sys.stderr, check=False)
    return done.returncode


def _watches(
    stack: ExitStack,
    location: Location,
    settings: Settings,
    hosts: Sequence[Host],
    allow: Sequence[str],
) -> tuple[list[Watch], Any]:
    """Connect to the heads; return a watch of each and of this machine, and what each may reach."""
    from deploy import carried, inventory
    from deploy.carried import NFT
    from deploy.local_machine import LocalMachine
    from deploy.offline import There, networks
    from deploy.place import Place
    from deploy.route import route
    from deploy.transport import connect
    from deploy.watching import Tools, Watch
    from sealift.hosts import ssh

    how, place = ssh(settings), Place(settings.store_dir)
    ways = [hop.address for each in hosts for hop in route(each, how)]
    every = [each.address for each in inventory.load(settings).hosts.values() if not each.local]
    inner = networks({*ways, *every, *allow})
    here = carried.folder(NFT.package) or _released(location)
    there = Tools(
        (f"{place.var_dir}/profiles/system/bin/nft",), here, f"{place.store_dir.parent}/proof"
    )
    own = carried.find(NFT) or ("" if here is None else f"{here}/{NFT.file}")
    watches = [Watch(LocalMachine(TRANSFER), Tools((own,), None, ""))]
    watches += [
        Watch(There(each.name, stack.enter_context(connect(each, how))), there) for each in hosts
    ]

    def may(watch: Watch) -> Sequence[Any]:
        return networks([*map(str, inner), *watch.addresses()])

    return watches, may


def _released(location: Location) -> Path | None:
    """Return the package of nft in the newest release here, if there is one."""
    found = _release(location)
    tool = None if found is None else found.tools.get("nft")
    return None if tool is None else tool.path


def _release(location: Location) -> Release | None:
    from sealift import fleet
    from store.errors import Error

    with location.open() as site:
        try:
            return fleet.release(site, None)
        except Error:
            return None


def _services(location: Location) -> Mapping[str, str]:
    """Name the services of the release by their users."""
    release = _release(location)
    if release is None:
        return {}
    users = {each.unit.user: name for name, each in release.services.items() if each.unit}
    return users | ({release.systemd.user_nginx: "nginx"} if release.systemd else {})


def _about(location: Location, settings: Settings, files: Sequence[Path]) -> dict[str, Any]:
    """Return what else stands in the record: who, where, which release, which files."""
    from sealift import fleet
    from sealift.version import text

    release = _release(location)
    return {
        "site": settings.site,
        "by": fleet.operator(),
        "sealift": text(),
        "release": None if release is None else release.path.name,
        "files": [file.name for file in files],
    }


def _write(file: Path, data: bytes, sign: Callable[[bytes], Sequence[bytes]] | None) -> None:
    """Write the record and its signature.

    Raises:
        SigningError: the key cannot sign now; the record is there then.
        InputError: they cannot be written.
    """
    from sealift.output import write_file

    write_file(file, data.decode())
    if sign is not None:
        armoured = b"".join(sign(data))
        write_file(file.with_name(f"{file.name}.sig"), armoured.decode())


def _show(proof: Proof, file: Path) -> None:
    """Print the counts: a row for each machine, a column for each step."""
    columns = [each.step for each in proof.results]
    names = list(proof.control)
    wide = max(map(len, names))
    say(" ".join([" " * wide, *(f"{name:>9}" for name in columns)]))
    for name in names:
        counts = [f"{each.counts[name].total:>9}" for each in proof.results]
        say(" ".join([f"{name:<{wide}}", *counts]))
    say(f"{file}: {proof.total} packets to elsewhere", err=True)
