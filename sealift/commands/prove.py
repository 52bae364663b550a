"""`sealift prove-offline`: run a release while nothing may leave the site, and sign the counts."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealift.asking import agree
from sealift.options import as_json, host, yes
from sealift.shown import say
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builders.settings import Settings
    from deploy.host import Host
    from deploy.offline import Step
    from deploy.proof import Proof
    from deploy.release import Release
    from sealift.site import Location

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

    On this machine and on the heads every packet to anywhere but these heads is dropped and
    counted; configuration and caches of pip, npm, uv and apt are hidden. The counts go to a record,
    which is signed. Needs root on this machine too. Exits with 8 if anything was counted.
    """
    from deploy.offline import prove
    from deploy.proof import dump
    from deploy.signing import PROOF
    from sealift import watched
    from sealift.signing import signer

    _check_root()
    with location.open() as site:
        settings, hosts = site.settings, _heads(location, host)
    sign = None if unsigned else signer(settings, [sign_key] if sign_key else [], PROOF)
    names = ",".join(each.name for each in hosts)
    _agree(names, yes=yes)
    steps = _steps(files, names, wait)
    ours = _own_command(location)
    digests = [{"name": file.name, "sha256": _sha256(file)} for file in files]
    with watched.watches(location, settings, hosts, allow) as (watches, reach):
        act = partial(_act, ours)
        users = partial(watched.services, location)
        proof = prove(watches, lambda watch: reach.may(watch.name), steps, act, users)
    about = _about(location, settings)
    about |= {"files": digests, "unwatched": [str(net) for net in reach.unwatched]}
    proof = replace(proof, about=about)
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
    agree(question, yes=yes)


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
    with subprocess.Popen(argv, env=env | _NOWHERE, stdout=sys.stderr) as process:
        return _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a step. One that is interrupted has heard that too, and ends in order.

    Raises:
        KeyboardInterrupt: it was interrupted; it has ended now.
    """
    interrupted = False
    while process.returncode is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode


def _sha256(file: Path) -> str:
    """Hash a file in hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise InputError(f"cannot read {file}", got=fault.strerror) from fault


def _about(location: Location, settings: Settings) -> dict[str, Any]:
    """Return what else stands in the record: who, where, which release."""
    from sealift import fleet, watched
    from sealift.version import text

    release = watched.release(location)
    return {
        "site": settings.site,
        "by": fleet.operator(),
        "sealift": text(),
        "release": None if release is None else release.path.name,
        "bundle": None if release is None else _bundle(settings, release),
    }


def _bundle(settings: Settings, release: Release) -> dict[str, Any] | None:
    """Return number and digest of the bundle that a release came in, if it came in one."""
    from deploy.bundle.numbers import load

    if settings.site is None:
        return None
    came = load(settings.store_dir.parent / "var", settings.site).arrivals
    found = [each for each in came if each.top == release.path.name]
    return {"number": found[-1].number, "digest": found[-1].digest} if found else None


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
    for name, what in proof.unseen.items():
        for each in what:
            say(f"{name}: not seen: {each}", err=True)
    say(f"{file}: {proof.total} packets to elsewhere", err=True)
