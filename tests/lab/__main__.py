"""The lab as a command: `python -m tests.lab up 3`.

It stays up until `down`. Where several labs are up, `--lab N` says which is meant.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.lab import claims
from tests.lab.cluster import prepared_root
from tests.lab.head import LabHead
from tests.lab.lab import Lab, available
from tests.lab.shell import LabError

METHODS = {
    "cut-power": "power_cut",
    "start": "start",
    "stop": "stop",
    "partition": "partition",
    "heal": "heal",
}


def main(arguments: list[str]) -> int:
    """Do what the command line says; hand back the exit status."""
    options = _parser().parse_args(arguments)
    reason = available()
    if reason:
        sys.stderr.write(f"error: {reason}\n")
        return 1
    try:
        return int(options.do(options))
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def up(options: argparse.Namespace) -> int:
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sealift-lab-", dir="/var/tmp"))
    lower = prepared_root() if options.cluster else None
    lab = Lab(options.size, folder=folder, tools=options.tools, kept=True, lower=lower)
    started = time.monotonic()
    lab.up()
    _say(f"lab {_number(lab)}: {lab.size} heads in {time.monotonic() - started:.1f} s")
    for head in lab.heads:
        _say(f"  {head.name}  {head.address}")
    _say(f"  ssh -F {lab.ssh_config} {lab.heads[0].name}")
    return 0


def down(options: argparse.Namespace) -> int:
    swept = claims.sweep()
    _say(f"swept {len(swept)} abandoned" if swept else "nothing was abandoned")
    if options.lab is not None or _kept():
        lab = _chosen(options)
        number = _number(lab)
        lab.down()
        _say(f"lab {number} is down")
    return 0


def status(_: argparse.Namespace) -> int:
    for names in claims.known():
        record = claims.Record.read(names)
        if record is not None:
            lab = Lab.attach(names.number)
            heads = [f"{head.name} {'on' if head.leader else 'off'}" for head in lab.heads]
            kind = "kept" if record.kept else "owned"
            _say(f"lab {names.number} ({kind}, {record.folder}): {', '.join(heads)}")
    return 0


def ssh(options: argparse.Namespace) -> int:
    lab = _chosen(options)
    command = ("ssh", "-F", str(lab.ssh_config), options.head, *options.argv)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


def act(options: argparse.Namespace) -> int:
    lab = _chosen(options)
    for head in lab.heads:
        if head.name == options.head:
            getattr(head, options.method)()
            return 0
    raise LabError(f"there is no {options.head} in lab {_number(lab)}")


def packets(options: argparse.Namespace) -> int:
    total = 0
    for head in _chosen(options).heads:
        outbound = head.packets()
        total += outbound.packets
        _say(f"{head.name}: {outbound.packets} {', '.join(outbound.destinations)}".rstrip())
    return min(total, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--lab", type=int, help="the number of the lab meant")
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("up", help="boot N heads")
    one.add_argument("size", type=int, nargs="?", default=3)
    one.add_argument("--folder", type=Path, help="where keys, logs and disks lie")
    one.add_argument("--tools", action="store_true", help="heads with rsync, nix and the like")
    one.add_argument(
        "--cluster", action="store_true", help="heads with what phases install, not configured"
    )
    one.set_defaults(do=up)
    for name, do in (("down", down), ("status", status), ("packets", packets)):
        verbs.add_parser(name).set_defaults(do=do)
    one = verbs.add_parser("ssh", help="log in, or run a command")
    one.add_argument("head")
    one.add_argument("argv", nargs=argparse.REMAINDER)
    one.set_defaults(do=ssh)
    for name, method in METHODS.items():
        one = verbs.add_parser(name, help=(getattr(LabHead, method).__doc__ or "").splitlines()[0])
        one.add_argument("head")
        one.set_defaults(do=act, method=method)
    return parser


def _chosen(options: argparse.Namespace) -> Lab:
    if options.lab is not None:
        return Lab.attach(options.lab)
    numbers = _kept()
    if len(numbers) != 1:
        raise LabError(f"which lab? --lab with one of {numbers}" if numbers else "no lab is up")
    return Lab.attach(numbers[0])


def _kept() -> list[int]:
    records = {names.number: claims.Record.read(names) for names in claims.known()}
    return [number for number, record in records.items() if record is not None and record.kept]


def _number(lab: Lab) -> int:
    if lab.names is None:
        raise LabError("the lab is not up")
    return lab.names.number


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
