"""The storage phase on heads that are none: created once, joined, healed, and never on doubt."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.errors import HeadLostError
from deploy.phases import storage, storage_mount, storage_terms
from deploy.phases.errors import CrewError, PhaseError, PhaseTimeoutError, QuorumError
from deploy.phases.phase import Kind
from deploy.phases.storage_look import EMPTY, FULL, GLUSTERD
from store.errors import Error
from tests.deploy.phases.fakes import Time
from tests.deploy.phases.gluster_world import OWN, PowerCutError, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.phases.crew import Crew


def done(world: World, *names: str, **parameters: object) -> None:
    """Bring the phase up, and make sure that it works."""
    crew = world.crew(*names, laid=True, **parameters)
    storage.apply(crew)
    storage.verify(world.crew(*names, laid=True, **parameters))


def refusals(world: World, *names: str, laid: bool = False, **parameters: object) -> set[str]:
    findings = storage.check(world.crew(*names, laid=laid, **parameters))
    return {each.slug for each in findings if each.kind is Kind.REFUSAL}


def changes(world: World, *names: str, **parameters: object) -> list[str]:
    findings = storage.check(world.crew(*names, laid=True, **parameters))
    return [f"{each.head}: {each.what}" for each in findings if each.kind is Kind.CHANGE]


def test_three_heads_become_one_volume() -> None:
    world = World.of(3)
    assert "make the volume shared of 3 copies" in " ".join(changes(world))
    done(world)
    (volume,) = world.volumes
    assert len(volume.bricks) == 3
    assert volume.started
    assert volume.options["network.ping-timeout"] == "5"
    assert storage_terms.QUORUM.items() <= volume.options.items()
    assert all(each.mounted for each in world.heads.values())


def test_a_second_run_finds_nothing_to_do() -> None:
    world = World.of(3)
    done(world)
    left = world.left
    assert changes(world) == []
    done(world)
    assert left - world.left == 0, "an order was given again"


def test_one_head_is_a_volume_of_one_copy_and_grows() -> None:
    world = World.of(3)
    done(world.__class__({"head1": world.heads["head1"]}), "head1")
    assert len(world.volumes[0].bricks) == 1
    done(world)
    assert len(world.volumes[0].bricks) == 3
    assert world.made == 1


def test_a_fourth_head_gets_a_copy_when_the_others_are_there() -> None:
    world = World.of(4)
    three = World({name: world.heads[name] for name in ("head1", "head2", "head3")})
    done(three)
    assert changes(world, "head4") == [
        "head4: join the pool of head1",
        ": set of shared: auth.allow to 10.0.0.11,10.0.0.12,10.0.0.13,10.0.0.14",
        "head4: get copy 4 of shared",
    ]
    done(world, "head4")
    assert len(world.volumes[0].bricks) == 4


def test_no_copy_is_added_while_another_one_is_out() -> None:
    world = World.of(4)
    done(World({name: world.heads[name] for name in ("head1", "head2", "head3")}))
    world.lose("head2")
    assert refusals(world, "head4") == {"copy-out"}
    with pytest.raises(PhaseError, match="while another one is out"):
        storage.apply(world.crew("head4", laid=True))
    assert len(world.volumes[0].bricks) == 3


def test_a_volume_is_never_made_while_a_head_is_unreachable() -> None:
    world = World.of(3)
    world.lose("head3")
    assert refusals(world) == {"volume-unknown"}
    with pytest.raises(PhaseError, match="may have the volume"):
        storage.apply(world.crew(laid=True))
    assert world.volumes == []


def test_a_volume_is_never_made_while_a_witness_is_asleep_or_left_out() -> None:
    world = World.of(3)
    assert refusals(world, "head1", "head2") == {"volume-needs-all"}
    done(world)
    world.wipe("head1")
    world.wipe("head2")
    world.heads["head3"].runs = False
    assert refusals(world, "head1", "head2", laid=True) == {"volume-unknown"}


def test_two_heads_installed_anew_learn_of_the_volume_from_the_third() -> None:
    """Reinstalled, both are blank; the volume is that of the one that keeps it."""
    world = World.of(3)
    done(world)
    before = world.volumes[0]
    world.wipe("head2")
    done(world)
    assert world.volumes == [before]
    assert world.heads["head2"].brick == FULL
    assert world.made == 1


def test_a_brick_path_in_use_is_refused_before_anything_is_changed() -> None:
    world = World.of(3)
    world.heads["head2"].brick = FULL
    assert refusals(world) == {"brick-in-use"}
    with pytest.raises(PhaseError, match="not empty"):
        storage.apply(world.crew(laid=True))
    assert world.volumes == []


def test_a_brick_on_the_root_file_system_has_to_be_asked_for() -> None:
    assert refusals(World.of(3), on_root=False) == {"brick-on-root"}


def test_a_brick_whose_disk_is_not_mounted_is_not_filled_anew() -> None:
    world = World.of(3)
    done(world)
    world.heads["head3"].brick = EMPTY
    assert refusals(world, laid=True, on_root=False) == {"brick-on-root"}


def test_a_brick_on_a_new_disk_is_filled_from_the_others() -> None:
    world = World.of(3)
    done(world)
    world.heads["head3"].brick = EMPTY
    world.heads["head3"].identity = ""
    assert changes(world) == ["head3: get its copy of shared anew"]
    done(world)
    assert world.heads["head3"].brick == FULL


def test_two_volumes_of_one_name_are_refused() -> None:
    one, other = World.of(2), World.of(2)
    done(World({"head1": one.heads["head1"]}))
    done(World({"head1": other.heads["head1"]}))
    one.heads["head2"].volume = other.heads["head1"].volume
    one.heads["head2"].runs = True
    assert refusals(one, laid=True) == {"two-volumes"}


def test_heads_of_two_pools_are_refused() -> None:
    world = World.of(4)
    for pair in (("head1", "head2"), ("head3", "head4")):
        one, other = (world.heads[name] for name in pair)
        one.runs = other.runs = True
        one.member.run("gluster", "--mode=script", "--xml", "peer", "probe", other.address)
    assert refusals(world, laid=True) == {"two-pools"}


def test_quorum_cannot_be_switched_off() -> None:
    options = {"cluster.quorum-type": "none"}
    assert refusals(World.of(3), options=options) == {"quorum-option"}


def test_an_option_that_changed_is_set_and_nothing_else() -> None:
    world = World.of(3)
    done(world)
    options = {"performance.quick-read": "off"}
    assert changes(world, options=options) == [": set of shared: performance.quick-read to off"]
    done(world, options=options)
    assert world.volumes[0].options["performance.quick-read"] == "off"


def test_a_copy_that_is_down_is_started() -> None:
    world = World.of(3)
    done(world)
    world.heads["head2"].runs = False
    done(world)
    assert world.heads["head2"].runs


def test_what_a_stopped_cluster_keeps_is_no_folder_in_use() -> None:
    world = World.of(3)
    done(world)
    for disk in world.heads.values():
        disk.runs, disk.mounted = False, ""
    assert refusals(world) == set()
    assert refusals(world, laid=True) == set()
    done(world)
    assert world.made == 1


def test_something_else_at_the_mount_point_is_refused() -> None:
    world = World.of(3)
    world.heads["head1"].mounted = "ext4 /dev/sdb1"
    assert refusals(world) == {"mount-in-use"}


def test_a_head_is_restarted_only_when_the_others_are_equal() -> None:
    world = World.of(3)
    done(world)
    world.volumes[0].pending = 10**6
    crew = world.crew(laid=True)
    unit = world.heads["head1"].member.unit
    unit[GLUSTERD] = replace(unit[GLUSTERD], stale="restart")
    with pytest.raises(QuorumError, match="another one is out") as caught:
        storage.apply(crew)
    assert "files are to be healed" in (caught.value.got or "")
    assert f"systemctl restart {GLUSTERD}" not in world.heads["head1"].member.told


def test_heads_are_restarted_one_after_the_other_and_heal_between() -> None:
    world = World.of(3)
    done(world)
    world.volumes[0].pending = 5
    crew = world.crew(laid=True)
    for disk in world.heads.values():
        unit = disk.member.unit
        unit[GLUSTERD] = replace(unit[GLUSTERD], stale="restart")
    storage.apply(crew)
    storage.verify(world.crew(laid=True))


def test_verify_says_that_a_copy_is_down() -> None:
    world = World.of(3)
    done(world)
    world.heads["head3"].identity = ""
    with pytest.raises(PhaseTimeoutError) as caught:
        storage.verify(world.crew(laid=True))
    assert "10.0.0.13:/srv/gluster/brick is down" in (caught.value.got or "")


def test_what_is_there_works_without_a_head_that_may_be_missing() -> None:
    world = World.of(3)
    done(world)
    world.lose("head3")
    options = {"performance.quick-read": "off"}
    storage.apply(world.crew(laid=True, options=options))
    told = storage.verify(world.crew(laid=True, options=options))
    assert "head3 was not reached" in told[0]


def test_undo_leaves_the_data_unless_it_is_named() -> None:
    world = World.of(3)
    done(world)
    storage.undo(world.crew(laid=True), ())
    assert all(each.brick == FULL and not each.runs for each in world.heads.values())
    done(world)
    assert world.made == 1
    world.heads["head1"].runs = False
    storage.undo(world.crew(laid=True), ("shared",))
    assert world.volumes == []
    assert all(each.brick == "absent" for each in world.heads.values())


def test_storage_is_undone_on_all_heads_or_on_none() -> None:
    world = World.of(3)
    done(world)
    for destroy in ((), ("shared",)):
        with pytest.raises(PhaseError, match="from all heads or from none"):
            storage.undo(world.crew("head1", laid=True), destroy)
    world.lose("head3")
    with pytest.raises(PhaseError, match="from all heads or from none"):
        storage.undo(world.crew(laid=True), ())
    assert len(world.volumes) == 1
    assert world.heads["head1"].mounted


def test_what_is_not_proven_to_be_a_copy_is_not_removed() -> None:
    """Somebody's files lie where a head's copy was; the other heads keep theirs, too."""
    world = World.of(3)
    done(world)
    world.heads["head2"].identity = "another"
    crew = world.crew(laid=True)
    found = storage.before_undo(crew, ("shared",))
    assert [(each.head, each.kind) for each in found] == [
        ("head1", Kind.IRREVERSIBLE),
        ("head2", Kind.REFUSAL),
        ("head3", Kind.IRREVERSIBLE),
    ]
    assert storage.before_undo(crew, ()) == ()
    with pytest.raises(PhaseError, match="not proven to be a copy of shared"):
        storage.undo(crew, ("shared",))
    assert len(world.volumes) == 1
    assert all(each.brick == FULL and each.mounted for each in world.heads.values())


def test_a_volume_that_is_not_there_is_no_leave_to_remove_what_lies_at_its_place() -> None:
    world = World.of(3)
    done(world)
    with pytest.raises(PhaseError, match="not proven"):
        storage.undo(world.crew(laid=True, brick="/srv/other/brick"), ("shared",))
    for disk in world.heads.values():
        disk.volume = None
    with pytest.raises(PhaseError, match="not proven"):
        storage.undo(world.crew(laid=True), ("shared",))
    with pytest.raises(PhaseError, match="not proven"):
        storage.undo(world.crew(laid=True, brick="/home"), ("shared",))
    assert all(each.brick == FULL for each in world.heads.values())


@pytest.mark.parametrize("cut", range(12))
def test_a_removal_that_was_cut_off_goes_on(cut: int) -> None:
    world = World.of(3)
    done(world)
    world.left = cut
    with suppress(PowerCutError):
        storage.undo(world.crew(laid=True), ("shared",))
    world.left = 10**6
    storage.undo(world.crew(laid=True), ("shared",))
    assert world.volumes == []
    assert all(each.brick == "absent" for each in world.heads.values())


def test_a_changed_mount_is_mounted_anew_on_one_head_after_the_other() -> None:
    world = World.of(3)
    done(world)
    world.volumes[0].pending = 10**6
    crew = world.crew(laid=True)
    for disk in world.heads.values():
        unit = disk.member.unit
        unit[storage_mount.MOUNT] = replace(unit[storage_mount.MOUNT], stale="restart")
    with pytest.raises(QuorumError, match="another one is out"):
        storage.apply(crew)
    restart = f"systemctl restart {storage_mount.MOUNT}"
    assert all(restart not in each.words for each in world.heads.values())
    world.volumes[0].pending = 0
    storage.apply(crew)
    assert all(restart in each.words for each in world.heads.values())


def test_no_head_may_be_taken_down_while_another_one_has_lost_its_mount() -> None:
    world = World.of(3)
    done(world)
    assert storage.well(world.crew(laid=True)) == ""
    world.heads["head2"].mounted = ""
    assert "not mounted on head2" in storage.well(world.crew(laid=True))


def test_a_run_ends_only_when_all_copies_are_equal() -> None:
    world = World.of(3)
    done(world)
    world.volumes[0].pending = 10**6
    with pytest.raises(PhaseTimeoutError) as caught:
        storage.apply(world.crew(laid=True))
    assert "files are to be healed" in (caught.value.got or "")


def test_a_copy_that_does_not_say_what_it_lacks_is_not_taken_for_equal() -> None:
    world = World.of(3)
    done(world)
    world.volumes[0].mute = True
    assert "does not say what it lacks" in storage.well(world.crew(laid=True))


def test_a_folder_of_the_system_is_not_removed_though_it_be_a_copy() -> None:
    world = World.of(3)
    done(world)
    volume = world.volumes[0]
    volume.bricks = [f"{each.partition(':')[0]}:/home" for each in volume.bricks]
    with pytest.raises(PhaseError, match="it is the system's"):
        storage.undo(world.crew(laid=True, brick="/home"), ("shared",))
    assert all(each.brick == FULL for each in world.heads.values())


def test_a_copy_is_added_only_when_those_that_are_there_are_equal() -> None:
    world = World.of(4)
    done(World({name: world.heads[name] for name in ("head1", "head2", "head3")}))
    world.volumes[0].pending = 10**6
    with pytest.raises(PhaseTimeoutError) as caught:
        storage.apply(world.crew(laid=True))
    assert "files are to be healed" in (caught.value.got or "")
    assert len(world.volumes[0].bricks) == 3


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 14), max_size=4),
    lost=st.lists(st.sampled_from(["head1", "head2", "head3"]), max_size=2, unique=True),
)
def test_whatever_is_cut_off_the_next_run_finishes_and_one_volume_is_made(
    cuts: list[int], lost: list[str]
) -> None:
    world = World.of(3)
    for cut in cuts:
        world.left = cut
        with suppress(PowerCutError):
            storage.apply(world.crew(laid=True))
        world.left = 10**6
    for name in lost:
        world.lose(name)
    try:
        storage.apply(world.crew(laid=True))
    except Error:
        assert lost, "it did not converge with all heads there"
    for name in lost:
        world.heads[name].up = True
    done(world)
    assert world.made == 1
    assert changes(world) == []


def test_a_mount_that_is_changed_moves_on_one_head_after_the_other() -> None:
    world = World.of(3)
    done(world)
    world.moves("/mnt/before")
    assert changes(world)[:2] == [
        "head1: mount shared at /mnt/gluster",
        "head1: unmount shared from /mnt/before",
    ]
    world.volumes[0].pending = 10**6
    with pytest.raises(QuorumError, match="head1 is not taken down"):
        storage.apply(world.crew(laid=True))
    assert all(each.elsewhere for each in world.heads.values()), "a head lost its mount"
    world.volumes[0].pending = 0
    done(world)
    assert all(each.mounted and not each.elsewhere for each in world.heads.values())
    assert changes(world) == []


def test_a_mount_does_not_move_while_a_head_is_missing() -> None:
    world = World.of(3)
    done(world)
    world.moves("/mnt/before")
    world.lose("head3")
    with pytest.raises(QuorumError, match="another one is out"):
        storage.apply(world.crew(laid=True))
    assert world.heads["head1"].elsewhere


def test_no_head_is_taken_down_while_a_mount_is_on_its_way() -> None:
    world = World.of(3)
    done(world)
    world.moves("/mnt/before")
    assert storage.well(world.crew(laid=True)) == ""
    world.heads["head2"].elsewhere, world.heads["head2"].moving = {"/projects": OWN}, False
    assert "not mounted on head2" in storage.well(world.crew(laid=True))


def test_a_mount_moves_also_where_no_record_tells_of_it_any_more() -> None:
    """As after two changes of which none came to its end: the unit's own client has it there."""
    world = World.of(3)
    done(world)
    world.moves("/mnt/before")
    for disk in world.heads.values():
        disk.text = dict.fromkeys(disk.text, "/mnt/another")
    assert "head3: unmount shared from /mnt/before" in changes(world)
    done(world)
    assert all(each.mounted and not each.elsewhere for each in world.heads.values())


def test_a_move_that_was_cut_off_goes_on_and_what_a_client_left_is_unmounted() -> None:
    """The new configuration is laid; where the one before had it is known by the record."""
    world = World.of(3)
    done(world)
    world.moves("/mnt/gluster", state="laid")
    for disk in world.heads.values():
        disk.elsewhere, disk.busy, disk.moving = {"/mnt/older": OWN}, True, False
    assert "head2: unmount shared from /mnt/older" in changes(world)
    storage.apply(world.crew(laid=True))
    assert all(each.mounted and not each.elsewhere for each in world.heads.values())


@pytest.mark.parametrize("laid", [False, True])
def test_what_others_have_mounted_stays_where_it_is(*, laid: bool) -> None:
    """A volume of this name of another cluster, or this one, where the phase never had it."""
    world = World.of(3)
    if laid:
        done(world)
        world.lays("/mnt/gluster")
    theirs = {"/projects": "nas1:/shared", "/home": OWN, "/mnt/older": OWN}
    for disk in world.heads.values():
        disk.elsewhere, disk.busy = dict(theirs), True
    assert not any("unmount" in each for each in changes(world))
    done(world)
    assert all(each.elsewhere == theirs for each in world.heads.values())


def test_a_volume_of_another_cluster_at_the_mount_point_is_refused() -> None:
    world = World.of(3)
    world.heads["head1"].mounted = "fuse.glusterfs nas1:/shared"
    assert refusals(world) == {"mount-in-use"}


def test_what_stands_against_it_is_told_at_once_and_with_its_hint() -> None:
    world = World.of(3)
    done(world)
    world.volumes[0].bricks[0] = "10.0.0.11:/srv/other"
    for attempt in (storage.verify, storage.apply):
        crew = world.crew(laid=True)
        with pytest.raises(PhaseError, match="lies at /srv/other") as caught:
            attempt(crew)
        assert not isinstance(caught.value, PhaseTimeoutError)
        assert caught.value.where == "head1"
        assert "brick: /srv/other" in (caught.value.hint or "")
        assert crew.clock.now() == Time().at, "it was waited for"
    assert storage.well(world.crew(laid=True)).startswith("head1: its copy")


def test_a_split_cluster_is_not_well() -> None:
    world = World.of(2)
    done(world)
    alien = World.of(1)
    done(alien, "head1")
    world.heads["head2"].volume = alien.heads["head1"].volume
    assert "there are two volumes" in storage.well(world.crew(laid=True))


@pytest.mark.parametrize("attempt", [storage.verify, storage.apply])
def test_a_head_that_is_lost_ends_the_wait_at_once(attempt: Callable[[Crew], object]) -> None:
    world = World.of(3)
    done(world)
    world.volumes[0].pending = 10**6
    crew = world.crew(laid=True)
    clock = crew.clock
    began = clock.now()

    def sleep(seconds: float) -> None:
        world.heads["head2"].lost = True
        clock.sleep(seconds)

    crew = replace(crew, clock=replace(clock, sleep=sleep))
    with pytest.raises(CrewError) as caught:
        attempt(crew)
    assert isinstance(caught.value.cause, HeadLostError)
    assert clock.now() - began <= 1


def test_a_brick_whose_own_disk_is_not_mounted_is_not_filled_below_it() -> None:
    world = World.of(3)
    done(world)
    world.heads["head3"].brick = EMPTY
    world.heads["head3"].misses = "/srv/gluster"
    assert refusals(world, laid=True) == {"brick-unmounted"}
    with pytest.raises(PhaseError, match="/srv/gluster, where that was mounted") as caught:
        storage.apply(world.crew(laid=True))
    assert "mount the disk at /srv/gluster" in (caught.value.hint or "")
    assert world.heads["head3"].brick == EMPTY
