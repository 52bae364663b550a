"""What Slurm 22.05 says, as values; who does what; which accounts are to be added."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.phases import slurm_answers as answers
from deploy.phases.errors import PhaseError
from deploy.phases.slurm_accounts import lacking
from deploy.phases.slurm_roles import MUNGE, ORDER, Roles, touched
from deploy.phases.state import FileState, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.configuration import Configuration

NAMES = st.text("abcxyz019-", min_size=1, max_size=8)
PING = """\
Slurmctld(primary) at head1 is DOWN
Slurmctld(backup) at head2 is UP
*****************************************
** RESTORE SLURMCTLD DAEMON TO SERVICE **
*****************************************
"""


def node(**said: Any) -> answers.Node:
    record = {"name": "head1", "state": "idle", "state_flags": [], "reason": "", **said}
    return answers.nodes(json.dumps({"nodes": [record]}))[0]


def test_reads_which_controllers_answer() -> None:
    assert answers.controllers(PING) == {"head1": False, "head2": True}
    assert answers.controllers("slurm_load_ctl_conf error: Unable to contact controller") == {}


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({}, ""),
        ({"state": "mixed"}, ""),
        ({"state": "unknown", "state_flags": ["NOT_RESPONDING"]}, "unknown not_responding"),
        ({"state": "idle", "state_flags": ["NOT_RESPONDING"]}, "idle not_responding"),
        ({"state": "down", "reason": "Low CPUs"}, "down (Low CPUs)"),
        ({"state": "down", "state_flags": ["DRAIN"], "reason": "new disk"}, ""),
    ],
)
def test_says_why_a_node_takes_no_jobs(said: dict[str, Any], fault: str) -> None:
    assert node(**said).fault == (f"head1 is {fault}" if fault else "")


def test_a_drained_node_is_shut_and_has_no_place_for_a_job() -> None:
    found = node(state_flags=["DRAIN"], reason="new disk")
    assert found.shut
    assert not found.idle


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETED", "CANCELLED"])
def test_reads_jobs_in_the_words_of_two_versions(state: str) -> None:
    for said in (state, [state]):
        (job,) = answers.jobs(json.dumps({"jobs": [{"job_id": 7, "name": "x", "job_state": said}]}))
        assert (job.number, job.state) == (7, state)
        assert job.alive is (state in ("PENDING", "RUNNING"))


@pytest.mark.parametrize("said", ["", "{}", "[]", '{"nodes": 1}', '{"nodes": ["x"]}', "slurm: no"])
def test_refuses_what_is_no_answer(said: str) -> None:
    with pytest.raises(PhaseError, match="cannot be read"):
        answers.nodes(said)


def test_reads_what_a_machine_has() -> None:
    text = "MemTotal:       24684544 kB\nMemFree: 1 kB\n"
    assert answers.machine("2\n", text) == answers.Machine(2, 24106)
    with pytest.raises(PhaseError):
        answers.machine("", text)


def test_reads_settings_and_the_first_of_equal_ones() -> None:
    text = "# ClusterName=not\nClusterName=lab\nSlurmctldHost=a(1)\nSlurmctldHost=b(2)\n"
    assert answers.settings(text) == {"ClusterName": "lab", "SlurmctldHost": "a(1)"}


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4, unique=True), max_size=4))
def test_what_was_added_is_not_lacking(wanted: dict[str, list[str]]) -> None:
    """Carried out in their order, the commands make all that is wanted, and then nothing lacks."""
    clusters: list[Sequence[str]] = []
    rows: list[Sequence[str]] = []
    for command in lacking("lab", wanted, clusters, rows).commands():
        what, who = command[4:6]
        if what == "cluster":
            clusters.append((who,))
        elif what == "account":
            assert clusters
            rows.append((who, ""))
        else:
            account = next(each[8:] for each in command if each.startswith("account="))
            assert (account, "") in rows
            rows.append((account, who))
    assert not lacking("lab", wanted, clusters, rows)


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), st.integers(1, 9), st.data())
def test_every_role_is_with_hosts_of_the_phase(
    hosts: list[str], count: int, data: st.DataObject
) -> None:
    nodes = data.draw(st.lists(st.sampled_from(hosts), unique=True))
    roles = Roles.among(hosts, {"controllers": count, "nodes": nodes})
    assert roles.controllers == tuple(hosts[:count])
    assert roles.databases == roles.controllers[:2]
    assert set(roles.nodes) == set(nodes)


def test_a_package_touches_all_units_and_a_file_its_own() -> None:
    file = SimpleNamespace(path="/etc/munge/munge.key", units=(MUNGE,))
    wanted = cast("Configuration", SimpleNamespace(files=(file,)))
    changed = FileState("/etc/munge/munge.key", "changed")
    assert touched(wanted, State(files=(changed,))) == (MUNGE,)
    assert touched(wanted, State(packages={"slurmd": "1 → 2"})) == ORDER
    assert touched(wanted, State()) == ()
