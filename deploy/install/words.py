"""What an operator says to a head's end of the phases, as strict values; and what it says back.

One JSON object a line each way. The operator says `{"do": WORD, "id": N, …}`; the head answers each
in order: `{"say": "answer", "id": N, "result": …}`, or `{"say": "failed", "id": N, "error": …}`
(`deploy.report.error_json`). Meanwhile it may say `{"say": "event", "phase": …, "text": …}`.

| word | with | result |
|---|---|---|
| `open`, which comes first | `by`, `deadline`, `wait`, `paths`, `secrets`, `look` | `{}` |
| `check` | `phases` | phase → `State.to_json()` |
| `units` | `names` | `units_json` |
| `lay` | `phase`, `ahead` | `{"installed": [names], "apt": seconds}` |
| `run` | `argv`, `input`, `timeout`, `secrets` | `{"status", "stdout", "stderr"}` |
| `enable`, `verified` | `phase` | `{}` |
| `laid` | `phase` | `{"path", "text"}` of the `phase.json` that is laid; `{}` if none is |
| `unlay` | `phase` | `{"kept": [what lies aside still]}` |
| `put` | `path`, `data`, `owner`, `group`, `mode`, `secrets`, `replace` | `{"written": true}` |
| `alive` | | nothing, and it needs no `id` |

Secrets come sealed, in text, by name. `mode` is text in octal digits.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deploy.errors import BadMessageError
from deploy.phases.configuration import ACCOUNT, PHASE, SECRET, UNIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPEN, CHECK, UNITS, LAID, LAY, RUN, ENABLE, VERIFIED, UNLAY, PUT = (
    "open",
    "check",
    "units",
    "laid",
    "lay",
    "run",
    "enable",
    "verified",
    "unlay",
    "put",
)
LEAST, MOST = 1.0, 3600.0
"""Seconds: what a deadline may be."""
LONGEST = 172_800.0
"""Seconds that a command may take: MariaDB copies all its data when it joins."""
Made = TypeVar("Made")
MODE = re.compile(r"0?[0-7]{3,4}")


@dataclass(frozen=True, slots=True)
class Open:
    """Who is at work, and with what: the first order, which takes the head's lock.

    An operator who is silent for `deadline` seconds is gone. `wait` is how long another session of
    phases may take to end. `paths` are configurations by phase, `secrets` are sealed. Who comes
    only to `look` takes no lock, and is refused what changes a head; commands are their own affair.
    """

    by: str
    deadline: float
    wait: float
    paths: Mapping[str, Path]
    secrets: Mapping[str, bytes]
    look: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """Look at phases."""

    phases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Units:
    """Look at units."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Laid:
    """Tell which configuration of a phase is laid."""

    phase: str


@dataclass(frozen=True, slots=True)
class Lay:
    """Lay a phase, and bring packages and users of those `ahead` along."""

    phase: str
    ahead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command; markers of the named secrets are filled in in `input`."""

    argv: tuple[str, ...]
    input: str
    timeout: float
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Enable:
    """Let the units of a phase start at boot that are to."""

    phase: str


@dataclass(frozen=True, slots=True)
class Verified:
    """Write down that a phase works."""

    phase: str


@dataclass(frozen=True, slots=True)
class Unlay:
    """Take back what laying a phase brought."""

    phase: str


@dataclass(frozen=True, slots=True)
class Put:
    """Write a file that its daemon writes on; over one that is there only to `replace` it."""

    path: Path
    data: str
    owner: str
    group: str
    mode: int
    secrets: tuple[str, ...]
    replace: bool


Order = Check | Units | Laid | Lay | Run | Enable | Verified | Unlay | Put


def opening(record: Mapping[str, Any]) -> Open:
    """Make the first order of a record.

    Raises:
        BadMessageError: it is none.
    """
    facts = _Facts(record)
    if facts.text("do") != OPEN:
        raise BadMessageError("the first word is `open`", got=repr(record.get("do"))[:80])
    paths = {name: _absolute(each, "paths") for name, each in facts.map("paths").items()}
    for name in paths:
        _fit(PHASE, name, "paths")
    secrets = {_fit(SECRET, name, "secrets"): each for name, each in facts.map("secrets").items()}
    return facts.done(
        Open(
            by=facts.text("by"),
            deadline=facts.seconds("deadline", LEAST),
            wait=facts.seconds("wait", 0.0),
            paths=paths,
            secrets={name: each.encode() for name, each in secrets.items()},
            look=facts.flag("look"),
        )
    )


def order(record: Mapping[str, Any]) -> Order:
    """Make the order that a record tells of.

    Raises:
        BadMessageError: it is none.
    """
    facts = _Facts(record)
    word = facts.text("do")
    if word not in _WORDS:
        hint = "the two sides are different versions of sealift: push the agent again"
        raise BadMessageError("this word is not known here", got=repr(word)[:80], hint=hint)
    return facts.done(_WORDS[word](facts))


class _Facts:
    """The keys of one record that have not been taken yet."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._rest = dict(record)
        self._rest.pop("id", None)

    def done(self, made: Made) -> Made:
        if self._rest:
            got = ", ".join(sorted(map(str, self._rest)))
            raise BadMessageError("unknown keys", got=got)
        return made

    def text(self, key: str, default: str | None = None) -> str:
        value = self._rest.pop(key, default)
        if not isinstance(value, str):
            raise _refusal(key, "a text", value)
        return value

    def name(self, key: str, pattern: re.Pattern[str], default: str | None = None) -> str:
        return _fit(pattern, self.text(key, default), key)

    def texts(self, key: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        value = self._rest.pop(key, ())
        if not isinstance(value, list | tuple) or not all(isinstance(e, str) for e in value):
            raise _refusal(key, "a list of texts", value)
        return tuple(each if pattern is None else _fit(pattern, each, key) for each in value)

    def map(self, key: str) -> dict[str, str]:
        value = self._rest.pop(key, {})
        if not isinstance(value, dict) or not all(isinstance(e, str) for e in value.values()):
            raise _refusal(key, "an object of texts", value)
        return dict(value)

    def seconds(
        self, key: str, least: float, default: float | None = None, most: float = MOST
    ) -> float:
        value = self._rest.pop(key, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not least <= value <= most:
            raise _refusal(key, f"seconds from {least:g} to {most:g}", value)
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._rest.pop(key, False)
        if not isinstance(value, bool):
            raise _refusal(key, "true or false", value)
        return value


def _run(facts: _Facts) -> Run:
    argv = facts.texts("argv")
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise _refusal("argv", "the words of a command", argv)
    given, limit = facts.text("input", ""), facts.seconds("timeout", 0.0, 60.0, LONGEST)
    return Run(argv, given, limit, facts.texts("secrets", SECRET))


def _put(facts: _Facts) -> Put:
    path, mode = _absolute(facts.text("path"), "path"), facts.name("mode", MODE, "0644")
    return Put(
        path=path,
        data=facts.text("data"),
        owner=facts.name("owner", ACCOUNT, "root"),
        group=facts.name("group", ACCOUNT, "root"),
        mode=int(mode, 8),
        secrets=facts.texts("secrets", SECRET),
        replace=facts.flag("replace"),
    )


_WORDS: Mapping[str, Callable[[_Facts], Order]] = {
    CHECK: lambda facts: Check(facts.texts("phases", PHASE)),
    UNITS: lambda facts: Units(facts.texts("names", UNIT)),
    LAID: lambda facts: Laid(facts.name("phase", PHASE)),
    LAY: lambda facts: Lay(facts.name("phase", PHASE), facts.texts("ahead", PHASE)),
    RUN: _run,
    ENABLE: lambda facts: Enable(facts.name("phase", PHASE)),
    VERIFIED: lambda facts: Verified(facts.name("phase", PHASE)),
    UNLAY: lambda facts: Unlay(facts.name("phase", PHASE)),
    PUT: _put,
}


def _absolute(text: str, key: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts or not text.isprintable():
        raise _refusal(key, "an absolute path without detours", text)
    return path


def _fit(pattern: re.Pattern[str], text: str, key: str) -> str:
    if not pattern.fullmatch(text):
        raise _refusal(key, "a name that can be used", text)
    return text


def _refusal(key: str, wanted: str, got: object) -> BadMessageError:
    return BadMessageError(f"{key} is not {wanted}", where=key, got=repr(got)[:80])
