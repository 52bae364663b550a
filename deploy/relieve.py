"""Old instances relieved by new ones, in an order in which nobody who asks goes without an answer.

Services first, then the web server that asks them. What begins is well before what it replaces
ends. `deploy.handover` decides what is done; this carries it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.handover import Move, Plan, Stamp
from deploy.release import WEB_SERVER
from deploy.units import TARGET

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from deploy.systemd import Systemd
    from deploy.units import Unit

    Well = Callable[[Sequence[Unit]], None]
    """Returns when these instances answer at their own sockets; raises what is wrong."""


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
    _stop(manager, [unit for name in plan.gone for unit in plan.old[name]], plan.closing)
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

    A service that comes may want the port of one that goes: then that ends first, too.
    """
    early = plan.names(Move.SWAP, Move.REOPEN)
    ending = [unit for name in early for unit in plan.old.get(name, ())]
    reopened = [plan.units[name] for name in plan.names(Move.REOPEN)]
    ending += [unit.service for unit in reopened]
    closing = [unit.socket for unit in reopened if unit.socket]
    closing += [each for each in plan.closing if _owner(each) in early]
    if plan.names(Move.BEGIN):
        ending += [unit for name in plan.gone for unit in plan.old[name]]
        closing += plan.closing
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
    manager.end([old for name in names for old in plan.old.get(name, ())], wait=False)


def _stop(manager: Systemd, services: Collection[str], sockets: Collection[str]) -> None:
    """Stop units; the sockets in the same breath, or they would start the services again."""
    manager.end([*services, *sockets])


def _owner(socket: str) -> str:
    return socket.removeprefix("sealift-").removesuffix(".socket")
