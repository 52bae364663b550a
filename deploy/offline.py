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

from deploy.proof import Proof, Result, Who, sendings
from deploy.watching import LAPSE, WatchError
from store.errors import Error, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from deploy.counting import Counts, Network
    from deploy.link import Ended, Link
    from deploy.watching import Watch

T = TypeVar("T")
RENEWALS = 6
"""Renewals that may fail, one after the other, before a watch lapses."""


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
        InputError: a word is none of these.
    """
    found = {net for word in words for net in _networks(word)}
    return tuple(sorted(found, key=lambda net: (net.version, net)))


def _networks(word: str) -> list[Network]:
    with suppress(ValueError):
        return [ipaddress.ip_network(word, strict=False)]
    try:
        rows = socket.getaddrinfo(word, None, type=socket.SOCK_STREAM)
    except OSError as fault:
        raise InputError(
            f"{word} has no address", got=str(fault), hint="say its address instead of a name"
        ) from fault
    return [ipaddress.ip_network(str(row[4][0]).partition("%")[0]) for row in rows]


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
            team.each(lambda watch: watch.begin(may[watch.name]))
            with _renewing(watches):
                control = _control(team)
                results = tuple(_made(team, steps, act))
            who = _who(team, results, services())
        finally:
            team.end()
    return Proof(
        began=began,
        ended=time.time(),
        allowed={name: [str(net) for net in nets] for name, nets in may.items()},
        hidden={watch.name: watch.hidden for watch in watches},
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


def _control(team: _Team) -> dict[str, int]:
    """Let each machine send to elsewhere on purpose; say how much of it was seen.

    Raises:
        WatchError: it was not.
    """
    before = team.each(lambda watch: watch.counts())
    team.each(lambda watch: watch.try_out())
    after = team.each(lambda watch: watch.counts())
    seen = {name: counts.since(before[name]).total for name, counts in after.items()}
    for name, count in seen.items():
        if not count:
            raise WatchError(
                f"{name} counts nothing: a packet that was sent on purpose was not seen",
                where=name,
                hint="is there a bash? else something else takes packets before they are counted",
            )
    return seen


def _made(team: _Team, steps: Sequence[Step], act: Callable[[Step], int]) -> Iterator[Result]:
    before = team.each(lambda watch: watch.counts())
    for step in steps:
        began = time.monotonic()
        status = act(step)
        seconds = time.monotonic() - began
        time.sleep(step.wait)
        after = team.each(lambda watch: watch.counts())
        added: dict[str, Counts] = {name: after[name].since(before[name]) for name in after}
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
    """Renew all watches again and again during the block.

    One that cannot be renewed lapses in the end, which its counts say.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LAPSE / RENEWALS):
            for watch in watches:
                with suppress(Error):
                    watch.renew()

    thread = threading.Thread(target=renew, name="renewals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
