"""What an operator orders of a head: one change, and what comes with it. Values.

`Order.from_json` is strict: what it lets through can be done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import BadMessageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPLOY, ROLLBACK = "deploy", "rollback"
STATE = Path("/var/lib/sealift")
"""Where the state of services lies where nothing else is said."""
KEEP = 5
"""Generations that `sealift gc` leaves on a head where nothing else is said."""
LEAST, MOST = 1.0, 3600.0
"""Seconds: what a deadline may be."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62})")


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """What the site's inventory says of a head, kept on the head itself.

    `services` are those that it runs, the web server's name among them; None means all. `url` is
    where browsers find it, `keep` how many generations `sealift gc` leaves. `state_dir` is the
    site's, which releases are built for.
    """

    name: str
    services: tuple[str, ...] | None = None
    url: str = ""
    keep: int = KEEP
    state_dir: Path = STATE

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        services = None if self.services is None else list(self.services)
        return {
            "name": self.name,
            "services": services,
            "url": self.url,
            "keep": self.keep,
            "state_dir": str(self.state_dir),
        }

    @classmethod
    def from_json(cls, record: object) -> HeadSettings:
        """Make settings of what `to_json` wrote.

        Raises:
            BadMessageError: they are none.
        """
        facts = _object(record, "head", {"name", "services", "url", "keep", "state_dir"})
        name, services = facts.get("name"), facts.get("services")
        keep, url = facts.get("keep", KEEP), facts.get("url", "")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _refusal("head: name", "a host's name", name)
        if services is not None and not _are_texts(services):
            raise _refusal("head: services", "a list of names, or null", services)
        if not isinstance(url, str) or not url.isprintable():
            raise _refusal("head: url", "a text", url)
        if type(keep) is not int or keep < 1:
            raise _refusal("head: keep", "a number from 1 on", keep)
        chosen = None if services is None else tuple(services)
        state = _absolute("head: state_dir", facts.get("state_dir", str(STATE)))
        return cls(name, chosen, url, keep, state)


@dataclass(frozen=True, slots=True)
class Order:
    """One change: a release to deploy, or a generation to go back to (None: the one before).

    `deadline` is in seconds. `head` and `secrets` (sealed, by name) are kept as they are on the
    head where the operator sends none.
    """

    action: str
    by: str
    deadline: float
    release: Path | None = None
    to: int | None = None
    head: HeadSettings | None = None
    secrets: Mapping[str, bytes] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record by which an operator says `prepare`."""
        secrets = self.secrets
        return {
            "do": "prepare",
            "action": self.action,
            "by": self.by,
            "deadline": self.deadline,
            "release": None if self.release is None else str(self.release),
            "to": self.to,
            "head": None if self.head is None else self.head.to_json(),
            "secrets": None if secrets is None else {n: v.decode() for n, v in secrets.items()},
        }

    @classmethod
    def from_json(cls, record: object) -> Order:
        """Make an order of what `to_json` wrote.

        Raises:
            BadMessageError: it is none.
        """
        facts = _object(
            record,
            "prepare",
            {"do", "action", "by", "deadline", "release", "to", "head", "secrets"},
        )
        if facts.get("do") != "prepare":
            raise _refusal("do", "prepare, which comes first", facts.get("do"))
        head = facts.get("head")
        return cls(
            _action(facts),
            _by(facts.get("by")),
            _deadline(facts.get("deadline")),
            _release(facts),
            _to(facts.get("to")),
            None if head is None else HeadSettings.from_json(head),
            _secrets(facts.get("secrets")),
        )


def _action(facts: Mapping[str, Any]) -> str:
    action = facts.get("action")
    if action not in (DEPLOY, ROLLBACK):
        raise _refusal("action", f"{DEPLOY} or {ROLLBACK}", action)
    return str(action)


def _by(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _refusal("by", "who orders it", value)
    return value


def _deadline(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not LEAST <= float(str(value)) <= MOST:
        raise _refusal("deadline", f"seconds from {LEAST:g} to {MOST:g}", value)
    return float(str(value))


def _release(facts: Mapping[str, Any]) -> Path | None:
    text = facts.get("release")
    if facts.get("action") == ROLLBACK:
        if text is not None:
            raise _refusal("release", "nothing, when it is to go back", text)
        return None
    return _absolute("release", text)


def _absolute(where: str, text: object) -> Path:
    if not isinstance(text, str) or not text.startswith("/") or not text.isprintable():
        raise _refusal(where, "an absolute path", text)
    if ".." in Path(text).parts:
        raise _refusal(where, "a path without detours", text)
    return Path(text)


def _to(value: object) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise _refusal("to", "the number of a generation, or null", value)
    return value


def _secrets(value: object) -> dict[str, bytes] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not _are_texts(list(value.values())):
        raise BadMessageError("sealed secrets are wanted here", where="secrets")
    return {str(name): text.encode() for name, text in value.items()}


def _object(value: object, where: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refusal(where, "an object", value)
    unknown = sorted(str(key) for key in value.keys() - known)
    if unknown:
        hint = "the two sides are different versions of sealift: deploy again"
        raise BadMessageError("unknown keys", where=where, got=", ".join(unknown), hint=hint)
    return value


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


def _refusal(where: str, wanted: str, got: object) -> BadMessageError:
    return BadMessageError(f"{where} is not {wanted}", where=where, got=repr(got)[:80])
