from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from deploy import remote as remote_module
from deploy.errors import HeadLockedError
from deploy.host import Host
from deploy.phases import muster
from deploy.phases.muster import mustered
from deploy.place import Place
from deploy.remote import RemoteHead
from deploy.report import error_json
from deploy.ssh_errors import UnreachableError
from deploy.stopping import Stopping
from deploy.team import TeamError
from store.send import Sent
from tests.deploy.agents import RELEASE, STORE, FakeHead, FakeLink
from tests.deploy.phases.grounds import HEADS, scene
from tests.deploy.phases.talking import Agent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.phases.wish import Wish
    from store.local import LocalStore

TOP = ("agent", "configuration")


@dataclass
class Site:
    """Heads that hold a lock from `open` on; what was pushed and opened, in order."""

    down: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    facts: dict[str, str] = field(default_factory=dict)
    pushed: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    first: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def heads(self) -> list[RemoteHead]:
        fakes = [FakeHead(n, up=n not in self.down, facts=self.facts) for n in HEADS]
        return [
            RemoteHead(Host(each.name), lambda _, each=each: self._dial(each), Place(STORE))  # type: ignore[misc]
            for each in fakes
        ]

    def _dial(self, head: FakeHead) -> Link:
        if not head.up:
            raise UnreachableError("it does not answer", where=head.name)
        return Link(head, site=self)

    def answer(self, name: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if asked["do"] == "open":
            with self.guard:
                self.opened.append(name)
                self.first[name] = asked
            if name in self.locked:
                error = HeadLockedError("ann is at it")
                return {"say": "failed", "id": asked["id"], "error": error_json(error)}
        return {"say": "answer", "id": asked["id"], "result": {}}


@dataclass
class Link(FakeLink):
    site: Site = field(default_factory=Site)

    def channel(self, argv: Sequence[str], *, root: bool = True) -> Any:
        del root
        assert list(argv)[1:] == ["agent", "phases"]
        return Closing(self.head.name, self.site)


class Closing(Agent):
    def __init__(self, name: str, site: Site) -> None:
        super().__init__(lambda asked: site.answer(name, asked))
        self._name, self._site = name, site

    def close(self) -> None:
        self._site.closed.append(self._name)
        super().close()


@pytest.fixture(name="site")
def _site(monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site()

    def push(head: RemoteHead, *_: object) -> Sent:
        with site.guard:
            site.pushed.append(head.name)
        return Sent((), 0, 0, 0, 0, 0.0)

    monkeypatch.setattr(remote_module.RemoteHead, "push", push)
    monkeypatch.setattr(muster, "_tops", lambda *_: TOP)
    return site


def wish(**facts: Any) -> Wish:
    found = scene("storage").wish()
    release = replace(RELEASE, phases=found.release.phases)
    return replace(found, release=release, store=cast("LocalStore", None), **facts)


def silent(*_: str) -> None:
    """Tell nobody."""


def test_all_heads_are_pushed_to_and_then_opened_the_first_by_name_before_others(
    site: Site,
) -> None:
    with mustered(list(reversed(site.heads())), wish(), Stopping(), silent) as company:
        assert set(company.members) == set(HEADS)
        assert company.members["head2"].address == "10.0.0.2"
        assert site.opened[0] == "head1"
    assert set(site.pushed) == set(HEADS)
    assert set(site.closed) == set(HEADS)


def test_a_session_is_opened_with_what_is_wanted_of_the_head(site: Site) -> None:
    secrets = {"head1": {"KEY": b"sealed"}}
    with mustered(site.heads(), wish(secrets=secrets, look=True), Stopping(), silent):
        pass
    first = site.first["head1"]
    assert first["secrets"] == {"KEY": "sealed"}
    assert first["look"] is True
    assert first["paths"]["storage"].endswith("phase-storage-head1")
    assert site.first["head2"]["secrets"] == {}


def test_heads_that_go_by_what_is_laid_are_told_of_nothing_else(site: Site) -> None:
    with mustered(site.heads(), wish(laid=True), Stopping(), silent):
        pass
    assert [site.first[head]["paths"] for head in HEADS] == [{}, {}, {}]


def test_a_head_that_is_locked_lets_all_go(site: Site) -> None:
    site.locked.add("head1")
    with (
        pytest.raises(TeamError) as caught,
        mustered(site.heads(), wish(), Stopping(), silent),
    ):
        pass
    assert [getattr(each, "slug", "") for each in caught.value.failures.values()] == ["head-locked"]
    assert site.opened == ["head1"]
    assert set(site.closed) == set(HEADS)


def test_a_head_that_does_not_answer_is_missed_only_if_that_is_allowed(site: Site) -> None:
    site.down.add("head3")
    with pytest.raises(TeamError), mustered(site.heads(), wish(), Stopping(), silent):
        pass
    assert not site.pushed
    with mustered(site.heads(), wish(allow_missing=True), Stopping(), silent) as company:
        assert [each.head for each in company.absent] == ["head3"]
        assert set(company.members) == {"head1", "head2"}


def test_a_clock_that_is_off_is_told_before_anything_is_pushed(site: Site) -> None:
    site.facts["clock"] = "1000.0"
    with mustered(site.heads(), wish(), Stopping(), silent) as company:
        refused = {row.question for rows in company.rows.values() for row in rows if row.refusal}
        assert refused == {"clock"}
        assert not company.members
    assert not site.pushed
    assert not site.opened


def test_heads_that_are_one_machine_are_refused(site: Site) -> None:
    site.facts["identity"] = "a b"
    with mustered(site.heads(), wish(), Stopping(), silent) as company:
        assert not company.members
    assert not site.pushed
