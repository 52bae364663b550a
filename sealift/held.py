"""What the machines of a site tell of themselves, put together to a receipt.

This machine is looked at as heads are; heads tell which paths they keep by their own agents.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deploy.receipt import Machine, Packages, Receipt, System
from store.closure import order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builders.base_system import BaseSystem
    from deploy.facts import Facts
    from deploy.profile import Generation
    from deploy.remote import RemoteHead
    from store.info import PathInfo
    from store.local import LocalStore

_UNKNOWN_WORD = "No such command"
"""What an agent of an older release says to a word that it does not know."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one machine told; `infos` are what `machine.paths` names."""

    machine: Machine
    infos: tuple[PathInfo, ...] = ()


def there(head: RemoteHead) -> Told:
    """Ask a head what it is and holds.

    Raises:
        Error: it cannot be reached, or does not answer as it should.
    """
    facts = head.look(None)
    infos = _kept(head) if facts.settled else ()
    machine = Machine(
        name=head.name,
        system=System.of(facts),
        paths=None if infos is None else tuple(info.path for info in infos),
        generations=_generations(facts),
        packages=_packages_of(head),
    )
    return Told(machine, infos or ())


def together(store: LocalStore, site: str, number: int | None, heads: Sequence[Told]) -> Receipt:
    """Look at this machine, and put all into a receipt; `number` is the last bundle's."""
    from deploy import here, holding

    held, facts = holding.look(store), here.look(store.store_dir, store.var_dir)
    own = Machine(
        name=socket.gethostname(),
        system=None if facts is None else System.of(facts),
        paths=tuple(info.path for info in held.infos),
        generations=() if facts is None else _generations(facts),
        packages=_packages_here(),
    )
    infos = {info.path: info for told in heads for info in told.infos}
    infos |= {info.path: info for info in held.infos}
    return Receipt(
        site=site,
        store_dir=str(store.store_dir),
        created=int(time.time()),
        number=number,
        roots=held.roots,
        infos=tuple(order(infos)),
        machines=(own, *(told.machine for told in heads)),
    )


def _kept(head: RemoteHead) -> tuple[PathInfo, ...] | None:
    """Ask a head's agent for the paths that it keeps; None if it is too old to know."""
    from deploy.errors import HeadLostError
    from deploy.holding import paths

    try:
        said = head.ask("agent", "holds")[-1]
    except HeadLostError as error:
        if _UNKNOWN_WORD in (error.got or ""):
            return None
        raise
    return paths(said, str(head.place.store_dir))


def _generations(facts: Facts) -> tuple[Generation, ...]:
    """Return a machine's generations without who made them."""
    return tuple(
        replace(each, by="", before=None, current=each.number == facts.current)
        for each in facts.made
    )


def _packages_of(head: RemoteHead) -> Packages | None:
    from builders.base_system import SCRIPT, CaptureError, heard
    from builders.dpkg_status import StatusError

    ended = head.script(SCRIPT)
    with suppress(CaptureError, StatusError):
        return _packages(heard(head.name, ended.status, ended.stdout, ended.stderr.encode()))
    return None


def _packages_here() -> Packages | None:
    from builders.base_system import CaptureError, capture_local
    from builders.dpkg_status import StatusError

    with suppress(CaptureError, StatusError):
        return _packages(capture_local())
    return None


def _packages(found: BaseSystem) -> Packages:
    return Packages(found.title, found.status)
