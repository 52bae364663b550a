"""Make steps while nothing may leave the machines of a site, and count what tries to.

One machine is watched by `deploy.watching`; here all of them are, from before the first step until
after the last one. What the steps are is for the caller, who makes them by commands of their own.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from deploy.counting import Counts, Flow
from deploy.proof import Proof, Result, Who, sendings
from deploy.watching import LAPSE, RENEWALS, WatchError
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from deploy.cutting import Network
    from deploy.link import Ended, Link
    from deploy.watching import Watch

T = TypeVar("T")
CONTROLS = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}
"""Nobody's addresses (RFC 5737, RFC 3849), to which a packet is sent on purpose."""
WIDEST = {4: 16, 6: 32}
"""The least bits of a network of the Internet that can be one site's."""
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)


@dataclass(frozen=True, slots=True)
class There:
    """A head under its name, over a connection."""

    name: str
    link: Link

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        timeout: float,
        root: bool = True,
    ) -> Ended:
        """Run a command there."""
        return self.link.run(argv, input=input, timeout=timeout, root=root)

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Ended:
        """Run a script of sh there."""
        return self.link.script(text, args, timeout=timeout, root=root)


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the seconds after its end in which all is still counted to it."""

    name: str
    command: tuple[str, ...]
    wait: float = 0.0


def networks(words: Iterable[str]) -> tuple[Network, ...]:
    """Return what may be reached: networks, addresses, or names that are resolved now.

    Raises:
        InputError: a word is none of these, or more than a site.
    """
    found = {net for word in words for net in _networks(word)}
    return tuple(sorted(found, key=lambda net: (net.version, net)))


def addresses(words: Iterable[str]) -> tuple[Network, ...]:
    """Return what may be reached: addresses, or names that are resolved now, and no network.

    Raises:
        InputError: a word is none of these.
    """
    plain = tuple(words)
    for word in plain:
        if "/" in word:
            raise InputError(f"{word} is no address", hint="--allow takes networks")
    return networks(plain)


def _networks(word: str) -> list[Network]:
    with suppress(ValueError):
        return [_bounded(ipaddress.ip_network(word, strict=False))]
    try:
        rows = socket.getaddrinfo(word, None, type=socket.SOCK_STREAM)
    except OSError as fault:
        raise InputError(
            f"{word} has no address", got=str(fault), hint="say its address instead of a name"
        ) from fault
    return [ipaddress.ip_network(str(row[4][0]).partition("%")[0]) for row in rows]


def _bounded(net: Network) -> Network:
    """Pass a network that can be a site's own: one of private addresses, or one that is small.

    Raises:
        InputError: it is neither; what may be reached would be no site any more.
    """
    if net.prefixlen >= WIDEST[net.version] or any(_within(net, own) for own in _PRIVATE):
        return net
    raise InputError(
        f"{net} is more than a site",
        hint=f"allow the site's own networks: of public addresses no more than "
        f"/{WIDEST[net.version]}",
    )


def _within(net: Network, other: Network) -> bool:
    first, last = net[0], net[-1]
    return net.version == other.version and first in other and last in other


def prove(
    watches: Sequence[Watch],
    allowed: Callable[[Watch], Sequence[Network]],
    steps: Sequence[Step],
    act: Callable[[Step], int],
    services: Callable[[], Mapping[str, str]],
) -> Proof:
    """Watch all machines, make each step, and say what was sent to elsewhere meanwhile.

    `act` makes a step and returns the exit status of its command; the first that is not 0 is the
    last one made. `services` names services by user, and is asked when all is done.

    Raises:
        WatchError: a machine cannot be watched, is not all the time, or does not count.
    """
    began = time.time()
    with ThreadPoolExecutor(max(1, min(len(watches), 16))) as pool:
        team = _Team(pool, watches)
        try:
            may = team.each(allowed)
            # One that is slow to begin must not let those lapse that have begun.
            with _renewing(watches):
                team.each(lambda watch: watch.begin(may[watch.name]))
                control, before = _control(team)
                results = tuple(_made(team, steps, act, before))
            who = _who(team, results, services())
        finally:
            team.end()
    return Proof(
        began=began,
        ended=time.time(),
        allowed={name: [str(net) for net in nets] for name, nets in may.items()},
        hidden={watch.name: watch.hidden for watch in watches},
        unseen={watch.name: watch.unseen for watch in watches},
        control=control,
        results=results,
        sendings=tuple(sendings(results, who)),
    )


@dataclass(frozen=True, slots=True)
class _Team:
    """All watches, asked the same at once."""

    pool: ThreadPoolExecutor
    watches: Sequence[Watch]

    def each(self, do: Callable[[Watch], T]) -> dict[str, T]:
        """Return what each gives, by name; when all have ended, the first error comes out."""
        asked = {watch.name: self.pool.submit(do, watch) for watch in self.watches}
        for future in asked.values():
            future.exception()
        return {name: future.result() for name, future in asked.items()}

    def end(self) -> None:
        """End all watches; one that cannot be ended lapses."""

        def end(watch: Watch) -> None:
            with suppress(Error):
                watch.end()

        self.each(end)


def _control(team: _Team) -> tuple[dict[str, dict[str, int | None]], dict[str, Counts]]:
    """Let each machine send to elsewhere on purpose, by each protocol that it has.

    Returns how many packets of each were seen (None where it has not got the protocol), and what
    the first step's counts are to be taken from: that alone, so that all else since the rules
    bind is that step's.

    Raises:
        WatchError: one was not seen.
    """
    tried = team.each(_tried)
    control = {name: seen for name, (seen, _) in tried.items()}
    for name, seen in control.items():
        for protocol, count in seen.items():
            if count == 0:
                raise WatchError(
                    f"{name} counts nothing: a packet that was sent on purpose was not seen",
                    where=f"{name}, {protocol}",
                    hint="is there a bash? else something else takes packets before they are "
                    "counted",
                )
    return control, {name: before for name, (_, before) in tried.items()}


def _tried(watch: Watch) -> tuple[dict[str, int | None], Counts]:
    seen: dict[str, int | None] = {}
    packets: dict[Flow, int] = {}
    routeless = 0
    for protocol, address in CONTROLS.items():
        if protocol == "ipv6" and not watch.has_ipv6():
            seen[protocol] = None
            continue
        before = watch.counts()
        watch.try_out(address)
        added = watch.counts().since(before)
        sent = {flow: count for flow, count in added.packets.items() if flow.address == address}
        # Where no route leads to nobody, none is made; the kernel says that it was wanted.
        lost = 0 if sent else added.routeless
        seen[protocol] = sum(sent.values()) + lost
        packets |= sent
        routeless += lost
    return seen, Counts(packets, routeless=routeless)


def _made(
    team: _Team,
    steps: Sequence[Step],
    act: Callable[[Step], int],
    before: Mapping[str, Counts],
) -> Iterator[Result]:
    for step in steps:
        began = time.monotonic()
        status = act(step)
        seconds = time.monotonic() - began
        time.sleep(step.wait)
        after = team.each(lambda watch: watch.counts())
        added = {name: after[name].since(before[name]) for name in after}
        yield Result(step.name, step.command, status, seconds, added)
        if status:
            return
        before = after


def _who(team: _Team, results: Sequence[Result], services: Mapping[str, str]) -> Who:
    """Ask machines that sent something who that was."""

    def ask(watch: Watch) -> Mapping[int, str]:
        flows = (flow for each in results for flow in each.counts[watch.name].packets)
        numbers = {flow.user for flow in flows if flow.user is not None}
        return watch.users(numbers) if numbers else {}

    return Who(team.each(ask), services)


@contextmanager
def _renewing(watches: Sequence[Watch]) -> Iterator[None]:
    """Renew all watches again and again during the block, each by itself.

    One that cannot be renewed lapses in the end, which its counts say; no other waits for it.
    """
    done = threading.Event()

    def renew(watch: Watch) -> None:
        while not done.wait(LAPSE / RENEWALS):
            with suppress(Error):
                watch.renew()

    threads = [
        threading.Thread(target=renew, args=(watch,), name=f"renewals {watch.name}", daemon=True)
        for watch in watches
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
