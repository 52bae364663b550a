"""Old instances relieved by new ones, in an order in which nobody who asks goes without an answer.

Services first, then the web server that asks them. What begins is well before what it replaces
ends, and what was asked at another port ends when the web server asks there no more.
`deploy.handover` decides what is done; this carries it out.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy import units
from deploy.handover import Move, Plan, Stamp
from deploy.release import WEB_SERVER
from deploy.units import TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from deploy.systemd import Systemd
    from deploy.units import Unit

    Well = Callable[[Sequence[Unit]], None]
    """Returns when these instances answer at their own sockets; raises what is wrong."""


LINGER = 0.3
"""Seconds for which a web server's workers may accept after others have taken over."""


def relieve(manager: Systemd, plan: Plan, secrets: Mapping[str, str], well: Well) -> None:
    """Let exactly what `plan` wants run; its units are linked.

    Raises:
        ManagerError: a unit does not start, or does not stop.
        Error: what `well` raises; what new instances were to replace still runs then.
    """
    _read_anew(manager, plan)
    _make_room(manager, plan)
    manager.open([s for unit in plan.units.values() if (s := unit.socket)])
    for names in ([n for n in plan.units if n != WEB_SERVER], [WEB_SERVER]):
        _renew(manager, plan, [name for name in names if name in plan.units], secrets, well)
    _leave(manager, plan, well)
    manager.launch(TARGET)


def _read_anew(manager: Systemd, plan: Plan) -> None:
    """Let systemd read what was linked, beside the start of services that join others.

    Only where nothing else is done to a service: a socket, or an instance that systemd knows
    already, must be read before it is started.
    """
    joining = [plan.units[name].service for name in plan.names(Move.BESIDE) if name != WEB_SERVER]
    if len(plan.names(Move.KEEP, Move.BESIDE, Move.RELOAD)) == len(plan.moves) and not plan.gone:
        manager.hasten(joining)
    manager.learn()


def _make_room(manager: Systemd, plan: Plan) -> None:
    """End what must have ended before anything begins.

    A socket that moves is only closed by systemd: the old instance has it, too, and goes on.
    """
    ending = [unit for name in sorted(plan.first) for unit in plan.old.get(name, ())]
    reopened = [plan.units[name] for name in plan.names(Move.REOPEN)]
    ending += [unit.service for unit in reopened if unit.name in plan.first]
    closing = [unit.socket for unit in reopened if unit.socket]
    closing += [each for each in plan.closing if _owner(each) in plan.first]
    _stop(manager, ending, closing)


def _renew(
    manager: Systemd,
    plan: Plan,
    names: Collection[str],
    secrets: Mapping[str, str],
    well: Well,
) -> None:
    """Start what begins among `names`, all at once; end what is relieved when that is well."""
    fresh = [plan.units[name] for name in sorted(names) if plan.moves[name].begins]
    manager.again([unit.service for unit in fresh])
    well([unit for unit in fresh if unit.address is not None])
    for name in names:
        unit = plan.units[name]
        if plan.moves[name] is Move.RELOAD:
            manager.forget(unit.service)
            manager.reload(name)
        manager.note(unit.service, Stamp(unit.digest, secrets.get(name, "")))
        if unit.socket is not None:
            manager.note(unit.socket, Stamp(unit.socket_digest))
    done = [name for name in names if name not in plan.moved]
    manager.end([old for name in done for old in plan.old.get(name, ())], wait=False)


def _leave(manager: Systemd, plan: Plan, well: Well) -> None:
    """End what the web server was told to ask no more, when it does as it was told.

    A reload returns before the configuration is loaded, and the workers before it go on accepting
    for a moment after that.
    """
    gone, moved = (
        [unit for name in names for unit in plan.old.get(name, ())]
        for names in (plan.gone, plan.moved)
    )
    web = plan.units.get(WEB_SERVER)
    if (gone or moved) and web is not None and web.address is not None:
        well([web])
        time.sleep(LINGER)
    manager.end(moved, wait=False)
    _stop(manager, gone, plan.closing)


def _stop(manager: Systemd, services: Collection[str], sockets: Collection[str]) -> None:
    """Stop units; the sockets in the same breath, or they would start the services again."""
    probes = [each for unit in services if (each := units.probe(unit)) is not None]
    manager.end([*services, *probes, *sockets])


def _owner(socket: str) -> str:
    return socket.removeprefix("sealift-").removesuffix(".socket")
