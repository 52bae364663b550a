"""The machines that are watched while a proof is made: this one, and the heads over SSH."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from builders.settings import Settings
    from deploy.cutting import Network
    from deploy.host import Host
    from deploy.place import Place
    from deploy.release import Release
    from deploy.route import Hop
    from deploy.watching import Tools, Watch
    from sealift.site import Location

TRANSFER = "transfer host"
"""What this machine is called in a proof; no host of an inventory has a blank in its name."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be reached: the heads that are meant, gateways to them, and what was allowed."""

    heads: tuple[Network, ...]
    gateways: tuple[Network, ...]
    others: tuple[Network, ...]

    def may(self, machine: str) -> tuple[Network, ...]:
        """Return what a machine may reach; gateways are for this one alone."""
        return (*self.heads, *self.others, *(self.gateways if machine == TRANSFER else ()))

    @property
    def unwatched(self) -> tuple[Network, ...]:
        """What of it nobody watches."""
        return tuple(sorted({*self.others, *self.gateways} - {*self.heads}, key=str))


def reach(ways: Sequence[Sequence[Hop]], allow: Sequence[str]) -> Reach:
    """Say what may be reached, by the hops to each head. Names are resolved now, once.

    Raises:
        InputError: an address is not known, or what is allowed is too much.
    """
    from deploy.offline import addresses, networks

    return Reach(
        heads=addresses(hops[-1].address for hops in ways),
        gateways=addresses(hop.address for hops in ways for hop in hops[:-1]),
        others=networks(allow),
    )


@contextmanager
def watches(
    location: Location, settings: Settings, hosts: Sequence[Host], allow: Sequence[str]
) -> Iterator[tuple[list[Watch], Reach]]:
    """Connect to the heads; give a watch of this machine and of each, and what may be reached.

    Raises:
        Error: a head cannot be reached, or an address is not known.
    """
    from deploy.local_machine import LocalMachine
    from deploy.offline import There
    from deploy.place import Place
    from deploy.route import route
    from deploy.transport import connect
    from deploy.watching import Watch
    from sealift.hosts import ssh

    reached = reach([route(each, ssh(settings)) for each in hosts], allow)
    here = _nft_here(location)
    there = _tools_there(Place(settings.store_dir), here)

    with ExitStack() as stack:
        found = [Watch(LocalMachine(TRANSFER), _tools_here(here))]
        for each in hosts:
            link = stack.enter_context(connect(each, ssh(settings)))
            found.append(Watch(There(each.name, link), there))
        yield found, reached


def services(location: Location) -> Mapping[str, str]:
    """Name the services of the newest release by their users; none if there is no release."""
    found = release(location)
    if found is None:
        return {}
    users = {each.unit.user: name for name, each in found.services.items() if each.unit}
    return users | ({found.systemd.user_nginx: "nginx"} if found.systemd else {})


def release(location: Location) -> Release | None:
    """Return the newest release that was built or received here, if there is one."""
    from sealift import fleet
    from store.errors import Error

    with location.open() as site:
        try:
            return fleet.release(site, None)
        except Error:
            return None


def _nft_here(location: Location) -> Path | None:
    """Return a package of nft on this machine that can be moved: the carried, or a release's."""
    from deploy import carried

    found = carried.folder(carried.NFT.package)
    if found is not None:
        return found
    newest = release(location)
    tool = None if newest is None else newest.tools.get(carried.NFT.name)
    return None if tool is None else tool.path


def _tools_here(package: Path | None) -> Tools:
    from deploy.carried import NFT, find
    from deploy.watching import Tools

    own = find(NFT) or (None if package is None else f"{package}/{NFT.file}")
    return Tools((own,) if own else (), None, "")


def _tools_there(place: Place, package: Path | None) -> Tools:
    """Say where nft lies on a head: in its own release, or where it is brought meanwhile."""
    from deploy.watching import Tools

    own = f"{place.var_dir}/profiles/system/bin/nft"
    return Tools((own,), package, f"{place.store_dir.parent}/proof")
