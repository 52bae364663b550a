"""One machine under watch: what leaves it for elsewhere is dropped and counted, caches are hidden.

`deploy.counting` has the rules and reads the counts; here they are laid on a machine, looked at and
taken away. A watch ends by itself `LAPSE` seconds after it was last renewed: the rules bind no
longer, and a process that was left on the machine clears up.
"""

from __future__ import annotations

import io
import secrets
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deploy.counting import TABLE, arming, parse, rules, served_ports
from deploy.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from deploy.counting import Counts, Network
    from deploy.link import Ended

LAPSE = 120
"""Seconds without a renewal after which the rules bind no longer."""
SECONDS = 60.0
"""What one question to a machine may take."""
RUN = "/run/sealift-proof"
"""A tmpfs of the watch's own, by whose source all that it mounted is known."""
HIDDEN_FOLDERS = (
    "/etc/apt",
    "/var/cache/apt",
    "/var/lib/apt/lists",
    *(f"~/{name}" for name in (".cache/pip", ".cache/uv", ".config/pip", ".config/uv", ".npm")),
    "~/.pip",
    "~/.cache/node-gyp",
)
HIDDEN_FILES = (
    *("/etc/pip.conf", "/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"),
    *("~/.npmrc", "~/.pydistutils.cfg"),
)
"""What pip, npm, uv and apt are set by and keep; `~` is the home of who looks, root mostly."""

FIND = """\
for each; do
  if [ -x "$each" ] && "$each" --version > /dev/null 2>&1; then
    echo "$each"
    exit 0
  fi
done
PATH=$PATH:/usr/sbin:/sbin command -v nft
"""
# Arguments: the token, nft, its rules, folders, --, files. Laid last are the rules, so that a
# machine that is watched is one whose caches are hidden.
BEGIN = f"""\
set -eu
token=$1 nft=$2 laid=$3
shift 3
mkdir -p {RUN}
mount -t tmpfs -o mode=700,size=1m sealift-proof {RUN}
mkdir {RUN}/empty
: > {RUN}/nothing
: > "{RUN}/$token"
with={RUN}/empty is=-d
for each; do
  case $each in
    --) with={RUN}/nothing is=-f; continue ;;
    '~'*) each=${{HOME:-/root}}${{each#?}} ;;
  esac
  if [ "$is" "$each" ]; then
    mount --bind "$with" "$each"
    echo "$each"
  fi
done
printf '%s' "$laid" | "$nft" -f -
"""
END = f"""\
"$1" delete table inet {TABLE} 2> /dev/null
mounted=$(cat /proc/mounts)
printf '%s\\n' "$mounted" | while read -r source target rest; do
  [ "$source" != sealift-proof ] || umount "$target" || umount -l "$target"
done
rmdir {RUN} 2> /dev/null
exit 0
"""
# Left on the machine when the rules are armed. It goes without a word when its watch has ended.
CLEANER = f"""\
while [ -e "{RUN}/$2" ] && "$1" get element inet {TABLE} armed '{{ ipv4 }}'; do
  sleep 5
done
[ -e "{RUN}/$2" ] || exit 0
"""
LEAVE = """\
cleaner=$3
setsid sh -c "$cleaner" sealift-proof "$1" "$2" > /dev/null 2>&1 < /dev/null &
"""
# The one word that bash can send to elsewhere without any other program; 192.0.2.0/24 is nobody's
# (RFC 5737). What comes of it is nobody's business but the count's.
TRY = "bash -c 'exec 3<> /dev/udp/192.0.2.1/9; echo >&3' 2> /dev/null; exit 0"


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
        self._tools = tools
        self._token = secrets.token_hex(8)
        self._nft = ""
        self._came = False
        self._ours = False

    def begin(self, allowed: Iterable[Network]) -> None:
        """Hide what is to be hidden, lay the rules and arm them.

        Raises:
            WatchError: it cannot be, or somebody else watches the machine.
        """
        self._nft = self._find() or self._bring()
        self._refuse_another()
        self._ours = True
        self._must(self.machine.script(END, (self._nft,), timeout=SECONDS), "cleared")
        sockets = self.machine.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"], timeout=SECONDS)
        laid = rules(allowed, served_ports(sockets.stdout.decode()))
        args = (self._token, self._nft, laid, *HIDDEN_FOLDERS, "--", *HIDDEN_FILES)
        done = self.machine.script(BEGIN, args, timeout=SECONDS)
        try:
            self._must(done, "watched")
            self.renew()
            args = (self._nft, self._token, CLEANER + END)
            self._must(self.machine.script(LEAVE, args, timeout=SECONDS), "watched")
        except BaseException:
            self.end()
            raise
        self.hidden = tuple(done.stdout.decode().splitlines())

    def renew(self) -> None:
        """Let the rules bind for `LAPSE` seconds from now.

        Raises:
            WatchError: they do not.
        """
        argv = [self._nft, "-f", "-"]
        ended = self.machine.run(argv, input=arming(LAPSE).encode(), timeout=SECONDS)
        self._must(ended, "watched")

    def counts(self) -> Counts:
        """Look at the counts.

        Raises:
            WatchError: there are none, or the rules do not bind any more.
        """
        argv = [self._nft, "-j", "list", "table", "inet", TABLE]
        listed = self._must(self.machine.run(argv, timeout=SECONDS), "counted")
        snmp = self.machine.run(["cat", "/proc/net/snmp", "/proc/net/snmp6"], timeout=SECONDS)
        try:
            found = parse(listed.stdout, snmp.stdout.decode())
        except (ValueError, KeyError, TypeError) as error:
            reason = f"the counts of {self.name} cannot be read"
            raise WatchError(reason, where=self.name, got=str(error)) from error
        if not found.armed:
            raise WatchError(
                f"{self.name} was not watched all the time",
                where=self.name,
                hint="it was not heard of for two minutes, or began anew; run the proof again",
            )
        return found

    def try_out(self) -> None:
        """Let the machine send a word to elsewhere, which must be counted."""
        self.machine.script(TRY, timeout=SECONDS, root=False)

    def users(self, numbers: Iterable[int]) -> Mapping[int, str]:
        """Name users by their numbers, as far as the machine knows them."""
        argv = ["getent", "passwd", *map(str, sorted(set(numbers)))]
        rows = self.machine.run(argv, timeout=SECONDS).stdout.decode("utf-8", "replace")
        found = (line.split(":") for line in rows.splitlines())
        return {int(row[2]): row[0] for row in found if len(row) > 2 and row[2].isdigit()}  # noqa: PLR2004 - passwd(5)

    def addresses(self) -> tuple[str, ...]:
        """Return all addresses that the machine says are its own, of any network."""
        try:
            done = self.machine.run(["hostname", "-I"], timeout=SECONDS)
        except HeadError:
            return ()
        return tuple(done.stdout.decode().split()) if not done.status else ()

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
