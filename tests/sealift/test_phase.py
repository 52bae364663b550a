"""`sealift phase …` as it is typed and read; the heads are fakes."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from deploy.phases.course import Stage
from deploy.phases.phase import Finding, Kind
from deploy.phases.plan import Doing, PhasePlan, Plan
from deploy.phases.run import Done
from deploy.phases.state import FileState
from deploy.release import PhaseOf
from deploy.ssh_errors import UnreachableError
from sealift import cluster, fleet, phase_view
from sealift.__main__ import main
from tests.deploy.phases.grounds import HEADS, Scene, change, refusal, scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.phases.survey import Ground
    from deploy.phases.wish import Wish
    from deploy.release import Release

HOSTS = ["--host", "head[1-3]"]


@pytest.fixture(name="found")
def _found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Give a site whose newest release brings two phases, and whose heads are fakes."""
    hosts = {name: {"address": f"192.0.2.{n}"} for n, name in enumerate(HEADS, start=1)}
    (tmp_path / "sealift.yaml").write_text(json.dumps({"hosts": hosts}))
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    found = scene("storage", "redis", irreversible=("shared_data",))
    release = replace(found.wish().release, phases=_written(tmp_path, found))
    monkeypatch.setattr(fleet, "release", lambda *_: release)

    @contextmanager
    def ground(_site: object, wish: Wish, _action: str, tell: Any) -> Iterator[tuple[Ground, Any]]:
        base = found.ground(*wish.phases, heads=wish.heads)
        yield replace(base, tell=tell), Company()

    monkeypatch.setattr(cluster, "ground", ground)
    return found


class Company:
    absent = ()


def _written(root: Path, found: Scene) -> dict[str, PhaseOf]:
    """Write the configurations of a scene where a release can name them."""
    phases: dict[str, PhaseOf] = {}
    for number, (name, hosts) in enumerate(found.configurations.items()):
        paths = {host: root / f"{name}-{host}" for host in hosts}
        for host, path in paths.items():
            path.mkdir()
            peers = [
                {"name": each.name, "address": each.address, "priority": each.priority}
                for each in hosts[host].hosts
            ]
            facts = {"format": 1, "phase": name, "number": number, "host": host, "hosts": peers}
            facts |= {"after": list(hosts[host].after), "parameters": {}}
            facts |= {"irreversible": list(hosts[host].irreversible)}
            (path / "phase.json").write_text(json.dumps(facts))
        phases[name] = PhaseOf(number, paths)
    return phases


def test_the_list_names_numbers_and_the_unused(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    del found
    assert main(["phase", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "0 storage          head[1-3]",
        "1 redis            head[1-3]",
        "7 (unused)",
    ]


def test_seven_is_unused_and_says_so(found: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phase", "run", "7", *HOSTS, "--yes"]) == 0
    assert "phase 7 is there, and unused" in capsys.readouterr().err
    assert not found.log("head1")


def test_a_phase_that_there_is_none_of(found: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    del found
    assert main(["phase", "plan", "storag", *HOSTS]) == 2
    assert "did you mean 'storage'?" in capsys.readouterr().err


def test_a_release_without_phases_says_what_to_write(
    found: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare: Release = replace(found.wish().release, phases={})
    monkeypatch.setattr(fleet, "release", lambda *_: bare)
    assert main(["phase", "run", "0-4", *HOSTS, "--yes"]) == 2
    said = capsys.readouterr().err
    assert "[no-phases]" in said
    assert "cluster:" in said


def test_heads_that_are_in_no_phase(found: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    del found
    assert main(["phase", "run", "all", "--host", "head9", "--yes"]) == 2
    assert "no host 'head9'" in capsys.readouterr().err


def test_nothing_is_everything(found: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phase", "run", "all", "--yes"]) == 2
    assert "which heads are meant is not said" in capsys.readouterr().err
    assert not found.log("head1")


def test_nobody_is_there_to_agree(found: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phase", "run", "all", *HOSTS]) == 2
    assert "nobody is here to confirm" in capsys.readouterr().err
    assert not found.log("head1")


def test_a_run_shows_its_plan_and_what_it_did(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phase", "run", "all", *HOSTS, "--yes"]) == 0
    said = capsys.readouterr().err
    assert "phase run on head[1-3]" in said
    assert "storage          all        verify" in said
    assert "    storage works" in said
    assert "verified redis" in found.log("head3")
    assert main(["phase", "run", "all", *HOSTS, "--yes"]) == 0
    assert "nothing was changed" in capsys.readouterr().err


def test_a_dry_run_and_a_plan_change_nothing(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    found.phases["redis"].findings = [change("be the first primary", "head1")]
    assert main(["phase", "run", "all", *HOSTS, "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert main(["phase", "plan", "all", *HOSTS]) == 0
    assert capsys.readouterr().out == dry
    assert "      be the first primary  (head1)" in dry
    assert not found.log("head1")


def test_a_plan_that_is_refused_says_so_by_its_exit_code(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    found.phases["redis"].findings = [refusal("port 6379 is taken", "head2", "port-taken")]
    assert main(["phase", "plan", "all", *HOSTS]) == 6
    assert "refused: port 6379 is taken  (head2) [port-taken]" in capsys.readouterr().out
    assert main(["phase", "run", "all", *HOSTS, "--yes"]) == 6
    assert "[port-taken]" in capsys.readouterr().err
    assert not found.log("head1")


def test_a_run_that_fails_says_where_things_stand(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    found.phases["redis"].fails.add("apply")
    assert main(["phase", "run", "all", *HOSTS, "--yes"]) == 4
    said = capsys.readouterr().err
    assert "| storage: head[1-3] verified" in said
    assert "sealift phase run 0-1 --host head[1-3]" in said


def test_json_tells_the_plan_the_way_and_the_end(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    del found
    assert main(["phase", "run", "storage", *HOSTS, "--yes", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["event"] for each in records} == {"plan", "phase", "done"}
    assert records[-1]["phases"]["storage"]["state"] == "verified"
    assert records[-1]["phases"]["storage"]["tried"] == ["storage works"]
    assert records[-1]["changed"] is True


def test_verify_tells_what_was_tried(found: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    main(["phase", "run", "all", *HOSTS, "--yes"])
    capsys.readouterr()
    assert main(["phase", "verify", "all", *HOSTS]) == 0
    assert "    redis works" in capsys.readouterr().out
    found.phases["redis"].fails.add("verify")
    assert main(["phase", "verify", "all", *HOSTS]) == 7
    assert "[phases-unwell]" in capsys.readouterr().err


def test_undo_keeps_data_unless_it_is_named(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["phase", "run", "all", *HOSTS, "--yes"])
    capsys.readouterr()
    assert main(["phase", "undo", "storage", *HOSTS, "--yes"]) == 6
    assert "[phase-needed]" in capsys.readouterr().err
    assert main(["phase", "undo", "all", *HOSTS, "--yes"]) == 0
    said = capsys.readouterr().err
    assert "note: keep shared_data" in said
    assert "undone: redis, storage" in said
    assert found.log("head2")[-2:] == ["unlay redis", "unlay storage"]


def test_a_dry_undo_shows_what_would_go_and_changes_nothing(
    found: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["phase", "run", "all", *HOSTS, "--yes"])
    for member in found.members.values():
        member.told.clear()
    capsys.readouterr()
    found.phases["storage"].parting = [Finding("head1", "remove /bricks", Kind.IRREVERSIBLE)]
    destroy = ["--yes-destroy", "shared_data"]
    assert main(["phase", "undo", "all", *HOSTS, *destroy, "--dry-run"]) == 0
    assert "FOR GOOD: remove /bricks  (head1)" in capsys.readouterr().out
    assert main(["phase", "undo", "storage", *HOSTS, "--dry-run"]) == 6
    assert not any(each.told for each in found.members.values())


def test_nothing_that_is_left_is_said(found: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phase", "plan", "0", "--skip", "0", *HOSTS]) == 2
    assert "no phase is left" in capsys.readouterr().err
    assert main(["phase", "plan", "1-0", *HOSTS]) == 2
    assert "did you mean 0-1?" in capsys.readouterr().err
    del found


def test_the_list_tells_of_the_heads_that_answer(
    found: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {"head2": UnreachableError("head2 does not answer", where="head2")}

    @contextmanager
    def reaching(*_: object) -> Iterator[tuple[object, ...]]:
        yield ()

    monkeypatch.setattr(fleet, "reaching", reaching)
    monkeypatch.setattr(fleet, "gather", lambda *_: ({"head1": {}, "head3": {}}, lost))
    assert main(["phase", "list", *HOSTS]) == 6
    said = capsys.readouterr()
    assert "head[1,3]: not laid; head2: does not answer" in said.out
    assert "[unreachable]" in said.err
    del found


def test_who_is_missing_is_not_as_it_should_be() -> None:
    done = Done(replace(plan(), missing=("head2",), heads=("head1", "head3")), {}, {}, {}, {})
    stages = {"redis": Stage.UNCHANGED}
    last = list(phase_view.ended(replace(done, stages=stages), 2.0))[-1]
    assert last.startswith("nothing was changed: head[1,3] as it should be, head2 missing")


def test_only_the_heads_that_are_named_are_changed(found: Scene) -> None:
    assert main(["phase", "run", "storage", "--host", "head2", "--yes"]) == 0
    assert "lay storage" in found.log("head2")
    assert not found.log("head1")


def plan(**facts: Any) -> Plan:
    said: dict[str, Any] = {
        "name": "redis",
        "number": 3,
        "after": (),
        "members": HEADS,
        "witnesses": (),
        "missing": (),
        "findings": (),
        "doing": Doing.RUN,
    }
    return Plan("run", "/x/00000000-release", HEADS, (), (PhasePlan(**(said | facts)),))


def test_what_is_said_of_several_heads_stands_once() -> None:
    both = tuple(Finding(head, "write /etc/x", Kind.CHANGE, "restarts it") for head in HEADS[:2])
    lines = list(phase_view.lines(plan(findings=both)))
    assert lines[-2:] == ["      write /etc/x  (head[1-2])", "        → restarts it"]


def test_the_text_of_files_is_shown_if_asked_for() -> None:
    files = {head: (FileState("/etc/x", "changed", diff="-a\n+b"),) for head in HEADS}
    assert "        +b" in list(phase_view.lines(plan(files=files), diff=True))
    assert "        +b" not in list(phase_view.lines(plan(files=files)))
    record = phase_view.record(plan(files=files), diff=True)
    assert record["phases"][0]["files"]["head1"][0]["diff"] == "-a\n+b"


def test_what_a_head_says_steers_no_terminal() -> None:
    findings = (Finding("head1", "\x1b[2Jport\n6379", Kind.REFUSAL),)
    text = "\n".join(phase_view.lines(plan(findings=findings)))
    assert "\x1b" not in text
    assert "port 6379" in text


def test_the_end_tells_what_packages_took() -> None:
    done = Done(
        plan(),
        {"redis": Stage.VERIFIED},
        {"redis": ("it answers",)},
        {"redis": 9.0},
        {"redis": 4.0},
    )
    lines = list(phase_view.ended(done, 12.0))
    assert lines[0] == "3 redis            verified in 9.0 s, 4.0 s of it packages"
    assert lines[1] == "    it answers"
    assert phase_view.ended_record(done, 12.0)["phases"]["redis"]["dpkg"] == 4.0
