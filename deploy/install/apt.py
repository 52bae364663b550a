"""apt on a head, with no source but sets of the store, and nothing of the head's own settings.

Its lists, cache and settings lie in a folder of their own, one for each choice of sets. Packages'
scripts change owner, mode or text of what they take for their own, through whatever link; so apt
sees the store with a layer over it, into which that goes and which goes with it. What is installed
when, `deploy.install.packages` says.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import SystemRefusedError
from deploy.install.copying import make_folders
from deploy.install.machine import APT_SECONDS, ENVIRONMENT
from store.lock import hold

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from deploy.command import Answer
    from deploy.install.machine import Machine

FOLDER, READY, LOCK, LOG, SHIELDED = "apt", "ready", "apt.lock", "apt.log", "shield"
LOCK_SECONDS = 120
SHIELD = """\
store=$1 place=$2
shift 2
mount -t tmpfs -o mode=0700 sealift "$place" && mkdir "$place/upper" "$place/work" &&
    mount -t overlay sealift "$store" \\
        -o "lowerdir=$store,upperdir=$place/upper,workdir=$place/work" ||
    { mount --bind "$store" "$store" && mount -o remount,bind,ro "$store"; } || exit 1
exec "$@"
"""
"""What packages' scripts write into the store is lost; where that cannot be, it is refused."""
CONFIGURATION_FILES = ("--force-confdef", "--force-confold")
"""Where a configuration file was changed, as by us, that one holds, and nobody is asked."""
QUIET = {
    **ENVIRONMENT,
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
    "UCF_FORCE_CONFFOLD": "1",
    "LC_ALL": "C",
    "LANG": "C",
}
_INSTALL = re.compile(r"Inst (\S+)(?: \[([^\]]+)\])? \((\S+) ")
_REMOVE = re.compile(r"Remv (\S+)")
_AGAINST = (
    "will be REMOVED:",
    "will be DOWNGRADED:",
    "held packages will be changed:",
    "have unmet dependencies:",
    "Conflicts:",
    "Breaks:",
    "Depends:",
)
_LAST = 600
"""Characters of what apt says that an error tells."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What apt would do: `new` name → version, `upgraded` name → (old, new), and `removed`.

    `refused` is why it would not, in its own words.
    """

    new: Mapping[str, str]
    upgraded: Mapping[str, tuple[str, str]]
    removed: tuple[str, ...]
    refused: str = ""


class Apt:
    """apt with just these sets."""

    def __init__(self, machine: Machine, sets: Collection[Path]) -> None:
        self._machine = machine
        self._sets = sorted({str(each) for each in sets})
        digest = hashlib.sha256("\n".join(self._sets).encode()).hexdigest()[:24]
        self.folder = machine.home / FOLDER / digest

    def simulate(self, *words: str) -> Simulation:
        """Ask what apt would do; nothing is done.

        Raises:
            SystemRefusedError: a set cannot be read.
        """
        self._prepare()
        argv = ("apt-get", "--simulate", "--assume-yes", *words)
        return parse(self._machine.run(argv, env=self._environment, timeout=APT_SECONDS))

    def do(self, *words: str) -> None:
        """Let apt do something; it ends it even if we are killed.

        Raises:
            SystemRefusedError: it fails; says with which words, and where all are.
        """
        self._prepare()
        self._work(("apt-get", "--assume-yes", *words))

    def configure(self) -> None:
        """Let dpkg end what it was cut off at, as far as it goes."""
        self._prepare()
        argv = ("dpkg", *CONFIGURATION_FILES, "--configure", "--pending")
        self._machine.run(
            self._shielded(argv), env=self._environment, timeout=APT_SECONDS, log=self._log
        )

    def mark(self, how: str, names: Sequence[str]) -> None:
        """Let apt count packages as wanted for themselves (`manual`) or for others (`auto`).

        Raises:
            SystemRefusedError: it does not.
        """
        if names:
            self._prepare()
            self._checked(("apt-mark", how, "--", *names))

    @property
    def _environment(self) -> dict[str, str]:
        return {**QUIET, "APT_CONFIG": str(self.folder / "apt.conf")}

    @property
    def _log(self) -> Path:
        return self._machine.home / LOG

    def _work(self, argv: Sequence[str]) -> None:
        done = self._machine.run(
            self._shielded(argv), env=self._environment, timeout=APT_SECONDS, log=self._log
        )
        if done.status:
            raise _failure(argv, done, f"all that it said: {self._log}; then run it again")

    def _checked(self, argv: Sequence[str]) -> None:
        done = self._machine.run(argv, env=self._environment)
        if done.status:
            raise _failure(argv, done, None)

    def _shielded(self, argv: Sequence[str]) -> tuple[str, ...]:
        unshare = ("unshare", "--mount", "--propagation", "slave", "--")
        place = self._machine.home / SHIELDED
        place.mkdir(exist_ok=True)
        store = str(self._machine.store_dir)
        return (*unshare, "sh", "-c", SHIELD, "shield", store, str(place), *argv)

    def _prepare(self) -> None:
        """Lay apt's folder, and let it read the sets, unless that was done.

        Who only looks holds no lock of the head, so two may come here at once.
        """
        make_folders(self.folder.parent)
        with hold(self._machine.home / LOCK):
            if not (self.folder / READY).exists():
                self._make()

    def _make(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for each in ("lists/partial", "cache/archives/partial"):
            make_folders(self.folder / each)
        lines = [f"deb [trusted=yes] file:{each} ./\n" for each in self._sets]
        durable.write(self.folder / "sources.list", "".join(lines).encode())
        durable.write(self.folder / "apt.conf", configuration(self.folder).encode())
        self._checked(("apt-get", "--quiet", "update"))
        durable.write(self.folder / READY, b"")


def collect(machine: Machine, keep: Apt) -> None:
    """Remove the folders of all other choices of sets; they are made again when they are needed."""
    for each in (machine.home / FOLDER).glob("*"):
        if each != keep.folder:
            shutil.rmtree(each, ignore_errors=True)


def configuration(folder: Path) -> str:
    """Return apt's settings; those of the head are not read beside them."""
    nothing = "/dev/null"
    facts = {
        "Dir::Etc::main": nothing,
        "Dir::Etc::parts": nothing,
        "Dir::Etc::preferences": nothing,
        "Dir::Etc::preferencesparts": nothing,
        "Dir::Etc::sourceparts": nothing,
        "Dir::Etc::sourcelist": f"{folder}/sources.list",
        "Dir::State::lists": f"{folder}/lists/",
        "Dir::Cache": f"{folder}/cache/",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::AutoRemove::RecommendsImportant": "false",
        "APT::AutoRemove::SuggestsImportant": "false",
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        "APT::Sandbox::User": "root",
        "APT::Color": "false",
        "Acquire::Languages": "none",
        "DPkg::Lock::Timeout": str(LOCK_SECONDS),
        "DPkg::Use-Pty": "false",
    }
    lines = [f'{name} "{value}";\n' for name, value in facts.items()]
    return "".join([*lines, *(f'DPkg::Options:: "{each}";\n' for each in CONFIGURATION_FILES)])


def parse(done: Answer) -> Simulation:
    """Read what apt says that it would do. Pure."""
    text = done.stdout.decode("utf-8", "replace")
    found = _INSTALL.findall(text)
    headings = any(each in text for each in _AGAINST[:3])
    return Simulation(
        new={name: version for name, old, version in found if not old},
        upgraded={name: (old, version) for name, old, version in found if old},
        removed=tuple(_REMOVE.findall(text)),
        refused=words(text, done.stderr) if done.status or headings else "",
    )


def words(out: str, err: str) -> str:
    """Return of what apt says what speaks against it, on one line. Pure."""
    lines = out.splitlines()
    said = [each.strip() for each in (*err.splitlines(), *lines) if each.startswith("E:")]
    for number, line in enumerate(lines):
        if any(each in line for each in _AGAINST):
            said.append(line.strip())
            said += [each.strip() for each in lines[number + 1 : number + 3] if each[:1] == " "]
    text = " ".join(dict.fromkeys(said))
    return (text or err.strip() or out.strip())[-_LAST:]


def _failure(argv: Sequence[str], done: Answer, hint: str | None) -> SystemRefusedError:
    text = done.stdout.decode("utf-8", "replace")
    return SystemRefusedError(
        f"{argv[0]} failed with status {done.status}",
        where=" ".join(argv[:8]),
        got=words(text[-16_384:], done.stderr),
        hint=hint,
    )
