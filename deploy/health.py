"""Whether a release runs well: every service answers, N times in a row, and stays up.

All services are asked in parallel. A process that ends while it is looked at is a failure at
once, also when it had answered; at the end each must still be the process that it was.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event as Flag
from typing import TYPE_CHECKING, Protocol

from deploy.errors import UnhealthyError
from deploy.events import Event, Observe, What
from deploy.probes import Request, ask
from deploy.services import Phase, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.settings import Settings

SLOWEST = 0.2
"""Seconds between two questions to a service that has not answered yet, or has well enough."""
FRESH = 10.0
"""Seconds; a process that is up for longer has shown that it stays up."""


def anyway() -> None:
    """Let a check go on to its end."""


class Processes(Protocol):
    """What tells of the processes that are looked at."""

    def processes(self) -> Mapping[str, Process]:
        """Return every program by name."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """The requests by which one program shows that it is healthy, and how long it may take."""

    program: str
    requests: tuple[Request, ...]
    timeout: float


@dataclass(slots=True)
class Watch:
    """Looks whether one program is still the process that was seen first."""

    manager: Processes
    program: str
    present: Callable[[], None] = anyway
    seen: tuple[int | None, float | None] | None = None

    def trouble(self) -> str | None:
        """Return what is wrong with the process, or nothing."""
        self.present()
        process = self.manager.processes().get(self.program)
        if process is None:
            return "the service manager does not know it"
        if process.phase in (Phase.FAILED, Phase.STOPPED, Phase.STOPPING):
            return f"the process has ended: {process.note or process.phase.value}"
        return self._compare(process)

    def settled(self) -> bool:
        """Tell whether the process has been up long enough to count as running."""
        process = self.manager.processes().get(self.program)
        return process is not None and process.phase is Phase.RUNNING

    def fresh(self) -> bool:
        """Tell whether the process began only lately."""
        process = self.manager.processes().get(self.program)
        since = None if process is None else process.since
        return since is None or time.time() - since < FRESH

    def _compare(self, process: Process) -> str | None:
        if process.pid is None:
            return None
        identity = (process.pid, process.since)
        if self.seen is None:
            self.seen = identity
        # One that died between two checks is another process from the beginning of the second.
        same = identity == self.seen and not process.restarts
        return None if same else "the process died and was started again"


def check(
    manager: Processes,
    checks: Sequence[Check],
    settings: Settings,
    *,
    log: Callable[[str], Sequence[str]],
    observe: Observe,
    present: Callable[[], None] = anyway,
) -> None:
    """Return when all `checks` are satisfied; `log` gives a program's last lines.

    Raises:
        UnhealthyError: the first program that is not, with the request and what came of it.
        Error: what `present` raises, which is asked all the time.
    """
    stop = Flag()
    watches = {each.program: Watch(manager, each.program, present) for each in checks}
    with ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
        jobs = {
            pool.submit(_one, each, watches[each.program], settings, stop): each for each in checks
        }
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        stop.set()
    for job in done:
        if (error := job.exception()) is not None:
            raise _with_log(error, log)
    for each in checks:
        if (trouble := watches[each.program].trouble()) is not None:
            raise _with_log(_unhealthy(each, each.requests[0], trouble), log)
        observe(Event(What.HEALTHY, each.program, str(each.requests[0])))


def answers(checks: Sequence[Check], timeout: float) -> Mapping[str, str | None]:
    """Ask each program's first question once, all in parallel; what is wrong, or nothing."""
    with ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
        found = pool.map(lambda each: ask(each.requests[0], timeout), checks)
        return dict(zip((each.program for each in checks), found, strict=True))


def _one(check: Check, watch: Watch, settings: Settings, stop: Flag) -> None:
    deadline = time.monotonic() + check.timeout
    since = _row(check, watch, settings, stop=stop, deadline=deadline)
    while not watch.settled() and not stop.is_set():
        _look(check, check.requests[0], watch, None, deadline)
        stop.wait(settings.probe_interval)
        since = time.monotonic()
    if watch.fresh():
        _stay(check, watch, settings, stop=stop, until=since + settings.settle_seconds)


def _stay(check: Check, watch: Watch, settings: Settings, *, stop: Flag, until: float) -> None:
    """Go on asking for a while: a new process may answer first and die then."""
    request = check.requests[0]
    while time.monotonic() < until and not stop.is_set():
        wrong = ask(request, settings.probe_timeout)
        trouble = watch.trouble() or wrong
        if trouble is not None:
            raise _unhealthy(check, request, f"it answered first, and then: {trouble}")
        stop.wait(SLOWEST)


def _row(check: Check, watch: Watch, settings: Settings, *, stop: Flag, deadline: float) -> float:
    """Ask until `probes` answers in a row were good; return since when.

    The first time everything is asked; after that, what shows that it is still up.
    """
    good, since, pause = 0, time.monotonic(), settings.probe_interval / 2
    while good < settings.probes and not stop.is_set():
        requests = check.requests[:1] if good else check.requests
        request, wrong = _round(requests, settings, deadline)
        _look(check, request, watch, wrong, deadline)
        since = time.monotonic() if wrong or good == 0 else since
        good = 0 if wrong else good + 1
        pause = min(pause * 1.5, SLOWEST) if wrong else settings.probe_interval
        if good < settings.probes:
            stop.wait(pause)
    return since


def _round(
    requests: Sequence[Request], settings: Settings, deadline: float
) -> tuple[Request, str | None]:
    """Ask one thing after the other; return the first bad answer, else the last good one."""
    for request in requests:
        left = max(0.1, deadline - time.monotonic())
        wrong = ask(request, min(settings.probe_timeout, left))
        if wrong is not None:
            break
    return request, wrong


def _look(check: Check, request: Request, watch: Watch, wrong: str | None, deadline: float) -> None:
    trouble = watch.trouble()
    if trouble is not None:
        raise _unhealthy(check, request, trouble)
    if time.monotonic() > deadline:
        late = f"not healthy after {check.timeout:g} s: {wrong or 'not up long enough'}"
        raise _unhealthy(check, request, late)


def _unhealthy(check: Check, request: Request, got: str) -> UnhealthyError:
    reason = f"{check.program} is not healthy"
    return UnhealthyError(reason, service=check.program, request=str(request), got=got)


def _with_log(error: BaseException, log: Callable[[str], Sequence[str]]) -> BaseException:
    if not isinstance(error, UnhealthyError):
        return error
    return UnhealthyError(
        error.reason,
        service=error.service,
        request=error.request,
        got=str(error.got),
        log=log(error.service),
    )
