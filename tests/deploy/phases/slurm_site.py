"""A Slurm that is no Slurm: three heads whose commands answer as those of Slurm 22.05 do.

What makes a difference to the phase is kept: two slurmdbd that start together on an empty database
break it, a controller needs its state and the accounting, and a node a controller.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deploy.phases.configuration_file import parse
from deploy.phases.member import Ended
from deploy.phases.slurm_roles import CONTROLLER, DATABASE, FENCE, MUNGE, NODE
from deploy.phases.state import State, UnitState
from tests.deploy.phases import fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from deploy.phases.configuration import Configuration
    from deploy.phases.crew import Crew

HEADS = ("head1", "head2", "head3")
MOUNT = "/mnt/gluster"
PARAMETERS: dict[str, Any] = {
    "controllers": 2,
    "nodes": list(HEADS),
    "cpus": 2,
    "memory": 1000,
    "stuck": 60,
    "machines": {},
    "accounts": {"site": ["root", "kim"]},
}
SLURM_CONF = f"""\
# The same on every host of the cluster.
ClusterName=lab
SlurmctldHost=head1(10.0.0.1)
SlurmctldHost=head2(10.0.0.2)
StateSaveLocation={MOUNT}/slurm
"""
FILES = {
    "/etc/munge/munge.key": [MUNGE],
    "/etc/slurm/slurm.conf": [CONTROLLER, NODE],
    "/etc/slurm/slurmdbd.conf": [DATABASE],
}


def wanted(folder: Path, head: str, **changed: Any) -> Configuration:
    """Return what the phase wants of a head, as a store would have it."""
    place = folder / head
    text = place / "root/etc/slurm/slurm.conf"
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(SLURM_CONF)
    (place / "root/etc/slurm/slurmdbd.conf").write_text("")
    record = {
        "format": 1,
        "phase": "slurm",
        "number": 4,
        "host": head,
        "hosts": [
            {"name": each, "address": f"10.0.0.{at + 1}", "priority": at}
            for at, each in enumerate(HEADS)
        ],
        "after": [],
        "irreversible": ["queue"],
        "parameters": {**PARAMETERS, **changed},
        "users": [],
        "directories": [],
        "files": [
            {
                "path": path,
                **({"secret": "MUNGE_KEY"} if "key" in path else {"source": f"root{path}"}),
                "units": units,
            }
            for path, units in FILES.items()
        ],
        "units": [{"name": each, "enabled": True} for each in (MUNGE, NODE)],
        "ports": [],
        "secrets": {"MUNGE_KEY": "bytes"},
    }
    return parse(json.dumps(record), place)


@dataclass
class Slurm:
    """All heads, and what they share: accounts, queue, state."""

    folder: Path
    changed: dict[str, Any] = field(default_factory=dict)
    heads: dict[str, fakes.FakeMember] = field(default_factory=dict)
    mounted: bool = True
    mounts: set[str] = field(default_factory=lambda: {MOUNT})
    """Where something is mounted."""
    laid_conf: str = SLURM_CONF
    """The slurm.conf that is laid, whatever a release wants."""
    unreadable: bool = False
    """The name of the cluster whose state it is cannot be read."""
    linked: bool = False
    """The folder of the state is a link."""
    written: bool = True
    """A controller has written jobs down."""
    stray: str = ""
    """What lies in the folder of the state that bears no cluster's name."""
    removed: list[str] = field(default_factory=list)
    tables: bool = False
    clusters: list[str] = field(default_factory=list)
    associations: list[tuple[str, str]] = field(default_factory=list)
    jobs: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    """How many runs of srun fail yet."""
    shut: dict[str, str] = field(default_factory=dict)
    """Nodes that somebody drained, with the reason."""
    state_of: str = ""
    """The cluster whose state lies on the volume."""
    names: dict[str, str] = field(default_factory=dict)
    """What heads call themselves, where it is something else."""
    keys: dict[str, str] = field(default_factory=dict)
    cpus: int = 4
    broken: bool = False
    """Two slurmdbd made the tables at the same time."""
    log: list[str] = field(default_factory=list)
    """All that changed a unit, with its head, in order."""

    def __post_init__(self) -> None:
        for at, name in enumerate(HEADS):
            answer = lambda argv, given, name=name: self._answer(name, argv, given)  # noqa: E731
            self.heads[name] = fakes.FakeMember(name, f"10.0.0.{at + 1}", answer)
            self.keys[name] = "one"
            self.unlaid(name)

    def unlaid(self, name: str) -> None:
        """Let a head be as it came from its installer."""
        self.heads[name].unit = {
            each: UnitState("inactive", "dead")
            for each in (MUNGE, DATABASE, FENCE, CONTROLLER, NODE)
        }
        self.heads[name].found = {}

    def laid(self, *names: str) -> None:
        """Let heads have been laid before."""
        for name in names or HEADS:
            self.heads[name].found["slurm"] = State(laid=True)

    def crew(
        self,
        *names: str,
        witnesses: Sequence[str] = (),
        missing: Sequence[str] = (),
    ) -> Crew:
        """Return the crew of some heads, or of all."""
        members = [self.heads[each] for each in names or HEADS]
        return fakes.crew(
            "slurm",
            *members,
            witnesses=[self.heads[each] for each in witnesses],
            missing=missing,
            configurations={each: wanted(self.folder, each, **self.changed) for each in HEADS},
        )

    def stale(self, unit: str, *names: str) -> None:
        """Let a unit run with what it had before."""
        for name in names or HEADS:
            head = self.heads[name]
            head.unit[unit] = replace(head.unit[unit], stale="restart")

    def up(self, unit: str) -> list[str]:
        """Return the heads on which a unit runs."""
        return [name for name, each in self.heads.items() if each.unit[unit].running]

    def _answer(self, name: str, argv: tuple[str, ...], given: str) -> Ended | str | None:
        words: dict[str, Callable[[], Ended | str | None]] = {
            "hostname": lambda: self.names.get(name, name) + "\n",
            "nproc": lambda: f"{self.cpus}\n",
            "cat": lambda: self._file(argv[1]),
            "test": lambda: Ended(0 if self._there(argv[1], argv[2]) else 1),
            "find": lambda: self._find(argv),
            "rm": lambda: self._remove(argv),
            "mountpoint": lambda: Ended(0 if self.mounted and argv[-1] in self.mounts else 32),
            "systemctl": lambda: self._systemctl(name, argv[1], argv[2:]),
            "munge": lambda: f"MUNGE:{self.keys[name]}",
            "unmunge": lambda: self._read(name, given),
            "sacctmgr": lambda: self._accounts(argv),
            "scontrol": self._ping,
            "sinfo": self._sinfo,
            "squeue": self._squeue,
            "scancel": lambda: self._cancel(argv),
            "srun": lambda: self._srun(argv),
            "sacct": lambda: self._sacct(argv),
        }
        return words[argv[0]]() if argv[0] in words else None

    def _file(self, path: str) -> Ended | str:
        if path == "/proc/meminfo":
            return "MemTotal:        4096000 kB\nMemFree:  1 kB\n"
        if path.endswith("/root/etc/slurm/slurm.conf"):
            return self.laid_conf
        if self.unreadable:
            return Ended(1, "", f"cat: {path}: Transport endpoint is not connected\n")
        if self.state_of:
            return Ended(0, self.state_of)
        return Ended(1, "", f"cat: {path}: No such file or directory\n")

    def _there(self, how: str, path: str) -> bool:
        if how == "-h":
            return self.linked
        if path == f"{MOUNT}/slurm/job_state":
            return self.written
        if path == f"{MOUNT}/slurm/clustername":
            # What cannot be looked at is not there for `test`.
            return bool(self.state_of) and not self.unreadable
        return True

    def _find(self, argv: tuple[str, ...]) -> Ended | str:
        path = argv[1]
        if argv[2:] != ("-maxdepth", "0"):
            return self.stray
        if self.unreadable:
            return Ended(1, "", f"find: '{path}': Transport endpoint is not connected\n")
        if self._there("-e", path):
            return f"{path}\n"
        return Ended(1, "", f"find: '{path}': No such file or directory\n")

    def _remove(self, argv: tuple[str, ...]) -> str:
        self.removed.append(argv[-1])
        return ""

    def _read(self, name: str, given: str) -> Ended:
        same = given == f"MUNGE:{self.keys[name]}"
        return Ended(0) if same else Ended(15, "STATUS: Invalid credential (15)")

    def _squeue(self) -> Ended | str:
        found = [{"job_id": n, "name": "j", "job_state": s} for n, s in self.jobs.items()]
        return json.dumps({"jobs": found}) if self._controlled else Ended(1, "", "no controller")

    def _cancel(self, argv: tuple[str, ...]) -> str:
        self.jobs |= {int(each): "CANCELLED" for each in argv if each.isdigit()}
        return ""

    def _sacct(self, argv: tuple[str, ...]) -> str:
        number = int(next(each for each in argv if each.startswith("--jobs="))[7:])
        return f"{number}|{self.jobs[number]}|3\n" if number in self.jobs else ""

    @property
    def _controlled(self) -> bool:
        return bool(set(self.up(CONTROLLER)) & set(self.up(MUNGE)))

    @property
    def _accounted(self) -> bool:
        return bool(self.up(DATABASE)) and not self.broken

    def _systemctl(self, name: str, word: str, units: Sequence[str]) -> Ended | None:
        if word in ("start", "restart", "stop"):
            units = [each for each in units if not each.startswith("-")]
            self.log.extend(f"{word} {each} {name}" for each in units)
        if word == "start" and DATABASE in units and not self.tables:
            # The first makes the tables until it is asked; a second one meanwhile breaks them.
            self.broken = self.broken or bool(self.up(DATABASE))
        if word == "start" and CONTROLLER in units and not (self._accounted and self.mounted):
            return Ended(1, "", "slurmdbd and/or database must be up at slurmctld start time")
        return None

    def _accounts(self, argv: tuple[str, ...]) -> Ended | str:
        if not self._accounted:
            return Ended(1, "", "Unable to connect to database")
        self.tables = True
        if "show" in argv and "cluster" in argv:
            return "".join(f"{each}\n" for each in self.clusters)
        if "show" in argv:
            return "".join(f"{account}|{user}\n" for account, user in self.associations)
        what, who = argv[argv.index("add") + 1 :][:2]
        if what == "cluster":
            self.clusters.append(who)
            self.associations += [("root", ""), ("root", "root")]
        elif what == "account":
            assert self.clusters, "an account of no cluster"
            self.associations.append((who, ""))
        else:
            account = next(e for e in argv if e.startswith("account=")).split("=")[1]
            assert (account, "") in self.associations, "a user of no account"
            self.associations.append((account, who))
        return ""

    def _ping(self) -> Ended:
        running = self.up(CONTROLLER)
        lines = [
            f"Slurmctld({'primary' if at == 0 else 'backup'}) at {each} is"
            f" {'UP' if each in running else 'DOWN'}"
            for at, each in enumerate(HEADS[: {**PARAMETERS, **self.changed}["controllers"]])
        ]
        return Ended(0 if running else 1, "\n".join(lines))

    def _sinfo(self) -> Ended | str:
        if not self._controlled:
            return Ended(1, "", "Unable to contact slurm controller (connect failure)")
        nodes = []
        for each in HEADS:
            up = each in self.up(NODE)
            record: dict[str, Any] = {"name": each, "state": "idle" if up else "down"}
            record["state_flags"] = ["DRAIN"] if each in self.shut else []
            record["reason"] = self.shut.get(each, "" if up else "Not responding")
            nodes.append(record)
        return json.dumps({"nodes": nodes})

    def _srun(self, argv: tuple[str, ...]) -> Ended | str:
        if self.refused:
            self.refused -= 1
            return Ended(1, "", "srun: error: io_init_msg_unpack: unpack error")
        nodes = argv[argv.index("--nodelist") + 1].split(",")
        number = max(self.jobs, default=0) + 1
        self.jobs[number] = "COMPLETED"
        return "".join(f"{number}\n{each}\n" for each in nodes)
