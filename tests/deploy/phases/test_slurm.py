"""Phase 4 against heads that answer as Slurm's do: what is done, in which order, and what not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from deploy.phases import slurm, slurm_undo
from deploy.phases.errors import (
    CommandError,
    JobsAliveError,
    JobsUnknownError,
    OtherStateError,
    PhaseError,
    PhaseTimeoutError,
    QuorumError,
)
from deploy.phases.phase import Kind
from deploy.phases.slurm_heads import KEY
from deploy.phases.slurm_roles import CONTROLLER, DATABASE, FENCE, MUNGE, NODE
from deploy.phases.slurm_undo import QUEUE
from deploy.phases.state import FileState, State
from tests.deploy.phases.slurm_site import HEADS, Slurm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.phases.member import Ended
    from deploy.phases.phase import Finding


@pytest.fixture
def site(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


@pytest.fixture
def running(site: Slurm) -> Slurm:
    """A Slurm that was brought up by the phase."""
    slurm.apply(site.crew())
    site.laid()
    site.log.clear()
    return site


def slugs(found: Sequence[Finding]) -> list[str]:
    return [each.slug for each in found if each.kind is Kind.REFUSAL]


def changes(found: Sequence[Finding]) -> list[str]:
    return [each.what for each in found if each.kind is Kind.CHANGE]


def test_brings_up_all_that_each_head_is_to_run(site: Slurm) -> None:
    slurm.apply(site.crew())
    assert site.up(MUNGE) == list(HEADS)
    assert site.up(DATABASE) == ["head1", "head2"]
    assert site.up(CONTROLLER) == ["head1", "head2"]
    assert site.up(FENCE) == ["head1", "head2"]
    assert site.up(NODE) == list(HEADS)


def test_makes_tables_with_one_slurmdbd_alone(site: Slurm) -> None:
    slurm.apply(site.crew())
    assert site.tables
    assert not site.broken


def test_keeps_state_off_the_disk_of_a_head_without_the_volume(site: Slurm) -> None:
    site.mounted = False
    with pytest.raises(PhaseError, match="not mounted"):
        slurm.apply(site.crew())
    assert not any(argv[0] == "install" for argv in site.heads["head1"].ran)


def test_adds_accounts_after_their_cluster_and_before_their_users(site: Slurm) -> None:
    slurm.apply(site.crew())
    assert ("site", "kim") in site.associations


def test_a_second_run_does_nothing(running: Slurm) -> None:
    assert changes(slurm.check(running.crew())) == []
    slurm.apply(running.crew())
    assert running.log == []


def test_leaves_accounts_that_the_site_added(running: Slurm) -> None:
    running.associations += [("guests", ""), ("guests", "lee")]
    before = list(running.associations)
    assert changes(slurm.check(running.crew())) == []
    slurm.apply(running.crew())
    assert running.associations == before


def test_says_which_accounts_are_lacking(running: Slurm) -> None:
    running.associations.remove(("site", "kim"))
    assert changes(slurm.check(running.crew())) == ["add kim to the account site"]


def test_restarts_the_primary_last(running: Slurm) -> None:
    running.stale(CONTROLLER, "head1", "head2")
    running.stale(DATABASE, "head1", "head2")
    slurm.apply(running.crew())
    assert running.log == [
        f"restart {DATABASE} head2",
        f"restart {DATABASE} head1",
        f"restart {CONTROLLER} head2",
        f"restart {CONTROLLER} head1",
    ]


def test_what_serves_nobody_is_restarted_with_what_it_lacks(running: Slurm) -> None:
    """As slurmdbd does after another password: it is not well until it has that."""
    running.stale(DATABASE, "head1", "head2")
    running.broken = True
    answer = running.heads["head1"].answer
    assert answer is not None

    def mend(argv: tuple[str, ...], given: str) -> Ended | str | None:
        if argv[:2] == ("systemctl", "restart"):
            running.broken = False
        return answer(argv, given)

    running.heads["head1"].answer = mend
    slurm.apply(running.crew())
    assert f"restart {DATABASE} head1" in running.log


def test_takes_no_controller_down_while_another_head_is_missing(running: Slurm) -> None:
    running.stale(CONTROLLER, "head1")
    with pytest.raises(QuorumError):
        slurm.apply(running.crew("head1", "head3", missing=["head2"]))
    assert f"restart {CONTROLLER} head1" not in running.log


def test_tells_what_a_newer_package_costs(running: Slurm) -> None:
    newer = State(laid=True, packages={"slurmctld": "22.05.8-4 → 22.05.8-5"})
    for each in running.heads.values():
        each.found["slurm"] = newer
    notes = [f for f in slurm.check(running.crew()) if f.consequence]
    assert [each.what.split()[1] for each in notes] == [MUNGE, DATABASE, FENCE, CONTROLLER, NODE]
    assert all(each.kind is Kind.NOTE for each in notes)


def test_refuses_a_host_that_calls_itself_otherwise(site: Slurm) -> None:
    site.names["head2"] = "localhost"
    assert slugs(slurm.check(site.crew())) == ["hostname-differs"]


def test_refuses_a_node_smaller_than_slurm_is_told(site: Slurm) -> None:
    site.cpus = 1
    assert slugs(slurm.check(site.crew())) == ["node-too-small"] * 3


def test_a_machine_of_its_own_has_its_own_size(site: Slurm) -> None:
    site.changed["machines"] = {"head3": {"cpus": 64, "memory": 1000}}
    found = slurm.check(site.crew())
    assert [(each.head, each.slug) for each in found] == [("head3", "node-too-small")]


def test_a_host_that_runs_no_jobs_may_be_small(site: Slurm) -> None:
    site.cpus, site.changed["nodes"] = 1, []
    assert slugs(slurm.check(site.crew())) == []


def test_refuses_nodes_without_a_controller(site: Slurm) -> None:
    found = slurm.check(site.crew("head3", witnesses=["head1", "head2"]))
    assert slugs(found) == ["no-controller"]


def test_a_controller_that_is_not_reached_may_be_there(site: Slurm) -> None:
    found = slurm.check(site.crew("head3", missing=["head1", "head2"]))
    assert slugs(found) == []


def test_refuses_a_key_that_some_heads_would_not_have(running: Slurm) -> None:
    changed = State(laid=True, files=(FileState(KEY, "changed"),))
    running.heads["head1"].found["slurm"] = changed
    assert slugs(slurm.check(running.crew("head1", witnesses=["head2", "head3"]))) == ["key-torn"]
    assert slugs(slurm.check(running.crew("head1", missing=["head2"]))) == ["key-torn"]
    assert slugs(slurm.check(running.crew())) == []


def test_refuses_the_state_of_another_cluster(site: Slurm) -> None:
    site.state_of = "other"
    assert slugs(slurm.check(site.crew())) == ["state-other-cluster"]
    site.state_of = "lab"
    assert slugs(slurm.check(site.crew())) == []


def test_what_cannot_be_read_is_not_absent(site: Slurm) -> None:
    site.unreadable = True
    assert slugs(slurm.check(site.crew())) == ["state-other-cluster"]


def test_verifies_with_a_job_on_all_nodes(running: Slurm) -> None:
    told = slurm.verify(running.crew())
    assert "job 1 ran on head1, head2, head3" in told
    assert "job 1 is in the accounts" in told


def test_the_first_job_may_fail_once(running: Slurm) -> None:
    running.refused = 1
    assert "job 1 is in the accounts" in slurm.verify(running.crew())
    running.refused = 2
    with pytest.raises(CommandError, match="srun"):
        slurm.verify(running.crew())


def test_does_not_wait_for_nodes_that_somebody_shut(running: Slurm) -> None:
    running.shut["head3"] = "new disk"
    told = slurm.verify(running.crew())
    assert "head3 takes no jobs: new disk" in told
    assert "job 1 ran on head1, head2" in told


def test_no_job_is_tried_on_a_head_that_is_not_reached(running: Slurm) -> None:
    """The controller takes it for idle until `node_timeout` is over."""
    told = slurm.verify(running.crew("head1", "head2", missing=["head3"]))
    assert "job 1 ran on head1, head2" in told


@pytest.mark.parametrize("unit", [CONTROLLER, NODE])
def test_verify_sees_what_is_down(running: Slurm, unit: str) -> None:
    head = running.heads["head2"]
    head.unit[unit] = replace(head.unit[unit], active="failed")
    with pytest.raises(PhaseTimeoutError):
        slurm.verify(running.crew())


def test_verify_sees_a_head_with_another_key(running: Slurm) -> None:
    running.keys["head2"] = "another"
    with pytest.raises(PhaseError, match="does not trust"):
        slurm.verify(running.crew())


def test_verify_sees_a_job_that_is_not_accounted(running: Slurm) -> None:
    for each in ("head1", "head2"):
        answer = running.heads[each].answer
        assert answer is not None
        running.heads[each].answer = lambda argv, given, answer=answer: (
            "" if argv[0] == "sacct" else answer(argv, given)
        )
    with pytest.raises(PhaseTimeoutError, match="accounted"):
        slurm.verify(running.crew())


def stand(found: Sequence[Finding], kind: Kind) -> list[tuple[str, str]]:
    return [(each.head, each.what) for each in found if each.kind is kind]


def test_well_is_a_cluster_that_can_do_without_a_head(running: Slurm) -> None:
    assert slurm.well(running.crew()) == ""


@pytest.mark.parametrize(
    ("unit", "said"), [(CONTROLLER, "controller"), (NODE, "head2 is down"), (DATABASE, "connect")]
)
def test_a_cluster_that_lacks_one_is_not_well(running: Slurm, unit: str, said: str) -> None:
    for name in ("head1", "head2") if unit == DATABASE else ("head2",):
        head = running.heads[name]
        head.unit[unit] = replace(head.unit[unit], active="failed")
    assert said in slurm.well(running.crew())


def test_a_key_does_not_change_along_with_packages(running: Slurm) -> None:
    """Packages go from head to head, and heads with different keys do not hear each other."""
    key = (FileState(KEY, "changed"),)
    newer = {"slurmctld": "22.05.8-4 → 22.05.8-5"}
    for each in running.heads.values():
        each.found["slurm"] = State(laid=True, files=key, packages=newer)
    assert slugs(slurm.check(running.crew())) == ["key-torn"]
    for each in running.heads.values():
        each.found["slurm"] = State(laid=True, packages=newer)
    assert slugs(slurm.check(running.crew())) == []


def test_undo_does_not_stop_a_cluster_that_has_jobs(running: Slurm) -> None:
    running.jobs[7] = "PENDING"
    assert slugs(slurm.before_undo(running.crew(), ())) == ["jobs-alive"]
    with pytest.raises(JobsAliveError, match="7"):
        slurm.undo(running.crew(), ())
    assert running.log == []


def test_a_job_of_a_state_that_nobody_knows_is_alive(running: Slurm) -> None:
    running.jobs[7] = "REQUEUE_HOLD"
    assert slugs(slurm.before_undo(running.crew(), ())) == ["jobs-alive"]


def test_undo_of_one_head_asks_for_jobs_too(running: Slurm) -> None:
    running.jobs[7] = "RUNNING"
    with pytest.raises(JobsAliveError):
        slurm.undo(running.crew("head3", witnesses=["head1", "head2"]), ())
    assert running.log == []


def test_silence_is_not_an_empty_queue(running: Slurm) -> None:
    dark(running)
    assert slugs(slurm.before_undo(running.crew(), ())) == ["jobs-unknown"]
    with pytest.raises(JobsUnknownError):
        slurm.undo(running.crew(), ())
    assert running.log == []


def dark(running: Slurm) -> None:
    """Let no controller answer."""
    for each in running.heads.values():
        each.unit[CONTROLLER] = replace(each.unit[CONTROLLER], active="failed")


@pytest.mark.parametrize("mounted", [True, False])
def test_a_cluster_that_never_had_a_job_is_undone(running: Slurm, *, mounted: bool) -> None:
    """Where that can be seen."""
    dark(running)
    running.written, running.mounted = False, mounted
    assert slugs(slurm.before_undo(running.crew(), ())) == ([] if mounted else ["jobs-unknown"])


def test_a_controller_that_runs_may_have_jobs_that_it_did_not_write_down(running: Slurm) -> None:
    running.written = False
    for each in running.heads.values():
        each.unit[MUNGE] = replace(each.unit[MUNGE], active="failed")
    assert slugs(slurm.before_undo(running.crew(), ())) == ["jobs-unknown"]


def test_undo_gives_up_jobs_that_were_named(running: Slurm) -> None:
    running.jobs[7], running.state_of = "RUNNING", "lab"
    found = slurm.before_undo(running.crew(), [QUEUE])
    assert stand(found, Kind.IRREVERSIBLE) == [
        ("", "cancel 1 jobs"),
        ("head1", "remove /mnt/gluster/slurm"),
    ]
    slurm.undo(running.crew(), [QUEUE])
    assert running.jobs[7] == "CANCELLED"
    assert running.removed == ["/mnt/gluster/slurm"]
    assert not any(running.up(each) for each in (MUNGE, DATABASE, FENCE, CONTROLLER, NODE))


def test_undo_removes_what_was_laid_and_not_what_is_wanted_now(running: Slurm) -> None:
    running.laid_conf = "ClusterName=old\nStateSaveLocation=/mnt/old/slurm\n"
    running.state_of, running.mounts = "old", {"/mnt/old"}
    slurm.undo(running.crew(), [QUEUE])
    assert running.removed == ["/mnt/old/slurm"]


@pytest.mark.parametrize("place", ["/home", "/mnt/gluster/../../etc", "slurm"])
def test_undo_removes_no_folder_of_another_kind(running: Slurm, place: str) -> None:
    running.laid_conf = f"ClusterName=lab\nStateSaveLocation={place}\n"
    running.state_of, running.mounts = "lab", {str(PurePosixPath(place).parent)}
    refuses(running)


def refuses(running: Slurm) -> None:
    """Let neither the plan nor the act itself agree to remove the state."""
    assert slugs(slurm.before_undo(running.crew(), [QUEUE])) == ["state-other-cluster"]
    with pytest.raises(OtherStateError):
        slurm.undo(running.crew(), [QUEUE])
    assert (running.removed, running.log) == ([], [])


def test_undo_removes_no_state_of_another_cluster(running: Slurm) -> None:
    running.state_of = "other"
    refuses(running)


def test_undo_removes_nothing_behind_a_link(running: Slurm) -> None:
    running.state_of, running.linked = "lab", True
    refuses(running)


def test_undo_removes_no_folder_that_something_is_mounted_at(running: Slurm) -> None:
    running.state_of, running.mounts = "lab", {"/mnt/gluster", "/mnt/gluster/slurm"}
    refuses(running)


def test_undo_removes_nothing_that_bears_no_name(running: Slurm) -> None:
    running.stray = "/mnt/gluster/slurm/thesis.tex"
    refuses(running)
    running.stray = ""
    slurm.undo(running.crew(), [QUEUE])
    assert running.removed == ["/mnt/gluster/slurm"]


def test_undo_removes_no_state_that_cannot_be_read(running: Slurm) -> None:
    running.unreadable = True
    with pytest.raises(PhaseError, match="cannot be looked at"):
        slurm.undo(running.crew(), [QUEUE])
    assert running.removed == []


def test_what_became_another_meanwhile_stays(running: Slurm) -> None:
    """It is looked at once more when all has stopped."""
    running.state_of = "lab"
    crew = running.crew()
    slurm_undo.give_up(crew, [QUEUE])
    running.state_of = "other"
    with pytest.raises(OtherStateError):
        slurm_undo.forget(crew)
    assert running.removed == []


def test_undo_leaves_a_state_whose_volume_is_not_there(running: Slurm) -> None:
    dark(running)
    running.mounted = False
    found = slurm.before_undo(running.crew(), [QUEUE])
    assert [head for head, _ in stand(found, Kind.IRREVERSIBLE)] == [""]
    slurm.undo(running.crew(), [QUEUE])
    assert running.removed == []
    assert not running.up(NODE)


def test_undo_tells_what_it_stops(running: Slurm) -> None:
    told: list[tuple[str, str]] = []
    crew = replace(running.crew(), observe=lambda head, text: told.append((head, text)))
    slurm.undo(crew, ())
    assert ("head2", f"stop {DATABASE}") in told
    assert ("head3", f"stop {DATABASE}") not in told


def test_undo_keeps_the_queue(running: Slurm) -> None:
    running.jobs[7] = "COMPLETED"
    assert slurm.before_undo(running.crew(), ()) == []
    slurm.undo(running.crew(), ())
    assert running.removed == []
    assert not running.up(CONTROLLER)
