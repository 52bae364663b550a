"""Errors, events and changes as they travel between a head and the operator: JSON records.

Each pair of functions is inverse as far as a record can say it; an error that was told is raised
again with its slug, its facts and its exit code. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from deploy.events import Event, What
from deploy.services import Changes
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMAND = re.compile(
    r"sealift (?:deploy|rollback|status|start|stop|restart|logs|history|diff|gc|store verify)\b"
    r"(?:(?! or )[^,;:])*"
)
"""A command that is typed elsewhere with the head's name."""
FACTS = ("where", "expected", "got", "hint", "service", "request")
LAST_CODE = 127
"""The last exit code that says something of its own."""
BUG = "bug"
"""The slug of what is no `Error`: its traceback stays on the machine where it happened."""


class ToldError(Error):
    """An error that another machine told, with its own slug and exit code.

    Attributes:
        service: the service that failed, where one did.
        request: the probe that failed, where one did.
        log: the last lines of that service.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        facts = {name: _text(record.get(name)) for name in FACTS}
        service, request = facts.pop("service"), facts.pop("request")
        super().__init__(_text(record.get("reason")) or "it did not say why", **facts)
        self.service = service
        self.request = request
        log = record.get("log")
        self.log = tuple(map(str, log)) if isinstance(log, list | tuple) else ()


def error_json(error: BaseException) -> dict[str, Any]:
    """Return what `error_from_json` reads; what is no `Error` is told as a bug."""
    if not isinstance(error, Error):
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        error = ToldError({"reason": reason})
        return _record(error, BUG)
    return _record(error, error.slug)


def error_from_json(record: Mapping[str, Any]) -> ToldError:
    """Make the error that a record tells of; what is not in it is not known."""
    slug, code = record.get("slug"), record.get("exit_code")
    facts = {
        "slug": slug if isinstance(slug, str) and slug else Error.slug,
        "exit_code": code if type(code) is int and 0 < code <= LAST_CODE else Error.exit_code,
    }
    # Slug and exit code are a class's: one per family everywhere else.
    told: type[ToldError] = type("ToldError", (ToldError,), {**facts, "__doc__": ToldError.__doc__})
    return told(record)


def of_head(head: str, record: Mapping[str, Any]) -> ToldError:
    """Make the error that a head told of, as it is read elsewhere: with the head's name.

    A head speaks of itself without a name, and its hints are meant to be typed there. What collects
    a store is a command of whoever builds; on a head it is `gc`.
    """
    error = error_from_json(record)
    if head not in f"{error.reason} {error.where or ''}":
        error.where = head if error.where is None else f"{head}: {error.where}"
    if error.hint is not None and "--host" not in error.hint:
        hint = error.hint.replace("sealift store gc", "sealift gc")
        error.hint = _COMMAND.sub(lambda found: f"{found[0].rstrip()} --host {head}", hint)
    return error


def event_json(event: Event) -> dict[str, str]:
    """Return what `event_from_json` reads."""
    return {"what": event.what.value, "name": event.name, "detail": event.detail}


def event_from_json(record: Mapping[str, Any]) -> Event | None:
    """Make the event that a record tells of; None if this version knows no such kind."""
    try:
        what = What(record.get("what"))
    except ValueError:
        return None
    return Event(what, _text(record.get("name")) or "", _text(record.get("detail")) or "")


def changes_json(changes: Changes) -> dict[str, list[str]]:
    """Return what `changes_from_json` reads."""
    return {
        "started": list(changes.started),
        "restarted": list(changes.restarted),
        "stopped": list(changes.stopped),
        "reloaded": list(changes.reloaded),
    }


def changes_from_json(record: Mapping[str, Any]) -> Changes:
    """Make the changes that a record tells of."""
    return Changes(
        **{
            name: tuple(str(each) for each in record.get(name) or ())
            for name in ("started", "restarted", "stopped", "reloaded")
        }
    )


def _record(error: Error, slug: str) -> dict[str, Any]:
    facts = {name: _text(getattr(error, name, None)) for name in FACTS}
    return {
        "slug": slug,
        "reason": error.reason,
        **facts,
        "exit_code": error.exit_code,
        "log": [str(line) for line in getattr(error, "log", ())],
    }


def _text(fact: object) -> str | None:
    return None if fact is None else str(fact)
