"""What a person is shown before a key is pinned, and what follows from a yes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.known_hosts import HostKey, pin, pinned
from deploy.route import Hop
from deploy.ssh_errors import HostKeyError
from deploy.trust import Finding, State, accept, check, levels, look
from tests.deploy.test_known_hosts import key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def hop(name: str) -> Hop:
    return Hop(name, name, 22, "root", (), only=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


@pytest.mark.parametrize(
    ("known", "offered", "state"),
    [
        ([], [1], State.NEW),
        ([1], [1], State.KNOWN),
        ([1], [1, 2], State.KNOWN),
        ([1], [2], State.CHANGED),
        ([1, 2], [1, 3], State.CHANGED),
        ([1, 2], [1], State.CHANGED),
    ],
)
def test_states(known: list[int], offered: list[int], state: State) -> None:
    found = Finding("h", "h", tuple(map(key, offered)), tuple(map(key, known)))
    assert found.state is state


def test_gateways_come_first_and_each_once() -> None:
    jump, one, two, alone = map(hop, ("jump", "head1", "head2", "spare"))
    assert levels([(jump, one), (jump, two), (alone,)]) == [
        [(jump,), (alone,)],
        [(jump, one), (jump, two)],
    ]
    assert levels([]) == []


def test_looking_pins_nothing(file: Path) -> None:
    def ask(way: Sequence[Hop]) -> tuple[HostKey, ...]:
        return (key(int(way[-1].name[1:])),)

    pin(file, "h2", [key(9)])
    found = look(file, [(hop("h1"),), (hop("h2"),)], ask, parallel=2)
    assert [(each.name, each.state) for each in found] == [("h1", State.NEW), ("h2", State.CHANGED)]
    assert pinned(file, "h1") == ()


def test_a_changed_key_is_refused_unless_it_is_to_be_replaced(file: Path) -> None:
    pin(file, "h", [key(1)])
    found = [Finding("h", "h", (key(2),), (key(1),))]
    with pytest.raises(HostKeyError) as caught:
        check(found, replace=False)
    assert caught.value.expected == f"ssh-ed25519 {key(1).fingerprint}"
    assert caught.value.got == f"ssh-ed25519 {key(2).fingerprint}"
    check(found, replace=True)
    accept(file, found)
    assert pinned(file, "h") == (key(2),)


def test_what_is_known_stays_as_it_is(file: Path) -> None:
    """A host that offers more is not given more than somebody once agreed to."""
    pin(file, "h", [key(1)])
    accept(file, [Finding("h", "h", (key(1), key(2)), (key(1),))])
    assert pinned(file, "h") == (key(1),)
