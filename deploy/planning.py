"""What a rollout is going to do on each head, as values: to be shown, and to be agreed to. Pure.

What restarts is worked out from the two releases. Secrets that were rotated are known on the head
alone; it tells of them when it has prepared.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from deploy.preflight import refusals
from deploy.release import WEB_SERVER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from deploy.preflight import Refusal, Row
    from deploy.profile import Generation
    from deploy.release import Release, Service, Systemd, Unit

PHASES = ("check", "push", "prepare", "try", "spread", "confirm")
"""What a deploy consists of; a rollback has nothing to push."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to one service, and why."""

    action: str
    """`start`, `restart`, `stop`, `reload` or, of pages, `show`."""
    service: str
    why: str


@dataclass(frozen=True, slots=True)
class Load:
    """What has to be sent to a head at most: files that it has already are not sent again.

    Sizes in bytes, unpacked and before compression.
    """

    paths: int
    size: int
    files: int
    bootstrap: bool = False
    """Whether the head has no agent yet, so that it comes first."""


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """What one head has ahead of it."""

    head: str
    generation: int | None
    running: str | None
    """The release that is current."""
    load: Load
    steps: tuple[Step, ...]
    rows: tuple[Row, ...]
    target: Generation | None = None
    """Of a rollback: what the head goes back to."""

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Why the head cannot take the release."""
        return refusals(self.rows)


@dataclass(frozen=True, slots=True)
class Absent:
    """A head that could not be reached, and why."""

    head: str
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout is going to do; `release` is a store path, or None for a rollback."""

    action: str
    release: str | None
    heads: tuple[HeadPlan, ...]
    absent: tuple[Absent, ...]
    canary: str | None
    batches: tuple[tuple[str, ...], ...]
    deadline: float
    """Seconds after which a head that nobody confirms goes back by itself."""

    @property
    def refused(self) -> tuple[HeadPlan, ...]:
        """The heads that cannot take the release."""
        return tuple(each for each in self.heads if each.refusals)

    @property
    def skewed(self) -> bool:
        """Whether the heads run different releases now."""
        return len({each.running for each in self.heads}) > 1


def steps(
    old: Release | None, new: Release, only: Collection[str] | None = None
) -> tuple[Step, ...]:
    """Return what a head does to get from one release to another; `only` are its services."""
    return tuple(
        each
        for each in (*_services(old, new), *_web(old, new))
        if only is None or each.service in only or each.action == "show"
    )


def rotated(
    done: Collection[Step], secrets: Mapping[str, Collection[str]], fresh: Collection[str]
) -> tuple[Step, ...]:
    """Return what is done besides because secrets come anew: `fresh`, by their names.

    `secrets` are those that services use. Whether a value is another one only the head can tell.
    """
    known = {each.service for each in done}
    found = {name: sorted(set(names) & set(fresh)) for name, names in sorted(secrets.items())}
    return tuple(
        Step(
            "reload" if name == WEB_SERVER else "restart",
            name,
            f"if it is another value: {', '.join(names)} was sealed anew",
        )
        for name, names in found.items()
        if names and name not in known
    )


def batches(heads: Sequence[str], canary: str | None, size: int) -> tuple[tuple[str, ...], ...]:
    """Return the heads that switch together, the canary first and alone."""
    first = canary if canary is not None else next(iter(heads), None)
    rest = [each for each in heads if each != first]
    groups = [tuple(rest[start : start + size]) for start in range(0, len(rest), size)]
    return ((first,), *groups) if first is not None else ()


def _services(old: Release | None, new: Release) -> Iterator[Step]:
    before = old.services if old is not None else {}
    for name, service in sorted(new.services.items()):
        if name not in before:
            yield Step("start", name, "it is new")
        elif _differ(before[name], service):
            yield Step("restart", name, _difference(before[name], service))
    for name in sorted(before.keys() - new.services.keys()):
        yield Step("stop", name, "the release has it no more")


def _web(old: Release | None, new: Release) -> Iterator[Step]:
    server = old.web if old is not None else None
    if new.web is not None and server is None:
        yield Step("start", WEB_SERVER, "it is new")
    elif new.web is None and server is not None:
        yield Step("stop", WEB_SERVER, "the release has it no more")
    elif new.web != server:
        yield Step("restart", WEB_SERVER, "its program changed")
    elif old is not None and _told(old.systemd) != _told(new.systemd):
        yield Step("restart", WEB_SERVER, "its unit changed")
    elif old is not None and _locations(old) != _locations(new):
        yield Step("reload", WEB_SERVER, "its locations changed")
    before = old.frontends if old is not None else {}
    for name, frontend in sorted(new.frontends.items()):
        if before.get(name) != frontend:
            yield Step("show", name, "its pages changed" if name in before else "it is new")


def _locations(release: Release) -> dict[str, object]:
    """Return what the web server's configuration is made of."""
    pages = {name: each.routes for name, each in release.frontends.items()}
    return {**pages, **{each.name: (each.port, each.routes) for each in release.services.values()}}


def _differ(old: Service, new: Service) -> bool:
    """Tell whether a head begins a service anew: if its unit, its socket or its program is another.

    Earlier releases do not tell all of it; then whatever differs may.
    """
    if old.unit is None or new.unit is None or not (old.unit.instance or new.unit.instance):
        return old != new
    return _told(old.unit) != _told(new.unit)


def _told(said: Unit | Systemd | None) -> tuple[str, str]:
    return ("", "") if said is None else (said.instance, said.listens)


def _difference(old: Service, new: Service) -> str:
    if old.path != new.path:
        return "its program changed"
    differ = [f.name for f in fields(new) if getattr(old, f.name) != getattr(new, f.name)]
    if differ in ([], ["unit"]):
        return "its unit changed"
    return f"its settings changed: {', '.join(each for each in differ if each != 'unit')}"
