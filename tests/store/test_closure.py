from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.closure import (
    MissingReferenceError,
    ReferenceCycleError,
    closure,
    order,
    why_depends,
)
from store.hashes import nix32_encode
from store.info import PathInfo
from store.path import StorePath


def path(number: int) -> StorePath:
    return StorePath(nix32_encode(number.to_bytes(20, "big")), f"p{number}")


def graph(edges: dict[int, list[int]]) -> dict[StorePath, PathInfo]:
    return {
        path(node): PathInfo(
            path(node), "00" * 32, 1, tuple(sorted(path(each) for each in references))
        )
        for node, references in edges.items()
    }


DIAMOND = graph({1: [], 2: [1], 3: [1], 4: [2, 3], 5: []})


def test_closure_stands_in_order_and_leaves_out_the_rest() -> None:
    found = [info.path for info in closure([path(4)], DIAMOND.get)]
    assert found == [path(1), path(2), path(3), path(4)]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(MissingReferenceError, match="p9"):
        closure([path(4)], (DIAMOND | graph({3: [9]})).get)
    with pytest.raises(MissingReferenceError):
        closure([path(77)], DIAMOND.get)


@pytest.mark.parametrize("edges", [{1: [2], 2: [1]}, {1: [2], 2: [3], 3: [1]}])
def test_circles_are_refused(edges: dict[int, list[int]]) -> None:
    with pytest.raises(ReferenceCycleError):
        closure([path(1)], graph(edges).get)


def test_references_outside_do_not_disturb_the_order() -> None:
    assert [info.path for info in order(graph({2: [1], 3: [2]}))] == [path(2), path(3)]


def test_the_reason_is_a_shortest_chain() -> None:
    more = DIAMOND | graph({6: [4, 2]})
    assert why_depends(path(6), path(1), more.get) == (path(6), path(2), path(1))
    assert why_depends(path(4), path(4), more.get) == (path(4),)
    assert why_depends(path(4), path(5), more.get) is None


def test_a_long_chain_does_not_exhaust_the_stack() -> None:
    chain = graph({0: []} | {number: [number - 1] for number in range(1, 5000)})
    assert len(closure([path(4999)], chain.get)) == 5000
    found = why_depends(path(4999), path(0), chain.get)
    assert found is not None
    assert len(found) == 5000


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12)), max_size=12))
def test_references_stand_before_referrers(edges: dict[int, list[int]]) -> None:
    downward = {node: [each for each in edges[node] if each < node] for node in edges}
    infos = graph({number: [] for number in range(13)} | downward)
    place = {info.path: number for number, info in enumerate(order(infos))}
    assert len(place) == len(infos)
    for info in infos.values():
        assert all(place[each] < place[info.path] for each in info.references)
