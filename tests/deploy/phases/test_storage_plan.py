"""What is decided about the storage, whatever heads are seen to have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.phases.gluster import Brick, Peer, Volume
from deploy.phases.storage_look import ABSENT, EMPTY, FULL, Seen
from deploy.phases.storage_plan import decide
from deploy.phases.storage_terms import ROOT_ALONE, is_unfit, wanted_options
from deploy.phases.storage_values import (
    Adopt,
    Await,
    Create,
    Grow,
    Head,
    Options,
    Refill,
    Start,
    Wake,
    Wish,
)

WISH = Wish("shared", "/mnt", "/data/brick", on_root=True, options={})
NAMES = ("head1", "head2", "head3")
UUIDS = {name: f"uuid-{name}" for name in NAMES}
HEADS = [Head(name, f"10.0.0.1{name[-1]}", None) for name in NAMES]
VOLUME = Volume(
    "shared",
    "identity",
    started=True,
    kind="Replicate",
    bricks=tuple(Brick(name, "/data/brick") for name in NAMES),
    options=wanted_options(WISH, HEADS),
)


def pool(of: str, *others: str, connected: bool = True) -> tuple[Peer, ...]:
    rows = [Peer(UUIDS[each], (each,), connected) for each in others]
    return (*rows, Peer(UUIDS[of], ("localhost",), connected=True))


def well(name: str) -> Seen:
    others = [each for each in NAMES if each != name]
    return Seen(FULL, on_root=False, pool=pool(name, *others), volumes={"shared": VOLUME})


def heads(**seen: Seen | None) -> list[Head]:
    return [Head(name, f"10.0.0.1{name[-1]}", seen.get(name, well(name))) for name in NAMES]


def test_a_cluster_that_is_well_needs_nothing() -> None:
    decision = decide(WISH, heads())
    assert (decision.steps, decision.objections, decision.notes) == ((), (), ())


def test_a_witness_that_does_not_reach_a_member_yet_is_waited_for() -> None:
    """Whoever gives the orders has to reach the head that they are about."""
    one = replace(well("head1"), pool=pool("head1", "head2", "head3", connected=False))
    state = [replace(head, ours=head.name == "head2") for head in heads(head1=one)]
    assert Await("head1", "head2") in decide(WISH, state).steps


def test_a_head_that_is_not_the_one_the_pool_knows_is_given_back_its_place_first() -> None:
    blank = Seen(ABSENT, on_root=False, pool=(Peer("new", ("localhost",), connected=True),))
    steps = decide(WISH, heads(head3=blank)).steps
    assert steps[0] == Adopt("head1", "head3", "uuid-head3")
    assert Refill("head1", "head3", Brick("head3", "/data/brick")) in steps


def test_an_empty_folder_of_a_volume_that_never_started_is_no_lost_copy() -> None:
    fresh = replace(VOLUME, started=False)
    state = {name: replace(well(name), brick=EMPTY, volumes={"shared": fresh}) for name in NAMES}
    assert decide(WISH, heads(**state)).steps == (Start("head1"),)


def test_no_copy_is_filled_while_another_head_is_out() -> None:
    lost = replace(well("head3"), brick=ABSENT)
    assert any(isinstance(each, Refill) for each in decide(WISH, heads(head3=lost)).steps)
    decision = decide(WISH, heads(head2=None, head3=lost))
    assert decision.steps == ()
    assert [each.slug for each in decision.objections] == ["copy-out"]


def test_a_volume_that_is_no_copy_of_all_or_lies_elsewhere_is_refused() -> None:
    spread = replace(VOLUME, kind="Distribute")
    state = {name: replace(well(name), volumes={"shared": spread}) for name in NAMES}
    assert [each.slug for each in decide(WISH, heads(**state)).objections] == ["volume-foreign"]
    moved = replace(WISH, brick="/data/other")
    slugs = {each.slug for each in decide(moved, heads()).objections}
    assert slugs == {"brick-elsewhere"}


def test_what_belongs_to_no_head_is_told_and_left() -> None:
    bricks = (*VOLUME.bricks, Brick("head9", "/data/brick"))
    state = {
        name: replace(
            well(name),
            volumes={"shared": replace(VOLUME, bricks=bricks)},
            pool=(*(well(name).pool or ()), Peer("nine", ("head9",), connected=True)),
        )
        for name in NAMES
    }
    decision = decide(WISH, heads(**state))
    assert decision.steps == ()
    assert len(decision.notes) == 2


def test_a_machine_that_is_no_head_any_more_is_not_waited_for() -> None:
    """Its copy will never be equal to the others, so it is told at once how it is taken out."""
    bricks = (*VOLUME.bricks, Brick("head9", "/data/brick"))
    volume = replace(VOLUME, bricks=bricks)
    peer = Peer("nine", ("head9",), connected=False)
    state = {
        name: replace(well(name), volumes={"shared": volume}, pool=(*(well(name).pool or ()), peer))
        for name in NAMES
    }
    (against,) = decide(WISH, heads(**state)).objections
    assert against.slug == "head-left"
    assert "remove-brick shared replica 3 head9:/data/brick force" in (against.hint or "")
    assert "gluster peer detach head9 force" in (against.hint or "")


def test_a_volume_lets_in_root_of_the_heads_alone_and_is_healed_soon() -> None:
    wanted = wanted_options(WISH, HEADS)
    assert wanted["auth.allow"] == "10.0.0.11,10.0.0.12,10.0.0.13"
    assert wanted["server.allow-insecure"] == wanted["client.bind-insecure"] == "off"
    assert int(wanted["cluster.heal-timeout"]) <= 30
    told = {"auth.allow": "10.*", "cluster.heal-timeout": "60"}
    assert told.items() <= wanted_options(replace(WISH, options=told), HEADS).items()


def test_ports_are_not_closed_to_those_who_have_the_volume_mounted() -> None:
    """Their connections come from other ports until they mount it anew."""
    bare = {name: replace(VOLUME, options={}) for name in NAMES}
    state = {name: replace(well(name), volumes={"shared": bare[name]}) for name in NAMES}
    decision = decide(WISH, heads(**state))
    ((_, pairs),) = [(o.by, o.pairs) for o in decision.steps if isinstance(o, Options)]
    assert not ROOT_ALONE.keys() & dict(pairs).keys()
    assert len([text for _, text in decision.notes if "stopped and unmounted" in text]) == 2
    stopped = {name: replace(VOLUME, options={}, started=False) for name in NAMES}
    state = {name: replace(well(name), volumes={"shared": stopped[name]}) for name in NAMES}
    ((_, pairs),) = [
        (o.by, o.pairs) for o in decide(WISH, heads(**state)).steps if isinstance(o, Options)
    ]
    assert ROOT_ALONE.items() <= dict(pairs).items()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/home",
        "/srv",
        "/data/..",
        "/a/../b",
        "/var/lib",
        "/etc/brick",
        "/usr/x/y",
        "//a/b",
        "/a/b/",
        "/a/./b",
        "a/b",
    ],
)
def test_no_copy_lies_where_the_system_does(path: str) -> None:
    assert is_unfit(path)
    decision = decide(replace(WISH, brick=path), heads())
    assert [each.slug for each in decision.objections] == ["path-unfit"]


@pytest.mark.parametrize("path", ["/srv/gluster/brick", "/data/brick", "/var/lib/brick"])
def test_a_folder_of_its_own_is_fit_for_a_copy(path: str) -> None:
    assert not is_unfit(path)


@pytest.mark.parametrize(
    "mount", ["/", "/mnt/..", "/mnt/../..", "/etc", "/usr/share", "/mnt/", "/mnt//g"]
)
def test_nothing_is_mounted_over_the_system(mount: str) -> None:
    """The unit unmounts what a dead client left there before it mounts."""
    objections = decide(replace(WISH, mount=mount, brick="/data/brick"), heads()).objections
    assert {each.slug for each in objections} == {"path-unfit"}


def test_copy_and_mount_lie_apart_and_folders_in_the_volume() -> None:
    for mount in ("/data", "/data/brick", "/data/brick/in"):
        slugs = [each.slug for each in decide(replace(WISH, mount=mount), heads()).objections]
        assert slugs == ["path-unfit"]
    for folder in ("..", "a/../../b", "../etc"):
        wish = replace(WISH, folders=(folder,))
        assert [each.slug for each in decide(wish, heads()).objections] == ["path-unfit"]


@st.composite
def sights(draw: st.DrawFn, name: str) -> Seen | None:
    """Anything that a head may have, or that it was not reached."""
    if draw(st.booleans()) and draw(st.booleans()):
        return None
    others = draw(st.lists(st.sampled_from([n for n in NAMES if n != name]), unique=True))
    runs = draw(st.booleans())
    has = draw(st.booleans())
    volume = replace(VOLUME, started=draw(st.booleans()))
    return Seen(
        draw(st.sampled_from([ABSENT, EMPTY, FULL])),
        on_root=False,
        keeps=("shared",) if has else (),
        knows=tuple(UUIDS[each] for each in others),
        pool=pool(name, *others, connected=draw(st.booleans())) if runs else None,
        volumes=({"shared": volume} if has else {}) if runs else None,
    )


@given(
    st.fixed_dictionaries({name: sights(name) for name in NAMES}), st.sets(st.sampled_from(NAMES))
)
def test_no_volume_is_made_unless_it_is_certain_that_there_is_none(
    seen: dict[str, Seen | None], ours: set[str]
) -> None:
    state = [replace(head, ours=head.name in ours) for head in heads(**seen)]
    decision = decide(WISH, state)
    assert not (decision.steps and decision.objections)
    if any(isinstance(each, Create) for each in decision.steps):
        assert ours == set(NAMES)
        assert all(each is not None for each in seen.values())
        assert all(not each.keeps for each in seen.values() if each is not None)
        assert all(each.brick != FULL for each in seen.values() if each is not None)
    if any(isinstance(each, Grow | Refill) for each in decision.steps):
        assert all(each is not None for each in seen.values())
    for each in decision.steps:
        if isinstance(each, Wake):
            assert each.head in ours
