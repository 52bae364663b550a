"""What is done to which service when a release follows another under systemd."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.handover import Move, Seen, Stamp, plan
from deploy.services import Phase
from deploy.units import Unit

OLD, NEW = "0" * 32, "1" * 32


def unit(name: str = "alpha", **other: object) -> Unit:
    made = Unit(
        name=name,
        instance=NEW,
        user=f"sealift-{name}",
        concurrent=True,
        socket=f"sealift-{name}.socket",
        probe=f"sealift-{name}-probe@{NEW}.socket",
        digest="text",
        socket_digest="listens",
    )
    return replace(made, **other)  # type: ignore[arg-type]


def service(name: str, instance: str) -> str:
    return f"sealift-{name}@{instance}.service"


def seen(
    name: str = "alpha",
    instance: str = NEW,
    phase: Phase = Phase.RUNNING,
    *,
    stamp: Stamp | None = Stamp("text"),  # noqa: B008 (a frozen value)
    listening: str | None = "listens",
) -> Seen:
    return Seen(
        up={name: {instance: phase}},
        stamps={} if stamp is None else {service(name, instance): stamp},
        listening={} if listening is None else {f"sealift-{name}.socket": listening},
    )


def move(wanted: Unit, found: Seen, **options: object) -> Move:
    return plan({wanted.name: wanted}, found, {}, **options).moves[wanted.name]  # type: ignore[arg-type]


def test_what_runs_as_it_should_is_left_alone() -> None:
    made = plan({"alpha": unit()}, seen(), {})
    assert made.moves == {"alpha": Move.KEEP}
    assert not any((made.changes.started, made.changes.restarted, made.changes.stopped, made.old))


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        pytest.param(Seen(), unit(), Move.BEGIN, id="nothing runs"),
        pytest.param(seen(instance=OLD), unit(), Move.BESIDE, id="another path"),
        pytest.param(seen(instance=OLD), unit(concurrent=False), Move.SWAP, id="never two"),
        pytest.param(seen(stamp=Stamp("other")), unit(), Move.AGAIN, id="another text"),
        pytest.param(seen(stamp=Stamp("text", "pin")), unit(), Move.AGAIN, id="other secrets"),
        pytest.param(seen(stamp=None), unit(), Move.AGAIN, id="nobody knows what it is"),
        pytest.param(seen(phase=Phase.FAILED), unit(), Move.AGAIN, id="it waits to be tried"),
        pytest.param(seen(listening="else"), unit(), Move.REOPEN, id="another port"),
        pytest.param(seen(listening=None), unit(), Move.REOPEN, id="the port is its own"),
        pytest.param(seen(instance=OLD, listening="else"), unit(), Move.REOPEN, id="path and port"),
        pytest.param(
            seen(listening=None), unit(socket=None, probe=None), Move.KEEP, id="no socket"
        ),
    ],
)
def test_moves(found: Seen, wanted: Unit, expected: Move) -> None:
    assert move(wanted, found) is expected


def test_the_web_server_reads_other_secrets_without_a_restart() -> None:
    found = seen("nginx", stamp=Stamp("text", "earlier certificate"))
    assert move(unit("nginx"), found) is Move.RELOAD
    assert move(unit("nginx"), seen("nginx", stamp=Stamp("other text"))) is Move.AGAIN


def test_a_web_server_that_has_loaded_something_else_is_reloaded() -> None:
    assert move(unit("nginx"), seen("nginx"), stale=True) is Move.RELOAD
    assert move(unit("nginx"), seen("nginx", instance=OLD), stale=True) is Move.BESIDE


def test_one_that_is_to_begin_anew_does() -> None:
    assert move(unit(), seen(), anew=["alpha"]) is Move.AGAIN


def test_what_is_not_wanted_ends_with_its_socket() -> None:
    made = plan({}, seen(instance=OLD), {})
    assert made.gone == ("alpha",)
    assert made.old == {"alpha": (service("alpha", OLD),)}
    assert made.closing == ("sealift-alpha.socket",)


def test_an_old_instance_that_was_left_ends_although_the_new_one_runs() -> None:
    found = Seen(
        up={"alpha": {NEW: Phase.RUNNING, OLD: Phase.RUNNING}},
        stamps={service("alpha", NEW): Stamp("text")},
        listening={"sealift-alpha.socket": "listens"},
    )
    made = plan({"alpha": unit()}, found, {})
    assert made.moves == {"alpha": Move.KEEP}
    assert made.old == {"alpha": (service("alpha", OLD),)}


def test_a_socket_that_gives_way_to_a_port_of_its_own_is_closed() -> None:
    made = plan({"alpha": unit(socket=None, probe=None, concurrent=False)}, seen(instance=OLD), {})
    assert made.moves == {"alpha": Move.SWAP}
    assert made.closing == ("sealift-alpha.socket",)


def test_a_part_leaves_all_others_alone() -> None:
    found = Seen(
        up={"alpha": {OLD: Phase.RUNNING}, "beta": {OLD: Phase.RUNNING}},
        listening={"sealift-alpha.socket": "listens", "sealift-beta.socket": "listens"},
    )
    part = plan({"alpha": unit(), "beta": unit("beta")}, found, {}).only(["beta"])
    assert set(part.units) == set(part.moves) == set(part.old) == {"beta"}
    assert part.closing == ()


def moving(*, concurrent: bool = True) -> dict[str, Unit]:
    """Return units that begin at other ports than those of `MOVING`."""
    return {"alpha": unit(ports=frozenset({2}), concurrent=concurrent)}


MOVING = Seen(
    up={"alpha": {OLD: Phase.RUNNING}, "beta": {OLD: Phase.RUNNING}},
    listening={"sealift-alpha.socket": "else", "sealift-beta.socket": "listens"},
    ports={"sealift-alpha.socket": frozenset({1}), "sealift-beta.socket": frozenset({3})},
)


def test_what_goes_elsewhere_or_goes_stays_until_the_end() -> None:
    made = plan(moving(), MOVING, {})
    assert made.moves == {"alpha": Move.REOPEN}
    assert made.first == frozenset()
    assert made.moved == ("alpha",)
    assert made.gone == ("beta",)


def test_what_holds_a_port_that_is_wanted_ends_first() -> None:
    held = {**MOVING.ports, "sealift-beta.socket": frozenset({2})}
    assert plan(moving(), replace(MOVING, ports=held), {}).first == {"beta"}
    same = {**MOVING.ports, "sealift-alpha.socket": frozenset({2})}
    assert plan(moving(), replace(MOVING, ports=same), {}).first == {"alpha"}


def test_a_port_that_nobody_knows_may_be_the_wanted_one() -> None:
    assert plan(moving(), replace(MOVING, ports={}), {}).first == {"alpha", "beta"}


def test_one_that_cannot_run_twice_ends_first() -> None:
    assert plan(moving(concurrent=False), MOVING, {}).first == {"alpha"}


def test_a_stamp_is_what_it_says() -> None:
    for stamp in (Stamp("text"), Stamp("text", "secrets")):
        assert Stamp.parse(str(stamp)) == stamp
