"""What must hold of every head, whatever was done to it: exactly one generation, all of it.

`look` asks a head from outside and from inside; `settle` waits until nothing is unfinished on it,
and no longer than a head that was left alone may take.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.platform import agent, ask, record

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.lab.head import LabHead
    from tests.lab.platform import Site

SETTLING = 60.0
"""Seconds in which a head that nobody helps is whole again: its deadline, and a boot."""
_VERSION = re.compile(rb'data-version="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Versions:
    """What a release of the small platform consists of, as users see it."""

    alpha: str
    beta: str
    pages: str


@dataclass(frozen=True, slots=True)
class Made:
    """A release that was built: its store path, and what must be seen where it runs."""

    path: str
    versions: Versions


class NotWholeError(AssertionError):
    """A head that is neither what it was nor what it was to be."""


def inside(site: Site, head: LabHead, *words: str) -> Any:
    """Ask the head's own sealift, which needs nothing else; JSON.

    Raises:
        NotWholeError: it has none, or that tells nothing.
    """
    done = head.run(agent(site), *words, "--json", check=False)
    try:
        return json.loads(done.stdout.splitlines()[0])
    except (ValueError, IndexError):
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise NotWholeError(f"{head.name}: sealift {words[0]} tells nothing: {said}") from None


def current(site: Site, head: LabHead) -> str | None:
    """Return the store path of the release that is current, or None if there is none."""
    rows = inside(site, head, "history")["generations"]
    return next((str(row["path"]) for row in rows if row["current"]), None)


def seen(head: LabHead) -> Versions:
    """Ask each part of the platform, through the web server, which version it is."""
    status, page = ask(head, "/")
    found = _VERSION.search(page)
    if status != 200 or found is None:
        raise NotWholeError(f"{head.name}: / answers {status}: {page[:200]!r}")
    alpha, beta = (str(record(head, f"/{name}/health")["version"]) for name in ("alpha", "beta"))
    return Versions(alpha, beta, found[1].decode())


def settle(site: Site, head: LabHead, timeout: float = SETTLING) -> dict[str, Any]:
    """Wait until nothing is unfinished on a head and all runs well; return its status.

    Raises:
        NotWholeError: it does not come to rest in time.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            found = dict(inside(site, head, "status"))
        except NotWholeError as fault:
            found = {"fault": str(fault)}
        if found.get("healthy") and not found.get("changing") and not found.get("interrupted"):
            return found
        if time.monotonic() > end:
            raise NotWholeError(f"{head.name} does not come to rest: {json.dumps(found)}")
        time.sleep(0.2)


def look(
    site: Site, head: LabHead, allowed: Collection[Made], *, timeout: float = SETTLING
) -> Made:
    """Check that a head at rest runs one of the allowed releases, and nothing of another.

    Raises:
        NotWholeError: it does not; says what it runs instead.
    """
    found = settle(site, head, timeout)
    path = current(site, head)
    named = [each for each in allowed if each.path == path]
    if not named:
        raise NotWholeError(f"{head.name} has {path}, none of {[each.path for each in allowed]}")
    running = seen(head)
    if running != named[0].versions:
        raise NotWholeError(f"{head.name} has {path} and runs {running}: {json.dumps(found)}")
    verify(site, head)
    return named[0]


def verify(site: Site, head: LabHead) -> None:
    """Check every file of the head's store.

    Raises:
        NotWholeError: something is not as it says.
    """
    done = head.run(agent(site), "store", "verify", check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise NotWholeError(f"{head.name}: the store is not clean: {said}")
