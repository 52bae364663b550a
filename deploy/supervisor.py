"""supervisord as the service manager of the embedded local head.

The program is the release's own, with the store's interpreter; one that runs is left alone until
everything is stopped, whichever release brought it.

supervisord itself knows what runs with which configuration, so "what differs" is always asked of
it and never remembered here: a command that was killed half-way leaves nothing to be trusted.
"""

from __future__ import annotations

import http.client
import os
import pwd
import time
import xmlrpc.client
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import durable, orphans, supervisor_conf
from deploy.command import run
from deploy.errors import ManagerError
from deploy.guard import guarded
from deploy.programs import PATH
from deploy.release import MANAGER
from deploy.services import Changes, Phase, Process, Program
from deploy.unix_rpc import calling

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from deploy.layout import Layout
    from deploy.services import Tools

POLL = 0.02
LAUNCH_TIMEOUT = 30.0
MARGIN = 5.0
"""Seconds on top of a program's own until we call supervisord disobedient."""

# supervisor.states.ProcessStates
PHASES = {
    0: Phase.STOPPED,
    10: Phase.STARTING,
    20: Phase.RUNNING,
    30: Phase.FAILED,
    40: Phase.STOPPING,
    100: Phase.FAILED,
    200: Phase.FAILED,
    1000: Phase.FAILED,
}
NO_WAIT = False
UP = 1
AT_REST = frozenset({"STOPPED", "FATAL", "UNKNOWN"})
# supervisor.xmlrpc.Faults
NOT_RUNNING, ALREADY_STARTED = 70, 60


class NotAnsweringError(ManagerError):
    """No supervisord behind the socket, or a dumb one."""

    slug = "manager-not-running"


class Supervisor:
    """The supervisord of one head; it may run or not."""

    def __init__(self, layout: Layout, *, stop_seconds: int) -> None:
        self._layout = layout
        self._patience = stop_seconds + MARGIN

    def alive(self) -> bool:
        """Tell whether supervisord answers, and is not about to end."""
        try:
            with self._call() as rpc:
                return bool(rpc.getState()["statecode"] == UP)
        except NotAnsweringError:
            return False

    def check(self, programs: Sequence[Program], tools: Tools, *, known: bool) -> None:
        """Refuse what supervisord cannot carry or the machine cannot start."""
        if not (known and self.alive()):
            _daemon(tools)
        self._render(programs)
        for program in programs:
            if not os.access(program.command[0], os.X_OK):
                reason = f"{program.name} cannot be started: {program.command[0]} is no executable"
                raise ManagerError(reason, where=program.name)
            if not program.directory.is_dir():
                reason = f"{program.name} cannot be started: its folder is not there"
                raise ManagerError(reason, where=str(program.directory))

    def apply(
        self, programs: Sequence[Program], tools: Tools, only: Collection[str] | None = None
    ) -> Changes:
        """Run exactly these programs; supervisord is started if need be, unless for `only` some.

        Raises:
            ManagerError: supervisord does not start, or a program does not stop.
        """
        durable.write(self._layout.supervisor_conf, self._render(programs).encode(), mode=0o600)
        names = [each.name for each in programs if only is None or each.name in only]
        if only is not None or self.alive():
            changes = self._update(names, only)
        else:
            self._launch(_daemon(tools))
            changes = Changes(started=tuple(names))
        self._wait("begin", names, lambda: self._begun(names))
        return changes

    def processes(self) -> Mapping[str, Process]:
        """Return every program; nothing if supervisord does not run."""
        try:
            return {name: _process(each) for name, each in self._infos().items()}
        except NotAnsweringError:
            return {}

    def start(self, names: Collection[str]) -> None:
        """Start those that are not up."""
        with self._call() as rpc:
            for name in names:
                _tolerant(rpc.startProcess, name, known=ALREADY_STARTED)

    def stop(self, names: Collection[str]) -> None:
        """Stop, and return when their process groups have ended."""
        groups = [each.pid for n in names if (each := self.processes().get(n)) and each.pid]
        self._wait("stop", names, lambda: self._stopped(names))
        self._end_groups(groups)

    def reload(self, name: str) -> None:
        """Send SIGHUP to the program's main process."""
        with self._call() as rpc:
            rpc.signalProcess(name, "HUP")

    def shutdown(self) -> None:
        """Stop everything, and end also what an earlier supervisord left when it was killed."""
        if self.alive():
            # Its own way would stop one program after the other, a second each.
            self.stop(self._infos())
            with self._call() as rpc:
                pid = int(rpc.getPID())
                rpc.shutdown()
            self._wait("end", ["supervisord"], lambda: not (self.alive() or _exists(pid)))
        orphans.end(self._layout, self._patience)

    def _update(self, wanted: Sequence[str], only: Collection[str] | None) -> Changes:
        with self._call() as rpc:
            # What differs and is left alone still differs the next time this is asked.
            added, changed, removed = (_among(only, names) for names in rpc.reloadConfig()[0])
        leaving = [*changed, *removed]
        self.stop(leaving)
        with self._call() as rpc:
            for name in leaving:
                rpc.removeProcessGroup(name)
            for name in [*changed, *added]:
                rpc.addProcessGroup(name)
        idle = self._idle(set(wanted) - set(changed) - set(added))
        # One that waits before its next try is stopped first, so that the try is now.
        self.stop(idle)
        self.start(idle)
        started = (*added, *idle)
        return Changes(tuple(sorted(started)), tuple(sorted(changed)), tuple(sorted(removed)))

    def _idle(self, names: Collection[str]) -> list[str]:
        processes = self.processes()
        return [name for name in sorted(names) if not processes[name].phase.up]

    def _launch(self, daemon: Path) -> None:
        orphans.end(self._layout, self._patience)
        socket = self._layout.supervisor_socket
        _private(socket.parent)
        conf = str(self._layout.supervisor_conf)
        argv = (str(daemon), "-c", conf)
        home = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": str(self._layout.head_dir)}
        ended = run(guarded(argv), env=home, timeout=LAUNCH_TIMEOUT)
        if ended.status != 0:
            raise ManagerError("supervisord does not start", where=conf, got=ended.output.strip())
        self._wait("start", ["supervisord"], self.alive)

    def _stopped(self, names: Collection[str]) -> bool:
        """Ask those to stop that have not; one that exited by itself may just be coming back."""
        infos = self._infos()
        rest = [name for name in names if infos[name]["statename"] not in AT_REST]
        with self._call() as rpc:
            for name in rest:
                _tolerant(rpc.stopProcess, name, known=NOT_RUNNING)
        return not rest

    def _begun(self, names: Collection[str]) -> bool:
        """Tell whether each had its first try; supervisord spawns some time after it is told."""
        infos = self._infos()
        return all(infos[name]["statename"] != "STOPPED" for name in names)

    def _end_groups(self, groups: Collection[int]) -> None:
        """Kill children that outlived their parent; supervisord looks at the parent alone."""
        left = frozenset(each for each in groups if orphans.exists(each))
        if left:
            orphans.kill(self._layout, left)

    def _infos(self) -> dict[str, Mapping[str, Any]]:
        with self._call() as rpc:
            return {each["name"]: each for each in rpc.getAllProcessInfo()}

    def _wait(self, verb: str, names: Collection[str], done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._patience
        while not done():
            if time.monotonic() > deadline:
                reason = f"{', '.join(names)} did not {verb} within {self._patience:g} s"
                raise ManagerError(reason, where=str(self._layout.log_dir))
            time.sleep(POLL)

    def _render(self, programs: Sequence[Program]) -> str:
        user = pwd.getpwuid(0).pw_name if os.geteuid() == 0 else None
        return supervisor_conf.render(programs, self._layout, user=user)

    @contextmanager
    def _call(self) -> Iterator[Any]:
        try:
            with calling(self._layout.supervisor_socket) as rpc:
                yield rpc
        except (OSError, http.client.HTTPException) as error:
            reason = "supervisord does not answer"
            raise NotAnsweringError(reason, got=str(error), hint="sealift start") from error
        except xmlrpc.client.Fault as fault:
            raise ManagerError("supervisord refuses", got=fault.faultString) from fault


def _daemon(tools: Tools) -> Path:
    """Return the release's own supervisord."""
    if MANAGER not in tools:
        raise ManagerError(
            "the release brings no service manager",
            expected=f"{MANAGER} among its tools",
            hint="an earlier sealift made it; build it again: sealift build",
        )
    daemon = tools[MANAGER].executable
    if not os.access(daemon, os.X_OK):
        raise ManagerError("the release's service manager cannot be started", where=str(daemon))
    return daemon


def _among(only: Collection[str] | None, names: Sequence[str]) -> list[str]:
    return [each for each in names if only is None or each in only]


def _process(info: Mapping[str, Any]) -> Process:
    phase = PHASES[info["state"]]
    pid = int(info["pid"]) or None
    since = float(info["start"]) if pid else None
    if phase is Phase.FAILED:
        note = info["spawnerr"] or f"exited with status {info['exitstatus']}"
        return Process(info["name"], phase, pid, since, note)
    return Process(info["name"], phase, pid, since)


def _tolerant(call: Callable[..., Any], name: str, *, known: int) -> None:
    """Call for one program; that it is already so is no error."""
    try:
        call(name, NO_WAIT)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != known:
            raise


def _private(folder: Path) -> None:
    """Make the socket's folder, or refuse one that another user has laid there."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid():
        reason = "the folder of supervisord's socket belongs to another user"
        raise ManagerError(reason, where=str(folder), got=f"uid {status.st_uid}")


def _exists(pid: int) -> bool:
    """Tell whether a process lives; one that has ended and only waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
