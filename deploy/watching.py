"""One machine under watch: what leaves it for elsewhere is dropped and counted, caches are hidden.

`deploy.cutting` has the rules, `deploy.counting` reads the counts, `deploy.watch_scripts` has what
else is run; here they are laid on a machine, looked at and taken away. A watch ends by itself
`LAPSE` seconds after it was last renewed: the rules bind no longer, and a process that was left on
the machine clears up.
"""

from __future__ import annotations

import io
import re
import secrets
import tarfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from deploy.counting import parse, routeless, sockets
from deploy.cutting import TABLE, arming, frames, opened, packets
from deploy.errors import HeadError
from deploy.watch_scripts import (
    BEGIN,
    CLEANER,
    END,
    FIND,
    HIDDEN_FILES,
    HIDDEN_FOLDERS,
    INTERFACES,
    IPV6,
    LEAVE,
    NUMBERS,
    SOCKETS,
    TRY,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from deploy.counting import Counts, Sockets
    from deploy.cutting import Network
    from deploy.link import Ended

LAPSE = 120
"""Seconds without a renewal after which the rules bind no longer."""
RENEWALS = 6
"""Renewals that may fail, one after the other, before a watch lapses."""
SECONDS = 60.0
"""What one question to a machine may take."""
NO_FRAMES = "what packet sockets, guests on a bridge and protocols other than IP send"
NO_ORDER = "who began the connections through this machine that are older than the watch"
LATER = "what others than IP send by {}, which came later"
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")


class WatchError(HeadError):
    """A machine that cannot be watched, or of which nobody knows whether it was."""

    slug = "not-watched"


class Machine(Protocol):
    """A machine that commands are run on: a head over SSH, or this one."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        timeout: float,
        root: bool = True,
    ) -> Ended:
        """Run a command."""
        ...

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Ended:
        """Run a script of sh."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """Where nft may lie on a machine, and a folder here that is brought there if it does not.

    `brought` is where that goes.
    """

    there: tuple[str, ...]
    here: Path | None
    brought: str


class Watch:
    """A machine that is watched from `begin` to `end`."""

    def __init__(self, machine: Machine, tools: Tools) -> None:
        self.machine = machine
        self.name = machine.name
        self.hidden: tuple[str, ...] = ()
        """The folders and files that are empty meanwhile."""
        self.unseen: tuple[str, ...] = ()
        """What could leave this machine without being counted, as far as it is known."""
        self._tools = tools
        self._token = secrets.token_hex(8)
        self._nft = ""
        self._came = False
        self._ours = False
        self._framed: tuple[str, ...] = ()
        self._routeless = 0

    def begin(self, allowed: Sequence[Network]) -> None:
        """Hide what is to be hidden, and lay the rules, armed.

        Raises:
            WatchError: it cannot be, or somebody else watches the machine.
        """
        self._nft = self._find() or self._bring()
        self._refuse_another()
        self._ours = True
        self._script(END, self._nft, what="cleared")
        try:
            args = (self._token, *HIDDEN_FOLDERS, "--", *HIDDEN_FILES)
            self.hidden = tuple(self._script(BEGIN, *args).splitlines())
            self._lay(allowed)
            self._script(LEAVE, self._nft, self._token, CLEANER + END)
        except BaseException:
            self.end()
            raise

    def _lay(self, allowed: Sequence[Network]) -> None:
        """Lay the rules, so that they bind at once.

        Connections are looked at again after that: what begins later is seen to begin.
        """
        served = self._sockets().served
        self._routeless = routeless(self._script(NUMBERS))
        self._must(self._load(packets(allowed, served, LAPSE)), "watched")
        older = opened(self._sockets().opened)
        if older:
            self._must(self._load(older), "watched")
        self._frame(allowed)

    def _frame(self, allowed: Sequence[Network]) -> None:
        """Lay the rules for frames, if this kernel and this nft have such."""
        names = self._interfaces()
        if names and not self._load(frames(allowed, names, LAPSE)).status:
            self._framed = names
        else:
            self._miss(NO_FRAMES)

    def _sockets(self) -> Sockets:
        loose, _, rest = self._script(SOCKETS).partition("\n")
        if loose != "0":
            self._miss(NO_ORDER)
        return sockets(rest)

    def _interfaces(self) -> tuple[str, ...]:
        names = self._script(INTERFACES).split()
        return tuple(sorted(name for name in names if _INTERFACE.fullmatch(name)))

    def _miss(self, what: str) -> None:
        self.unseen = (*self.unseen, *({what} - {*self.unseen}))

    def renew(self) -> None:
        """Let the rules bind for `LAPSE` seconds from now, if they are this watch's and still bind.

        Raises:
            WatchError: they do not.
        """
        if not self._ours:
            return
        said = arming(LAPSE, self._framed)
        # No longer than to the next one: one that hangs must not make the rest come too late.
        self._must(self._load(said, timeout=LAPSE / RENEWALS), "watched")

    def counts(self) -> Counts:
        """Look at the counts since `begin`.

        Raises:
            WatchError: there are none, or the rules do not bind any more, or did not for a while.
        """
        families = ("inet", "netdev") if self._framed else ("inet",)
        listed = [self._listed(family) for family in families]
        try:
            found = parse(listed, self._script(NUMBERS, what="counted"))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"the counts of {self.name} cannot be read"
            raise WatchError(reason, where=self.name, got=str(error)) from error
        if not found.armed:
            raise WatchError(
                f"{self.name} was not watched all the time",
                where=self.name,
                hint="it was not heard of for two minutes, or began anew; run the proof again",
            )
        for name in self._interfaces() if self._framed else ():
            if name not in self._framed:
                self._miss(LATER.format(name))
        return replace(found, routeless=found.routeless - self._routeless)

    def try_out(self, address: str) -> None:
        """Let the machine send a word to this address, which must be counted."""
        self.machine.script(TRY, (address,), timeout=SECONDS, root=False)

    def has_ipv6(self) -> bool:
        """Say whether the machine has an address of IPv6."""
        return not self.machine.script(IPV6, timeout=SECONDS).status

    def users(self, numbers: Iterable[int]) -> Mapping[int, str]:
        """Name users by their numbers, as far as the machine knows them."""
        argv = ["getent", "passwd", *map(str, sorted(set(numbers)))]
        rows = self.machine.run(argv, timeout=SECONDS).stdout.decode("utf-8", "replace")
        found = (line.split(":") for line in rows.splitlines())
        return {int(row[2]): row[0] for row in found if len(row) > 2 and row[2].isdigit()}  # noqa: PLR2004 - passwd(5)

    def end(self) -> None:
        """Take away what was laid, by this watch alone; what cannot be goes by itself."""
        if self._ours:
            self.machine.script(END, (self._nft,), timeout=SECONDS)
        if self._came:
            self.machine.run(["rm", "-rf", "--", self._tools.brought], timeout=SECONDS)

    def _find(self) -> str:
        done = self.machine.script(FIND, self._tools.there, timeout=SECONDS)
        return done.stdout.decode().strip()

    def _bring(self) -> str:
        if self._tools.here is None:
            raise WatchError(
                f"there is no nft on {self.name}",
                where=self.name,
                hint="prove it with the one-file sealift, which brings nft; or deploy a release "
                "with the recipe nftables first",
            )
        into = self._tools.brought
        self._came = True
        argv = ["mkdir", "-p", "-m", "700", into]
        self._must(self.machine.run(argv, timeout=SECONDS), "watched")
        packed = _packed(self._tools.here)
        argv = ["tar", "-x", "-C", into]
        self._must(self.machine.run(argv, input=packed, timeout=SECONDS), "watched")
        return f"{into}/usr/sbin/nft"

    def _load(self, text: str, *, timeout: float = SECONDS) -> Ended:
        return self.machine.run([self._nft, "-f", "-"], input=text.encode(), timeout=timeout)

    def _listed(self, family: str) -> bytes:
        argv = [self._nft, "-j", "list", "table", family, TABLE]
        return self._must(self.machine.run(argv, timeout=SECONDS), "counted").stdout

    def _script(self, text: str, *args: str, what: str = "watched") -> str:
        ended = self._must(self.machine.script(text, args, timeout=SECONDS), what)
        return ended.stdout.decode("utf-8", "replace")

    def _refuse_another(self) -> None:
        argv = [self._nft, "get", "element", "inet", TABLE, "armed", "{ ipv4 }"]
        if not self.machine.run(argv, timeout=SECONDS).status:
            raise WatchError(
                f"{self.name} is watched already",
                where=self.name,
                hint="wait until the other proof is done; one that died ends within two minutes",
            )

    def _must(self, ended: Ended, what: str) -> Ended:
        if ended.status:
            raise WatchError(
                f"{self.name} cannot be {what}",
                where=self.name,
                got=ended.stderr.strip()[-400:] or f"exit status {ended.status}",
                hint="it takes root, a kernel with nf_tables and connection tracking, and mount",
            )
        return ended


def _packed(folder: Path) -> bytes:
    """Pack a folder of a few megabytes; what it unpacks to belongs to root."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name, filter=_owned)
    return packed.getvalue()


def _owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
