"""The head's end of a session of phases: one operator, one order after the other.

The head's lock is held from the first word to the last. An operator who is gone leaves an order
half done at a place from which the same order goes on: what apt is at is ended, nothing new begins.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploy.audit import Audit
from deploy.errors import HeadError, HeadLockedError, OperatorGoneError, TakenBackError
from deploy.install import boot, commands, lay, profiles, records, sealed, units, words
from deploy.install.lay import Work
from deploy.install.look import look
from deploy.lock import HeadLock
from deploy.phases import configuration_file
from deploy.phases.errors import shortened
from deploy.phases.state import State, units_json
from deploy.report import error_json
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from deploy.install.machine import Machine
    from deploy.install.words import Open, Order
    from deploy.line import Line
    from deploy.phases.configuration import Configuration

ACTION = "phases"
"""What the lock's file says that its holder is at."""
PATIENCE = 0.5
"""Seconds between two tries to get the lock."""
APT_SECONDS = 600.0
"""How long apt of a session that was killed may go on."""
CHANGES = (words.Lay, words.Enable, words.Verified, words.Unlay, words.Put)


@dataclass(slots=True)
class Served:
    """One operator's session on this machine."""

    machine: Machine
    line: Line
    opened: Open
    audit: Audit
    _read: dict[str, Configuration] = field(default_factory=dict)
    _noted: set[str] = field(default_factory=set)

    def do(self, order: Order) -> Any:  # noqa: ANN401 (any JSON value)
        """Do what is ordered; return what to answer.

        Raises:
            Error: it cannot be done, or the operator is gone meanwhile.
        """
        if not isinstance(order, CHANGES):
            return self._look(order)
        if self.opened.look:
            raise HeadError("this session is for looking alone", hint="run it without --dry-run")
        what = str(order.path) if isinstance(order, words.Put) else self._named(order.phase)
        with self.audit.change(self.opened.by, f"phase {_word(order)}", what):
            return self._change(order)

    @property
    def work(self) -> Work:
        """Who works here, with all secrets that came and that were kept."""
        secrets = {**sealed.kept(self.machine), **self.opened.secrets}
        return Work(self.machine, self.opened.by, secrets, self.line.present, self._tell)

    def wanted(self, phase: str) -> Configuration:
        """Return the configuration of a phase that came with the session; else what is laid.

        Raises:
            HeadError: there is neither.
            BadReleaseError: it cannot be used.
        """
        found = self._of(phase)
        if found is None:
            raise HeadError(f"nothing says what the phase {phase} wants of this head", where=phase)
        return found

    def _look(self, order: Order) -> Any:  # noqa: ANN401 (any JSON value)
        match order:
            case words.Check():
                return self._check(order.phases)
            case words.Units():
                return units_json(units.states(self.machine, order.names))
            case words.Laid():
                return self._laid(order.phase)
            case words.Run():
                return self._run(order)
        raise TypeError(order)

    def _run(self, order: words.Run) -> Any:  # noqa: ANN401 (any JSON value)
        """Run a command; the log has each of whoever may change the head, once: many only ask."""
        text = shortened(order.argv)
        if self.opened.look or text in self._noted:
            return commands.run(self.machine, order, self.work.secrets)
        self._noted.add(text)
        with self.audit.change(self.opened.by, "phase run", text):
            return commands.run(self.machine, order, self.work.secrets)

    def _change(self, order: Order) -> Any:  # noqa: ANN401 (any JSON value)
        match order:
            case words.Lay():
                ahead = [self.wanted(each) for each in order.ahead]
                done = lay.lay(self.work, self.wanted(order.phase), ahead)
                return {"installed": list(done.names), "apt": round(done.seconds, 3)}
            case words.Enable():
                lay.enable(self.work, order.phase)
            case words.Verified():
                lay.verified(self.work, order.phase)
            case words.Unlay():
                return {"kept": list(lay.unlay(self.work, order.phase))}
            case words.Put():
                written = commands.put(self.machine, order, self.work.secrets)
                return {"written": written}
        return {}

    def _check(self, phases: Sequence[str]) -> dict[str, Any]:
        found = {phase: self._of(phase) for phase in phases}
        wanted = [each for each in found.values() if each is not None]
        states = look(self.machine, wanted, self.work.secrets)
        return {phase: states.get(phase, self._unknown(phase)).to_json() for phase in phases}

    def _unknown(self, phase: str) -> State:
        """Return what is known of a phase of which no configuration is there: its records."""
        begun = phase in records.noted(self.machine, records.BEGUN)
        return State(recorded=records.load(self.machine, phase), begun=begun)

    def _laid(self, phase: str) -> dict[str, str]:
        found = profiles.laid(self.machine, phase)
        if found is None:
            return {}
        text = (found.path / configuration_file.FILE).read_text("utf-8")
        return {"path": str(found.path), "text": text}

    def _of(self, phase: str) -> Configuration | None:
        if phase not in self.opened.paths:
            return profiles.laid(self.machine, phase)
        if phase not in self._read:
            self._read[phase] = configuration_file.load(self.opened.paths[phase])
        return self._read[phase]

    def _named(self, phase: str) -> str:
        return f"{phase} {self.opened.paths.get(phase, '')}".rstrip()

    def _tell(self, text: str) -> None:
        self.line.say("event", text=text)


def serve(line: Line, open_machine: Callable[[], AbstractContextManager[Machine]]) -> int:
    """Do what the operator at the other end orders, until there is none; return the exit code.

    Raises:
        BaseException: what is no `Error`, after the operator was told.
    """
    number: object = None
    with ExitStack() as stack:
        try:
            record = line.first()
            number = record.get("id")
            opened = words.opening(record)
            sealed.check(opened.secrets)
            line.deadline = opened.deadline
            machine = stack.enter_context(open_machine())
            served = Served(machine, line, opened, Audit(machine.layout.audit))
            if not opened.look:
                stack.enter_context(_locked(machine, line, opened))
        except BaseException as error:
            line.say("failed", id=number, error=error_json(error))
            if isinstance(error, Error):
                return error.exit_code
            raise
        line.say("answer", id=number, result={})
        return _serve(line, served)


def _serve(line: Line, served: Served) -> int:
    while True:
        try:
            record = line.order()
        except (OperatorGoneError, TakenBackError):
            # Whoever has no more orders hangs up.
            return 0
        except Error as error:
            line.say("failed", error=error_json(error))
            return error.exit_code
        try:
            result = served.do(words.order(record))
        except Error as error:
            line.say("failed", id=record.get("id"), error=error_json(error))
        except BaseException as error:
            line.say("failed", id=record.get("id"), error=error_json(error))
            raise
        else:
            line.say("answer", id=record.get("id"), result=result)


@contextmanager
def _locked(machine: Machine, line: Line, opened: Open) -> Iterator[None]:
    """Hold the head's lock, with what a killed session left removed.

    Another session of phases may still end what it does for an operator who is gone; a live one is
    named after the same time.
    """
    lock, until = HeadLock(machine.layout.lock), time.monotonic() + opened.wait
    told = False
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(lock.hold(opened.by, ACTION))
            except HeadLockedError:
                holder = lock.holder()
                if time.monotonic() > until or (holder and holder.action != ACTION):
                    raise
                if not told:
                    who = holder or "somebody else"
                    line.say("event", text=f"waits until {who} has ended", wait=opened.wait)
                told = True
            else:
                boot.sweep(machine, APT_SECONDS)
                yield
                return
        line.present()
        time.sleep(PATIENCE)


def _word(order: Order) -> str:
    return type(order).__name__.lower()
