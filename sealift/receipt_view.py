"""A receipt as people read it: at the site before it leaves, and at the builder."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.receipt import Machine, Receipt
    from deploy.signing import Signer

SHORT = 16
"""Characters of a receipt's digest that are shown; what bundles say of it begins with them."""


def rows(found: Receipt, signers: Sequence[Signer]) -> Iterator[tuple[str, str]]:
    """Yield what is said of a receipt, each with its label."""
    when = dt.datetime.fromtimestamp(found.created, dt.UTC)
    who = " and ".join(map(str, signers))
    yield "is", f"receipt of {found.site}, told {when:%Y-%m-%d %H:%M} UTC by {who}"
    yield "received", last(found)
    yield "store", found.store_dir
    for name, path in found.roots:
        yield "keeps", f"{path} for {name}"
    for each in found.machines:
        yield "machine", f"{each.name}: {sentence(each)}"
        yield from (("", text) for text in _about(each))
    yield "digest", f"sha256 {found.digest}"


def last(found: Receipt) -> str:
    """Say which bundle came last."""
    return "no bundle yet" if found.number is None else f"bundle {found.number}"


def sentence(machine: Machine) -> str:
    """Say what a machine runs and holds."""
    number = current(machine)
    runs = "nothing deployed" if number is None else f"generation {number}"
    if machine.paths is None:
        return f"{runs}, its agent is too old to tell what it holds"
    return f"{runs}, {len(machine.paths)} paths"


def current(machine: Machine) -> int | None:
    """Return the number of the generation that a machine runs."""
    return next((each.number for each in machine.generations if each.current), None)


def _about(machine: Machine) -> Iterator[str]:
    system, packages = machine.system, machine.packages
    if system is not None:
        yield f"{system.title}, {system.machine}, glibc {system.glibc}, systemd {system.systemd}"
    if packages is not None:
        count = packages.status.count("\n\n") + 1
        yield f"{count} packages of dpkg"
    for each in machine.generations:
        when = dt.datetime.fromtimestamp(each.created, dt.UTC)
        yield f"generation {each.number}: {each.path.name}, {when:%Y-%m-%d}, {each.status.value}"
