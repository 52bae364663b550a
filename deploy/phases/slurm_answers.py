"""What Slurm's commands say, as values. Pure.

JSON where Slurm 22.05 has it (`squeue`, `sinfo`), else the output that is made for programs
(`--parsable2`). What cannot be read is an error that shows it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from deploy.phases.errors import PhaseError

_PING = re.compile(r"^Slurmctld\((\S+)\) at (\S+) is (UP|DOWN)\s*$", re.MULTILINE)
_MEMORY = re.compile(r"^MemTotal:\s*([0-9]{1,18}) kB$", re.MULTILINE)
_NUMBER = re.compile(r"[0-9]{1,18}")
_FAILING = frozenset({"down", "error", "fail", "failing", "future", "unknown"})
_WELL = frozenset({"idle", "mixed", "allocated", "completing"})
_NOT_YET = ("not_responding", "no_respond")
_SHUT = ("drain", "maint", "reserved")
_ENDED = frozenset(
    (
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
        *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    )
)
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the controller sees it; `state` and `flags` are its words, in small letters.

    `reason` is why it is down or drained, with who said so.
    """

    name: str
    state: str
    flags: tuple[str, ...] = ()
    reason: str = ""

    @property
    def shut(self) -> bool:
        """Whether somebody took it out of service, so that no job is to begin there."""
        return any(word in self.flags or self.state.startswith(word) for word in _SHUT)

    @property
    def answers(self) -> bool:
        """Whether its slurmd is in touch with the controller."""
        return self.state not in _FAILING and not any(each in self.flags for each in _NOT_YET)

    @property
    def idle(self) -> bool:
        """Whether a job can begin there at once."""
        return self.state == "idle" and self.answers and not self.shut

    @property
    def fault(self) -> str:
        """Why no job can run there; nothing where one can, or where somebody shut it."""
        if self.shut or (self.state in _WELL and self.answers):
            return ""
        words = " ".join((self.state, *self.flags))
        return f"{self.name} is {words}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the queue; `state` is Slurm's word, as in `RUNNING`."""

    number: int
    name: str
    state: str

    @property
    def alive(self) -> bool:
        """Whether it runs or waits, or is about to end; all that is not known to have ended."""
        return self.state not in _ENDED


@dataclass(frozen=True, slots=True)
class Machine:
    """What a host has: processors, and memory in MiB, as slurmd counts both."""

    cpus: int
    memory: int


def controllers(text: str) -> dict[str, bool]:
    """Read `scontrol ping`: whether each controller answers, by host."""
    return {host: said == "UP" for _, host, said in _PING.findall(text)}


def nodes(text: str) -> tuple[Node, ...]:
    """Read `sinfo --json`.

    Raises:
        PhaseError: it is something else.
    """
    return tuple(_node(each) for each in _records(text, "nodes", "sinfo"))


def jobs(text: str) -> tuple[Job, ...]:
    """Read `squeue --json`.

    Raises:
        PhaseError: it is something else.
    """
    found = _records(text, "jobs", "squeue")
    if not all(type(each.get("job_id")) is int for each in found):
        raise _unreadable("squeue", text)
    return tuple(
        Job(each["job_id"], str(each.get("name") or ""), _word(each, "job_state")) for each in found
    )


def rows(text: str) -> tuple[tuple[str, ...], ...]:
    """Read what `--noheader --parsable2` gives: one row per line, `|` between its columns."""
    return tuple(tuple(line.split("|")) for line in text.splitlines() if line.strip())


def settings(text: str) -> dict[str, str]:
    """Read lines `Key=value` of slurm.conf; of a key that is there twice, the first."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            found.setdefault(key.strip(), value.strip())
    return found


def machine(processors: str, memory: str) -> Machine:
    """Read `nproc --all` and /proc/meminfo.

    Raises:
        PhaseError: they are something else.
    """
    found = _MEMORY.search(memory)
    if not _NUMBER.fullmatch(processors.strip()) or found is None:
        raise _unreadable("nproc and /proc/meminfo", f"{processors} {memory}")
    return Machine(int(processors), int(found[1]) // 1024)


def numbers(text: str) -> frozenset[int]:
    """Return those words of a text that are numbers."""
    return frozenset(int(each) for each in text.split() if _NUMBER.fullmatch(each))


def _records(text: str, key: str, command: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        raise _unreadable(command, text) from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _unreadable(command, text)
    return found


def _node(record: dict[str, Any]) -> Node:
    flags = record.get("state_flags") or []
    return Node(
        str(record.get("name") or ""),
        _word(record, "state").lower(),
        tuple(str(each).lower() for each in flags),
        str(record.get("reason") or ""),
    )


def _word(record: dict[str, Any], key: str) -> str:
    """Return a word that newer versions put into a list with others."""
    value = record.get(key)
    return str(value[0] if isinstance(value, list) and value else value or "")


def _unreadable(command: str, text: str) -> PhaseError:
    return PhaseError(
        f"what {command} says cannot be read",
        expected="the words of Slurm 22.05",
        got=repr(text[:_SHOWN]),
    )
