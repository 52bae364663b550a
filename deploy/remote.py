"""One head as the operator reaches it: facts, what it lacks, the push, the session, its commands.

`deploy.transport` is the door to the other machine; here is what is said through it. What several
heads do together is for `deploy.rolling`.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploy import facts as head_facts
from deploy import lacking
from deploy.audit import BY
from deploy.dialogue import Session
from deploy.errors import HeadError, HeadLostError, NoGenerationError
from deploy.exchange import exchange, objects
from deploy.place import AGENT, agent_of
from deploy.planning import Load
from deploy.report import error_json, of_head
from deploy.standby import Standby
from store import bootstrap
from store.database import DiskFullError
from store.errors import Error
from store.patience import SENDER
from store.send import send
from store.wire import CutError, SilentError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from deploy.dialogue import Channel
    from deploy.events import Observe
    from deploy.facts import Facts
    from deploy.host import Host
    from deploy.link import Data, Ended, Link
    from deploy.place import Place
    from deploy.release import Release
    from store.local import LocalStore
    from store.path import StorePath
    from store.send import Progress, Sent

ROOT = "pushed"
"""The collector's root on a head for what came last, which is no generation yet."""
FACTS_SECONDS = 60.0
COMMAND_SECONDS = 300.0
POLL = 1.0
SETTLE_MARGIN = 30.0
"""Seconds beyond its deadline that a lost head gets to have gone back: it looks every ten."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a head runs, asked of it afterwards."""

    generation: int | None
    release: str | None


class RemoteHead:
    """One head. Its methods are called by one thread at a time, but for `halt`."""

    def __init__(
        self, host: Host, dial: Callable[[Host], Link], place: Place, *, root: str = ROOT
    ) -> None:
        """Take what it is and how it is reached; `root` keeps there what is pushed to it."""
        self.host = host
        self.name = host.name
        self.place = place
        self.facts: Facts | None = None
        self.session: Session | None = None
        self.url = ""
        """Where browsers find the platform there, once that is known."""
        self.by = ""
        """Who is at work, as the head writes it down of commands that change it."""
        self._dial = dial
        self._link: Link | None = None
        self._data: Data | None = None
        self._root = root
        self._standby = Standby("agent", "receive", "--root", root)
        self._halted = False

    def expect_push(self) -> None:
        """Open the connection for data, as a push is to come soon; connects where needed.

        Raises:
            Error: the head cannot be reached.
        """
        self._standby.begin(self._reached())

    def look(self, release: Release | None, ports: Collection[int] = ()) -> Facts:
        """Ask the head what it is; connects where that was not done.

        Raises:
            Error: it cannot be reached, does not let us in, or does not answer as it should.
        """
        agent = "" if release is None else agent_of(release)
        where = (str(self.place.store_dir), str(self.place.var_dir))
        args = head_facts.ask(*where, agent, sorted(ports))
        link = self._reached()
        began = time.time()
        done = link.script(head_facts.SCRIPT, args, timeout=FACTS_SECONDS)
        try:
            text = done.stdout.decode("utf-8", "replace")
            self.facts = head_facts.parse(text, began=began, ended=time.time())
        except head_facts.BadFactsError as error:
            reason = f"{self.name} does not answer as a shell does"
            got = (done.stderr.strip() or str(error))[-400:]
            raise HeadError(reason, where=self.name, got=got) from error
        return self.facts

    def lacks(self, store: LocalStore, release: Release) -> Load:
        """Work out what has to be sent, asking the head where what it has is not known here."""
        facts, top = self._facts, store.parse(release.path)
        if not (facts.agent or facts.settled):
            return lacking.everything(store, top)
        if (known := lacking.rest(store, top, facts)) is not None:
            return known
        with suppress(WireError):
            sent = self._send(store, release, lambda _: None, dry_run=True)
            return Load(len(sent.paths), sent.raw, sent.blobs)
        return lacking.everything(store, top)

    def push(
        self,
        store: LocalStore,
        release: Release,
        observe: Callable[[Progress], None],
        tops: Sequence[StorePath] = (),
    ) -> Sent:
        """Send what the head lacks of the closure of `tops`, or of the release.

        It is verified there.

        Raises:
            Error: the connection broke, the disk is full, or the head refuses what came.
        """
        if not (self._facts.agent or self._facts.settled):
            self._bootstrap(store, release)
        try:
            return self._send(store, release, observe, tops)
        except WireError:
            # An agent of another version does not understand us; the one that comes with us does.
            if self._facts.agent:
                raise
        self._bootstrap(store, release)
        return self._send(store, release, observe, tops)

    def channel(self, *argv: str) -> Channel:
        """Begin a program on the head that speaks in lines, as root.

        Raises:
            Error: the head cannot be reached.
        """
        return self._reached().channel(argv)

    def knock(self) -> None:
        """Make sure that a new connection is let in, whatever those do that are open.

        Raises:
            Error: it is not.
        """
        with closing(self._dial(self.host)) as link:
            link.run(["true"], timeout=FACTS_SECONDS, root=False)

    def open(self, agent: str, observe: Observe) -> Session:
        """Begin a session with the head's agent, the program `agent`, unless one is begun."""
        if self.session is not None:
            return self.session
        channel = self._reached().channel([agent, "agent", "session"])
        self.session = Session(self.name, channel, observe)
        if self._halted:
            self.session.close()
        return self.session

    def answers(self) -> None:
        """Make sure that the head is there, has not gone back, and will not for what it finds.

        Raises:
            Error: it is not, or has.
        """
        if self.session is not None:
            self.session.vouch()

    def halt(self) -> None:
        """Let whatever is under way end soon; called while another thread waits for it."""
        self._halted = True
        session, data = self.session, self._data
        if data is not None:
            data.kill()
        elif session is None:
            self.hang_up()
        elif session.untouched:
            session.close()
        else:
            session.stop()

    def settle(self, deadline: float) -> Running | None:
        """Wait until a head that was lost has made up its mind; None if it cannot be asked."""
        until = time.monotonic() + deadline + SETTLE_MARGIN
        while True:
            self.hang_up()
            with suppress(Error, OSError):
                found = self.look(None)
                if found.unfinished is None and found.holder is None:
                    return Running(found.current, found.path)
            if time.monotonic() > until:
                return None
            time.sleep(POLL)

    def ask(self, *words: str, timeout: float = COMMAND_SECONDS) -> tuple[Any, ...]:
        """Run a command of sealift on the head with --json; return its records.

        Raises:
            Error: the one that the command ended with.
            NoGenerationError: nothing was deployed there.
        """
        whose = ["env", f"{BY}={self.by}"] if self.by and words[0] in CHANGES else []
        argv = [*whose, self.place.agent, *words, "--json"]
        done = self._reached().run(argv, timeout=timeout)
        records = tuple(objects(done.stdout))
        failure = next((each for each in records if "error" in each), None)
        if failure is not None:
            told = {**failure, "slug": failure["error"], "exit_code": done.status}
            raise of_head(self.name, told)
        if done.status and not records:
            raise self._unanswered(done)
        return records

    def script(self, text: str) -> Ended:
        """Run a script of sh that reads what everybody there may read.

        Raises:
            Error: the head cannot be reached, or does not answer in time.
        """
        return self._reached().script(text, timeout=COMMAND_SECONDS, root=False)

    def follow(self, *words: str) -> Iterator[dict[str, Any]]:
        """Run a command of sealift on the head with --json; give its records as they come.

        Raises:
            Error: the one that the command ended with.
        """
        channel = self._reached().channel([self.place.agent, *words, "--json"])
        said = False
        try:
            for line in channel.lines(1.0):
                for record in () if line is None else objects(line):
                    if "error" in record:
                        told = {**record, "slug": record["error"], "exit_code": channel.status()}
                        raise of_head(self.name, told)
                    yield record
                    said = True
            if not said and channel.status():
                raise self._mute()
        finally:
            channel.close()

    def hang_up(self) -> None:
        """Drop the connection; the next question makes a new one."""
        self._standby.end()
        link, self._link = self._link, None
        if link is not None:
            with suppress(OSError):
                link.close()

    def close(self) -> None:
        """Let go of the head."""
        if self.session is not None:
            self.session.close()
        self.hang_up()

    def _reached(self) -> Link:
        if self._link is None:
            self._link = self._dial(self.host)
        return self._link

    @property
    def _facts(self) -> Facts:
        return self.look(None) if self.facts is None else self.facts

    @contextmanager
    def _streams(self, argv: Sequence[str]) -> Iterator[Data]:
        """Begin a command that speaks in bytes, and that `halt` can end."""
        with self._reached().data(argv) as data, self._haltable(data):
            yield data

    @contextmanager
    def _receiver(self, agent: str) -> Iterator[Data]:
        """Begin to receive by an agent, over what stands by if there is anything."""
        with self._standby.take(agent) as data:
            if data is not None:
                with self._haltable(data):
                    yield data
                return
        with self._streams([agent, "agent", "receive", "--root", self._root]) as data:
            yield data

    @contextmanager
    def _haltable(self, data: Data) -> Iterator[None]:
        self._data = data
        try:
            if self._halted:
                data.kill()
            yield
        finally:
            self._data = None

    def _send(
        self,
        store: LocalStore,
        release: Release,
        observe: Callable[[Progress], None],
        tops: Sequence[StorePath] = (),
        *,
        dry_run: bool = False,
    ) -> Sent:
        """Push by the new release's agent if it is there, else by the one of the current."""
        old = self._facts.settled and not self._facts.agent
        agent = self.place.agent if old else agent_of(release)
        with self._receiver(agent) as link:
            try:
                return send(
                    store,
                    tops or [store.parse(release.path)],
                    reader=link.reader,
                    writer=link.writer,
                    observe=observe,
                    dry_run=dry_run,
                    patience=SENDER,
                )
            except SilentError as error:
                raise self._silent(error) from error
            except DiskFullError as error:
                raise self._full(error) from error
            except CutError:
                # The connection's own fault, where there is one, says more.
                link.status()
                raise

    def _bootstrap(self, store: LocalStore, release: Release) -> None:
        """Bring the agent and its interpreter to a head that has neither."""
        tops = [store.parse(release.tools[AGENT].path)]
        argv = ["sh", "-c", bootstrap.SCRIPT, "bootstrap", str(self.place.store_dir)]
        with self._streams(argv) as link:
            try:
                said = exchange(link, bootstrap.stream(store, tops), SENDER)
            except SilentError as error:
                raise self._silent(error) from error
            status = link.status()
            if status:
                reason = f"the agent cannot be brought to {self.name}"
                text = (link.stderr.strip() or said.decode("utf-8", "replace").strip())[-400:]
                raise HeadError(reason, where=self.name, got=text or f"exit status {status}")
        self.facts = replace(self._facts, agent=True)

    def _full(self, error: DiskFullError) -> Error:
        """Return the error of a head without room, with what makes some from here."""
        told = of_head(self.name, error_json(error))
        if self._facts.current is None:
            # Nothing is there yet that could be let go, nor the program that would do it.
            told.hint = f"make room below {self.place.store_dir} there"
        return told

    def _silent(self, error: SilentError) -> HeadLostError:
        return HeadLostError(
            f"{self.name} is silent in the midst of a push: {error.reason}",
            where=self.name,
            hint="look what that head does, then run the command again",
        )

    def _unanswered(self, done: Ended) -> HeadError:
        # sudo has a status of its own for what it does not find, and says so as a shell does.
        if done.status == NOT_FOUND or "command not found" in done.stderr:
            return self._undeployed()
        got = done.stderr.strip()[-400:] or f"exit status {done.status}"
        return HeadLostError(f"{self.name} does not answer", where=self.name, got=got)

    def _mute(self) -> HeadError:
        """Say why there was no answer at all, as far as the head's facts tell."""
        if self.look(None).current is None:
            return self._undeployed()
        return HeadLostError(f"{self.name} does not answer", where=self.name)

    def _undeployed(self) -> NoGenerationError:
        return NoGenerationError(
            f"nothing is deployed on {self.name}",
            where=self.name,
            hint=f"sealift deploy --host {self.name}",
        )


CHANGES = frozenset({"start", "stop", "restart", "gc"})
"""Commands that a head notes."""
NOT_FOUND = 127
