"""A rollout over several heads: all switch or none, and what is reported is what they run."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy import amounts
from deploy import remote as remote_module
from deploy.errors import (
    FleetError,
    FleetPartialError,
    FleetRefusedError,
    FleetRevertedError,
)
from deploy.phases.errors import PhasesPartialError
from deploy.planning import Load, Plan
from deploy.rolling import Outcome, Rolling
from deploy.survey import Wish
from sealift import plan_view
from store.local import LocalStore
from store.path import StorePath
from store.send import Sent
from tests.deploy.agents import NEW, OLD, RELEASE, FakeHead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deploy.events import Event
    from deploy.remote import RemoteHead


class Quiet:
    """An operator who looks on, and agrees."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.events: list[tuple[str, str]] = []
        self.names: list[tuple[str, str]] = []
        self.at: dict[str, Callable[[], None]] = {}

    def tell(self, head: str, event: Event) -> None:
        self.events.append((head, event.what.value))
        self.names.append((event.what.value, event.name))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path / "store") as found:
        yield found


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost heads are asked at once, and nothing is pushed: the store is not what is tested."""
    monkeypatch.setattr(remote_module, "SETTLE_MARGIN", 0.3)
    monkeypatch.setattr(remote_module, "POLL", 0.05)
    monkeypatch.setattr(remote_module.RemoteHead, "lacks", lambda *_: _NOTHING)
    monkeypatch.setattr(remote_module.RemoteHead, "push", lambda *_: _SENT)


_NOTHING = Load(0, 0, 0)
_SENT = Sent((), 0, 0, 0, 0, 0.0)


def roll(
    heads: Sequence[FakeHead], store: LocalStore, operator: Quiet | None = None, **wish: object
) -> Outcome:
    looks = operator or Quiet()
    wanted = replace(Wish(store, "bob@transfer", RELEASE, deadline=2.0), **wish)  # type: ignore[arg-type]
    return Rolling(
        [head.remote() for head in heads], wanted, looks.plans.append, lambda: True, looks.tell
    ).run()


def three(**first: object) -> list[FakeHead]:
    return [FakeHead("head1", **first), FakeHead("head2"), FakeHead("head3")]  # type: ignore[arg-type]


def run_of(heads: Sequence[FakeHead]) -> list[str | None]:
    """Return what the heads run, when all have let go of their locks."""
    for head in heads:
        assert head.lock.acquire(timeout=5), head.name
        head.lock.release()
    return [head.running for head in heads]


def test_all_switch_and_are_confirmed(store: LocalStore) -> None:
    heads = three()
    outcome = roll(heads, store)
    assert run_of(heads) == [NEW] * 3
    assert set(outcome.healthy) == {"head1", "head2", "head3"}
    assert all(each.changes.restarted == ("api",) for each in outcome.healthy.values())


def test_the_canary_is_healthy_before_another_switches(store: LocalStore) -> None:
    heads = three(slow=0.2)
    roll(heads, store)
    assert heads[0].switched + 0.2 <= min(heads[1].switched, heads[2].switched)


def test_batches_follow_each_other(store: LocalStore) -> None:
    heads = three()
    heads[1].slow = 0.2
    looks = Quiet()
    roll(heads, store, looks, batch=1, canary="head3")
    assert heads[2].switched < heads[0].switched < heads[1].switched
    assert looks.plans[0].batches == (("head3",), ("head1",), ("head2",))


@pytest.mark.parametrize("sick", [0, 1, 2])
def test_a_head_that_cannot_prepare_keeps_all_from_switching(store: LocalStore, sick: int) -> None:
    heads = three()
    heads[sick].fails = "prepare"
    with pytest.raises(FleetRefusedError, match="nginx refuses it") as caught:
        roll(heads, store)
    assert run_of(heads) == [OLD] * 3
    assert not any("switch" in head.words for head in heads)
    # Those that prepared are told, or their logs would say that the link was cut.
    for number in {0, 1, 2} - {sick}:
        words = [word for word in heads[number].words if word != "alive"]
        assert words in (["prepare", "back"], ["EOF"], []), words
    assert any(head.words[-1:] == ["back"] for head in heads)
    assert caught.value.exit_code == 6
    assert caught.value.slug == "unhealthy"
    assert "head[1-3]: not touched, runs generation 1" in caught.value.lines


@pytest.mark.parametrize("sick", [0, 1, 2])
def test_one_sick_head_takes_all_back(store: LocalStore, sick: int) -> None:
    heads = three()
    heads[sick].fails = "switch"
    with pytest.raises(FleetRevertedError, match="api is not healthy") as caught:
        roll(heads, store)
    assert run_of(heads) == [OLD] * 3
    assert caught.value.exit_code == 5


def test_a_sick_canary_touches_no_other_head(store: LocalStore) -> None:
    heads = three(fails="switch")
    with pytest.raises(FleetRevertedError):
        roll(heads, store)
    assert not any("switch" in head.words for head in heads[1:])


def test_only_what_was_touched_is_said_to_go_back(store: LocalStore) -> None:
    heads, looks = three(), Quiet()
    heads[1].fails = "switch"
    with pytest.raises(FleetRevertedError):
        roll(heads, store, looks, batch=1)
    assert [name for what, name in looks.names if what == "reverting"] == ["head1"]


def test_a_push_says_what_its_amounts_are() -> None:
    some = Sent((StorePath("a" * 32, "x"),), 3, 543_700_000, 193_400_000, 0, 2.0)
    told = "1 paths, of them 543.7 MB in files that it had not: 193.4 MB packed, in 2.0 s"
    assert amounts.moved(some) == told
    assert amounts.moved(_SENT) == ""


def test_a_head_that_falls_over_while_others_switch_takes_all_back(store: LocalStore) -> None:
    heads = three(sick=True)
    heads[1].slow = 0.1
    with pytest.raises(FleetRevertedError, match="api fell over"):
        roll(heads, store)
    assert run_of(heads) == [OLD] * 3
    assert not any("confirm" in head.words for head in heads)


def test_agents_that_do_not_know_the_word_to_vouch_go_back(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a rollback to an older release: its agent would serve the next rollback."""
    monkeypatch.setattr("deploy.dialogue.VOUCH_SECONDS", 0.3)
    heads = three(older=True)
    for head in heads:
        head.older = True
    with pytest.raises(FleetRevertedError, match="nothing was heard") as caught:
        roll(heads, store)
    assert run_of(heads) == [OLD] * 3
    assert caught.value.exit_code == 5
    assert not any("confirm" in head.words for head in heads)


def test_a_stranded_head_is_named(store: LocalStore) -> None:
    heads = three()
    heads[1].fails, heads[1].slow = "switch", 0.2
    heads[2].slow, heads[2].fails = 5.0, "back"
    with pytest.raises(FleetPartialError) as caught:
        roll(heads, store)
    assert caught.value.exit_code == 4
    assert caught.value.hint == "sealift status --host head3"
    assert caught.value.heads["head1"] == "went back, runs generation 1"


@pytest.mark.parametrize("moment", ["before switch", "switch", "healthy"])
@pytest.mark.parametrize("cut", [0, 2])
def test_a_cut_link_takes_all_back(store: LocalStore, moment: str, cut: int) -> None:
    heads = three()
    heads[cut].cuts = moment
    with pytest.raises((FleetRevertedError, FleetPartialError)) as caught:
        roll(heads, store, deadline=1.0)
    assert run_of(heads) == [OLD] * 3
    # Whoever cannot be asked is said to be unknown, never to be well.
    assert caught.value.heads[heads[cut].name] == "cannot be asked; it goes back by itself"


@pytest.mark.parametrize("moment", ["switch", "healthy"])
def test_a_lost_head_that_is_back_is_asked_what_it_runs(store: LocalStore, moment: str) -> None:
    heads = three()
    heads[2].cuts = moment
    again = threading.Timer(0.3, lambda: setattr(heads[2], "up", True))
    again.start()
    with pytest.raises(FleetRevertedError) as caught:
        roll(heads, store)
    again.join()
    assert caught.value.heads["head3"] == "went back, runs generation 1"
    assert run_of(heads) == [OLD] * 3


def test_a_head_lost_at_the_last_word_is_asked_whether_it_kept_it(store: LocalStore) -> None:
    heads = three()
    heads[1].cuts = "confirm"
    again = threading.Timer(0.3, lambda: setattr(heads[1], "up", True))
    again.start()
    outcome = roll(heads, store)
    again.join()
    assert run_of(heads) == [NEW] * 3
    assert outcome.plan.release == NEW


def test_heads_that_are_down_are_refused(store: LocalStore) -> None:
    heads = three(up=False)
    with pytest.raises(FleetRefusedError, match="it does not answer") as caught:
        roll(heads, store)
    assert caught.value.heads["head1"] == "was not reached"
    assert run_of(heads[1:]) == [OLD] * 2
    assert not heads[1].words


def test_heads_that_are_down_may_be_missing(store: LocalStore) -> None:
    heads = three(up=False)
    outcome = roll(heads, store, allow_missing=True)
    assert [each.head for each in outcome.plan.absent] == ["head1"]
    assert run_of(heads[1:]) == [NEW] * 2
    assert outcome.plan.canary == "head2"


def test_nobody_at_all_is_refused_even_so(store: LocalStore) -> None:
    heads = [FakeHead("head1", up=False)]
    with pytest.raises(FleetRefusedError):
        roll(heads, store, allow_missing=True)


def test_preflight_refuses_before_anything_is_sent(store: LocalStore) -> None:
    heads = three(facts={"machine": "aarch64"})
    looks = Quiet()
    with pytest.raises(FleetRefusedError, match="aarch64"):
        roll(heads, store, looks)
    assert looks.plans[0].refused[0].head == "head1"
    assert not any(head.words for head in heads)


def test_preflight_refuses_by_the_slug_that_an_agent_would(store: LocalStore) -> None:
    heads = three(facts={"taken": "5101 7 httpd"})
    with pytest.raises(FleetRefusedError, match="httpd") as caught:
        roll(heads, store)
    assert caught.value.slug == "port-taken"


def test_nothing_is_done_that_is_not_agreed_to(store: LocalStore) -> None:
    heads = three()
    wish = Wish(store, "bob", RELEASE)
    with pytest.raises(FleetRefusedError, match="stopped"):
        Rolling(
            [h.remote() for h in heads], wish, lambda _: None, lambda: False, lambda *_: None
        ).run()
    assert not any(head.words for head in heads)


def test_what_comes_between_push_and_services_goes_first(store: LocalStore) -> None:
    heads = three()
    seen: list[list[str]] = []

    def between() -> None:
        seen.append([word for head in heads for word in head.words if word != "alive"])

    _rolled_with(between, heads, store)
    assert seen == [[]]
    assert run_of(heads) == [NEW] * 3


def test_what_fails_between_is_told_as_it_is_and_touches_no_service(store: LocalStore) -> None:
    heads = three()

    def between() -> None:
        raise PhasesPartialError("redis failed", lines=[], heads={}, cause=None, hint="again")

    with pytest.raises(PhasesPartialError, match="redis failed"):
        _rolled_with(between, heads, store)
    assert run_of(heads) == [OLD] * 3
    assert not any("prepare" in head.words for head in heads)


def _rolled_with(between: Callable[[], None], heads: list[FakeHead], store: LocalStore) -> None:
    wish = Wish(store, "bob", RELEASE, deadline=2.0)
    reached = [head.remote() for head in heads]
    Rolling(reached, wish, lambda _: None, lambda: True, lambda *_: None, between).run()


def two_at_once(store: LocalStore, rounds: int) -> Iterator[tuple[list[FakeHead], list[object]]]:
    """Let two operators begin together, heads in opposite orders; give how each ended."""
    for _ in range(rounds):
        heads = three(slow=0.05)
        ends: list[object] = []

        def operate(order: list[FakeHead], ends: list[object] = ends) -> None:
            try:
                ends.append(roll(order, store))
            except FleetError as error:
                ends.append(error)

        orders = [heads, heads[::-1]]
        threads = [threading.Thread(target=operate, args=(order,)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield heads, ends


def test_of_two_operators_one_wins(store: LocalStore) -> None:
    """Whatever the order of their heads; the other one is told who is at work."""
    for heads, ends in two_at_once(store, 20):
        lost = [each for each in ends if isinstance(each, FleetError)]
        assert len(lost) < 2
        assert all(isinstance(each, FleetRefusedError) for each in lost)
        assert all("another command" in each.reason or "alice" in each.reason for each in lost)
        assert run_of(heads) == [NEW] * 3


def test_without_an_order_of_locks_both_may_lose(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""

    monkeypatch.setattr(Rolling, "_prepare", _in_parallel)
    both = [
        all(isinstance(each, FleetError) for each in ends) for _, ends in two_at_once(store, 10)
    ]
    assert any(both)


def _in_parallel(rolling: Rolling) -> None:
    """Prepare all heads at once as it would be done without an order: some are a bit earlier."""

    def prepare(head: RemoteHead) -> None:
        time.sleep(0.05 * rolling._active.index(head))
        head.open("agent", lambda _: None).prepare(rolling._order(head))

    rolling._each(rolling._active, prepare)


def test_a_rollback_asks_no_more_than_that_the_heads_stand_by(store: LocalStore) -> None:
    heads = three(running=NEW)
    for head in heads:
        head.running = NEW
    looks = Quiet()
    roll(heads, store, looks, release=None)
    asked = [row.question for row in looks.plans[0].heads[0].rows]
    assert asked == ["login", "lock", "generation", "target"]


def test_a_rollback_says_where_it_leads_before_it_asks(store: LocalStore) -> None:
    heads = [FakeHead(f"head{n}", running=NEW) for n in (1, 2)]
    looks = Quiet()
    roll(heads, store, looks, release=None)
    assert [(e.target.number, str(e.target.path)) for e in looks.plans[0].heads if e.target] == [
        (1, OLD)
    ] * 2
    assert f"rollback on head[1-2]: {'0' * 8}-release" in list(plan_view.lines(looks.plans[0]))
    assert plan_view.record(looks.plans[0])["heads"][0]["target"]["generation"] == 1


@pytest.mark.parametrize("to", [3, 99])
def test_a_rollback_to_what_there_is_not_is_refused_before_it_asks(
    store: LocalStore, to: int
) -> None:
    heads = [FakeHead(f"head{n}", running=NEW) for n in (1, 2)]
    looks, asked = Quiet(), list[int]()
    wish = Wish(store, "bob", to=to)
    with pytest.raises(FleetRefusedError, match=f"there is no generation {to}") as caught:
        Rolling(
            [head.remote() for head in heads],
            wish,
            looks.plans.append,
            lambda: not asked.append(to),  # type: ignore[func-returns-value]
            looks.tell,
        ).run()
    assert not asked
    assert caught.value.hint == "sealift history --host head1"


def stopping(after: float) -> threading.Timer:
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.parametrize("after", [0.03, 0.1, 0.3, 0.5])
def test_ctrl_c_leaves_all_heads_as_they_were(store: LocalStore, after: float) -> None:
    heads = [FakeHead(f"head{n}", slow=0.3) for n in (1, 2, 3)]
    timer = stopping(after)
    with pytest.raises((FleetRefusedError, FleetRevertedError), match="stopped"):
        roll(heads, store)
    timer.join()
    assert run_of(heads) == [OLD] * 3


def test_ctrl_c_after_the_last_word_changes_nothing(store: LocalStore) -> None:
    heads = three()
    before = signal.getsignal(signal.SIGINT)
    assert roll(heads, store)
    assert signal.getsignal(signal.SIGINT) is before


def test_random_faults_never_leave_what_is_not_told(store: LocalStore) -> None:
    """The end that is reported is what all heads run, whatever happens to which of them."""
    choice = random.Random(4)  # noqa: S311
    for _ in range(60):
        heads = [FakeHead(f"head{n}") for n in (1, 2, 3)]
        for head in heads:
            head.fails = choice.choice(["", "", "", "prepare", "switch"])
            head.cuts = choice.choice(["", "", "", "switch", "healthy", "before confirm"])
        try:
            roll(heads, store, deadline=0.1, parallel=choice.choice([1, 2, 8]))
        except FleetPartialError as error:
            unknown = [n for n, end in error.heads.items() if "cannot be asked" in end]
            assert unknown or len(set(run_of(heads))) > 1
        except FleetError:
            assert run_of(heads) == [OLD] * 3
        else:
            assert run_of(heads) == [NEW] * 3


def test_every_head_hears_that_somebody_is_there(store: LocalStore) -> None:
    heads = three()
    heads[1].slow = 1.2
    began = time.monotonic()
    roll(heads, store, deadline=1.0)
    assert time.monotonic() - began > 1.0
    assert heads[0].words.count("alive") >= 3
