"""systemd as a head's service manager, asked and told through systemctl.

Units are linked into /run/systemd/system, so nothing of them outlives a start of the machine but
what `deploy.boot` lays again. systemd does not tell with which text a process was started; that
is noted beside, in /run as well, and counts only where the note is there.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import units
from deploy.command import run
from deploy.errors import ManagerError
from deploy.handover import Seen, Stamp
from deploy.programs import PATH
from deploy.services import Phase, Process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from deploy.units import Unit

LINKS = Path("/run/systemd/system")
NOTES = Path("/run/sealift/started")
STALE = Path("/run/sealift/reload-units")
"""Is there while systemd may have read other units than those that are linked."""
PATIENCE = 30.0
"""Seconds that systemd gets to answer, on top of what it waits for itself."""
START_SECONDS = 330.0
STOP_SECONDS = 90.0
FRESH = 0.1
"""Seconds for which an answer is good for all that look at processes."""
CREDENTIALS = "243"
"""How a process ends for which systemd could not lay credentials open."""
TRIES = 3
PAUSE = 0.1
"""Seconds between them."""
PROPERTIES = (
    "Id,ActiveState,SubState,MainPID,ExecMainStartTimestampMonotonic,Result,NRestarts,Listen"
)

ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "SYSTEMD_COLORS": "0"}
GONE = re.compile(r"Failed to stop (\S+): Unit \1 not loaded\.")
SOCKET = re.compile(r"sealift-(.+)\.socket")
LISTEN = re.compile(r"^(?:.*:)?(\d+) \(Stream\)$", re.MULTILINE)

PHASES = {
    "active": Phase.RUNNING,
    "reloading": Phase.RUNNING,
    "activating": Phase.STARTING,
    "deactivating": Phase.STOPPING,
    "failed": Phase.FAILED,
    "inactive": Phase.STOPPED,
    "maintenance": Phase.FAILED,
}


class Systemd:
    """systemd of this machine, as far as it is ours."""

    def __init__(self, *, links: Path = LINKS, notes: Path = NOTES, stale: Path = STALE) -> None:
        self._links, self._notes, self._stale = links, notes, stale
        # One offset for all answers: a process is known by its pid and the moment it began at.
        self._offset = time.time() - time.monotonic()
        self._hastened: frozenset[str] = frozenset()
        """Units that were told to start, and are not known to have."""
        self._ended: dict[str, int] = {}
        """How often units had ended when they were first seen to run: a start may take several."""
        self._mutex = threading.Lock()
        self._asked: dict[tuple[str, ...], tuple[float, dict[str, dict[str, str]]]] = {}

    def alive(self) -> bool:
        """Tell whether anything of ours runs, or is about to."""
        return any(self.seen().up.values())

    def processes(self) -> Mapping[str, Process]:
        """Return for each service the instance that was started last."""
        found: dict[str, Process] = {}
        for unit, facts in self._instances().items():
            known = units.parse(unit)
            if known is None:
                continue
            each = self._process(known[0], facts)
            best = found.get(each.name)
            if best is None or _rank(each) > _rank(best):
                found[each.name] = each
        return found

    def of(self, wanted: Iterable[Unit]) -> Mapping[str, Process]:
        """Return just these instances, by service; what is not loaded is stopped."""
        names = {unit.service: unit.name for unit in wanted}
        if not names:
            return {}
        facts = self._show(tuple(sorted(names)), fresh=FRESH)
        return {name: self._process(name, facts.get(unit, {})) for unit, name in names.items()}

    def seen(self) -> Seen:
        """Return all that runs."""
        up: dict[str, dict[str, Phase]] = {}
        shown = self._show(("sealift-*@*.service", "sealift-*.socket"), fresh=FRESH)
        for unit, facts in shown.items():
            known, phase = units.parse(unit), _phase(facts)
            if known is not None and phase not in (Phase.STOPPED, Phase.STOPPING):
                up.setdefault(known[0], {})[known[1]] = phase
        stamps = {each.name: Stamp.parse(each.read_text("utf-8")) for each in self._noted()}
        listening = {
            name: stamps[name].unit if name in stamps else ""
            for name, facts in shown.items()
            if _listens(name) and facts["ActiveState"] == "active"
        }
        ports = {name: _ports(shown[name]) for name in listening}
        return Seen(up, stamps, listening, ports)

    def link(self, files: Mapping[str, Path], *, wait: bool = True, keep: bool = True) -> None:
        """Let systemd know these units, and of others of ours what instances still need.

        What runs must end, or be started again if it fails, as what it was begun as. Without
        `keep` nothing stays of services that none of these units is for.

        Without `wait` it does not read anew yet: what is not loaded it finds all the same, and
        the rest with `learn`, or the next time that anything is linked.
        """
        self._links.mkdir(parents=True, exist_ok=True)
        running = self._instances() if any(self._links.glob("sealift*@*.service")) else {}
        up = {name for name, facts in running.items() if _phase(facts) is not Phase.STOPPED}
        services = {known[0] for name in up if (known := units.parse(name))} if keep else set()
        for each in self._links.glob("sealift*"):
            spared = each.name in up or units.owner(each.name) in services
            if each.name not in files and not spared:
                self._change(each, None)
        for name, file in files.items():
            place = self._links / name
            if not place.is_symlink() or place.readlink() != file:
                self._change(place, file)
        if wait:
            self.learn()

    def learn(self) -> None:
        """Let systemd read its units again, if any were linked that it may not have read."""
        if self._stale.exists():
            self._tell("daemon-reload", timeout=PATIENCE)
            self._stale.unlink()

    def open(self, sockets: Collection[str]) -> None:
        """Let sockets listen; those that do go on."""
        if sockets:
            self._tell("start", *sorted(sockets), timeout=PATIENCE)

    def begin(self, services: Collection[str]) -> None:
        """Start units, and return when they are ready.

        Raises:
            ManagerError: one does not become ready.
        """
        self._forgotten("start", services, START_SECONDS)

    def hasten(self, services: Collection[str]) -> None:
        """Let new units begin to start, of which `again` waits for the end.

        Reading all units anew takes as long as such a start, and goes on beside it.
        """
        loaded = self._instances()
        self._hastened = frozenset(each for each in services if each not in loaded)
        for each in self._hastened:
            self.forget(each)
        if self._hastened:
            self._tell("start", "--no-block", *sorted(self._hastened), timeout=PATIENCE)

    def again(self, services: Collection[str]) -> None:
        """Stop units and start them, and return when they are ready.

        Raises:
            ManagerError: one does not become ready.
        """
        for each in services:
            self._ended.pop(each, None)
        begun = self._hastened.intersection(services)
        self._hastened = frozenset()
        self._forgotten("start", begun, START_SECONDS)
        others = [each for each in services if each not in begun]
        self._forgotten("restart", others, START_SECONDS + STOP_SECONDS)

    def end(self, names: Collection[str], *, wait: bool = True) -> None:
        """Stop units; without `wait` they end what they are at by and by."""
        for name in names:
            self.forget(name)
        if names:
            how = () if wait else ("--no-block",)
            self._tell("stop", *how, *sorted(names), timeout=STOP_SECONDS, gone=GONE)

    def launch(self, unit: str) -> None:
        """Start a unit without waiting for it."""
        self._tell("start", "--no-block", unit, timeout=PATIENCE)

    def reload(self, name: str) -> None:
        """Let the running instances of a service read their configuration again."""
        found = [f"sealift-{name}@{each}.service" for each in self.seen().up.get(name, ())]
        if found:
            self._tell("reload", *found, timeout=PATIENCE)

    def start(self, names: Collection[str]) -> None:
        """Start services that are linked: what the target wants of them."""
        self.begin(self._wanted(names))

    def stop(self, names: Collection[str]) -> None:
        """Stop services with their sockets, which would start them again."""
        up = self.seen().up
        running = [f"sealift-{n}@{each}.service" for n in names for each in up.get(n, ())]
        self.end([*(f"sealift-{name}.socket" for name in names if self._has(name)), *running])

    def shutdown(self) -> None:
        """Stop everything but what the head helps itself by."""
        every = (*self._instances(), *self._show(("sealift-*.socket", units.TARGET)))
        self.end([each for each in every if each not in units.OWN])

    def note(self, unit: str, stamp: Stamp) -> None:
        """Note with what a unit was started."""
        self._notes.mkdir(parents=True, exist_ok=True)
        fresh = self._notes / f".{unit}"
        fresh.write_text(str(stamp), "utf-8")
        fresh.replace(self._notes / unit)

    def note_all(self, every: Iterable[Unit], secrets: Mapping[str, str]) -> None:
        """Note of units that systemd is about to start with what that will be."""
        for unit in every:
            self.note(unit.service, Stamp(unit.digest, secrets.get(unit.name, "")))
            if unit.socket is not None:
                self.note(unit.socket, Stamp(unit.socket_digest))

    def forget(self, unit: str) -> None:
        """Forget with what a unit was started: it may be another text soon."""
        (self._notes / unit).unlink(missing_ok=True)

    def _forgotten(self, verb: str, services: Collection[str], timeout: float) -> None:
        """Start units, of which is forgotten before with what they were started."""
        for each in services:
            self.forget(each)
        if not services:
            return
        for left in reversed(range(TRIES)):
            try:
                self._tell(verb, *sorted(services), timeout=timeout)
            except ManagerError:
                if not left or not self._is_hindered(services):
                    raise
                time.sleep(PAUSE)
                verb = "start"
            else:
                return

    def _is_hindered(self, services: Collection[str]) -> bool:
        """Tell whether systemd itself failed to lay a unit's credentials open.

        It does so now and then, up to version 256, if the unit ended only just before.
        """
        said = self._tell("show", "-p", "Id,ExecMainStatus", "--", *services, timeout=PATIENCE)
        return any(facts.get("ExecMainStatus") == CREDENTIALS for facts in _blocks(said).values())

    def _has(self, name: str) -> bool:
        return (self._links / f"sealift-{name}.socket").is_symlink()

    def _wanted(self, names: Collection[str]) -> list[str]:
        """Return the units of services by what the target says."""
        text = (self._links / units.TARGET).read_text("utf-8")
        wants = [line[6:] for line in text.splitlines() if line.startswith("Wants=")]
        return [each for each in wants if _service(each) in names]

    def _noted(self) -> list[Path]:
        found = []
        with suppress(FileNotFoundError):
            found = [each for each in self._notes.iterdir() if not each.name.startswith(".")]
        return found

    def _change(self, place: Path, file: Path | None) -> None:
        """Put one link in place, or take it away; note first what systemd has not read then."""
        if file is None or _text(place) != _text(file):
            self._stale.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._stale.touch()
        if file is None:
            place.unlink(missing_ok=True)
            return
        fresh = place.with_name(f".{place.name}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(file)
        fresh.replace(place)

    def _instances(self) -> dict[str, dict[str, str]]:
        shown = self._show(("sealift-*@*.service",), fresh=FRESH)
        return {name: facts for name, facts in shown.items() if units.parse(name)}

    def _show(self, patterns: tuple[str, ...], *, fresh: float = 0.0) -> dict[str, dict[str, str]]:
        with self._mutex:
            when, known = self._asked.get(patterns, (0.0, {}))
            if time.monotonic() - when > fresh:
                said = self._tell("show", "-p", PROPERTIES, "--", *patterns, timeout=PATIENCE)
                known = _blocks(said)
                self._asked = {patterns: (time.monotonic(), known)}
            return known

    def _process(self, name: str, facts: Mapping[str, str]) -> Process:
        pid = int(facts.get("MainPID", "0")) or None
        began = int(facts.get("ExecMainStartTimestampMonotonic", "0")) / 1e6
        since = self._offset + began if pid else None
        result = facts.get("Result", "")
        note = "" if result in ("", "success") else f"systemd says: {result}"
        phase, unit, count = _phase(facts), facts.get("Id", ""), int(facts.get("NRestarts", "0"))
        if phase is Phase.RUNNING:
            self._ended.setdefault(unit, count)
        restarts = count - self._ended.get(unit, count)
        return Process(name, phase, pid, since, note, restarts)

    def _tell(self, *words: str, timeout: float, gone: re.Pattern[str] | None = None) -> str:
        """Call systemctl; what it says that matches `gone` is no failure."""
        argv = ("systemctl", "--no-pager", "--no-ask-password", *words)
        ended = run(argv, env=ENVIRONMENT, timeout=timeout)
        said = [line for line in ended.output.splitlines() if not (gone and gone.match(line))]
        if ended.status != 0 and (said or gone is None):
            what = " ".join(each for each in words[1:] if not each.startswith("-"))
            reason = f"systemd does not {words[0]} {what}".rstrip()
            raise ManagerError(reason, got="\n".join(said).strip() or None)
        return ended.output


def _blocks(said: str) -> dict[str, dict[str, str]]:
    """Read what `systemctl show` tells: a block of lines per unit."""
    found = {}
    for block in said.split("\n\n"):
        facts: dict[str, str] = {}
        for key, is_fact, value in (line.partition("=") for line in block.splitlines()):
            if is_fact:
                facts[key] = f"{facts[key]}\n{value}" if key in facts else value
        if "Id" in facts:
            found[facts["Id"]] = facts
    return found


def _phase(facts: Mapping[str, str]) -> Phase:
    """Return what a unit is doing; one that waits before its next try has failed."""
    if facts.get("SubState") == "auto-restart":
        return Phase.FAILED
    return PHASES.get(facts.get("ActiveState", "inactive"), Phase.FAILED)


def _listens(unit: str) -> bool:
    """Tell whether a unit is a service's socket, and none of a single instance."""
    return unit.endswith(".socket") and "@" not in unit


def _ports(facts: Mapping[str, str]) -> frozenset[int]:
    return frozenset(int(each) for each in LISTEN.findall(facts.get("Listen", "")))


def _rank(process: Process) -> tuple[bool, float]:
    return process.phase.up, process.since or 0.0


def _service(unit: str) -> str | None:
    """Return the service that a unit of the target belongs to."""
    known = units.parse(unit)
    if known is not None:
        return known[0]
    match = SOCKET.fullmatch(unit)
    return match[1] if match else None


def _text(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
