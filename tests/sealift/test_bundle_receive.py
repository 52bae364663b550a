"""`receive`, `verify` and `repair-request` as an operator types them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from deploy.bundle import numbers
from store.local import LocalStore
from tests.deploy.bundles import put
from tests.sealift.gap import laid, run
from tests.sealift.test_bundle import BILL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sealift.gap import Gap


@pytest.fixture
def gap(tmp_path: Path) -> Gap:
    return laid(tmp_path.resolve())


def crossing(gap: Gap, line: bytes = b"one") -> Path:
    """Build nothing, and bundle it."""
    out = gap.root / "site.sealift"
    said = json.dumps({"format": 1, "services": {}, "frontends": {}}).encode()
    with gap.turn(gap.builder):
        with LocalStore.open(gap.root / "made" / "store") as store:
            library = put(store, "library", {b"l.py": b"l" * 5000})
            tree = {b"release.json": said, b"sbom.cdx.json": BILL, b"app.py": line}
            store.add_root("release", put(store, "release", tree, [library]))
        run(gap.builder, "bundle", "-o", str(out), "--force")
    return out


def received(gap: Gap, file: Path, *words: str, status: int = 0) -> Any:
    with gap.turn(gap.site):
        done = gap.site.run("receive", "--json", str(file), *words)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_came_is_told_and_written_down(gap: Gap) -> None:
    file = crossing(gap)
    said = received(gap, file)
    assert (said["site"], said["number"], said["paths"], said["allowed"]) == ("hpc1", 1, 2, [])
    assert [each.split()[0] for each in said["signers"]] == ["release@builder"]
    var = gap.site.root / "made" / "var"
    arrival = numbers.load(var, "hpc1").arrivals[0]
    assert (arrival.number, arrival.digest, arrival.root) == (1, said["digest"], "release")
    assert (var / "received" / "hpc1-1" / "sbom.json").is_file()
    assert "here already" in gap.receive(file)


def test_older_ones_are_refused_and_on_demand_taken_and_written_down(gap: Gap) -> None:
    old, new = gap.bundle(1), gap.bundle(2)
    gap.receive(new)
    said = received(gap, old, status=6)
    assert (said["error"], said["expected"], said["got"]) == (
        "bundle-older",
        "a number above 2",
        "1",
    )
    assert received(gap, old, "--allow-older")["allowed"] == ["older"]
    log = numbers.load(gap.site.root / "made" / "var", "hpc1")
    assert [(each.number, each.allowed) for each in log.arrivals] == [(2, ()), (1, ("older",))]
    assert log.highest == 2


def test_a_transfer_host_needs_no_recipes(gap: Gap) -> None:
    file = crossing(gap)
    gap.receive(file)
    (gap.site.root / "recipes").rmdir()
    with gap.turn(gap.site):
        run(gap.site, "store", "verify")
        run(gap.site, "store", "roots")
        assert run(gap.site, "sbom", "release").startswith("{")
        run(gap.site, "list")
        run(gap.site, "gc")
        assert "nothing is deployed" in gap.site.run("status").stdout
        assert "release" in run(gap.site, "store", "roots")
        assert "did you mean" not in run(gap.site, "sbom", "relaese", status=2)


def test_damage_is_listed_mended_and_received(gap: Gap) -> None:
    file = crossing(gap)
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)
    asked, mended = gap.root / "list", gap.root / "mended"
    with gap.turn(gap.site):
        assert "1 damaged" in run(gap.site, "verify", str(file), status=3)
        assert "repair-request" in run(gap.site, "receive", str(file), status=3)
        for way in (file, gap.root / "sealift.yaml"):
            way.touch()
            before = way.read_bytes()
            said = run(gap.site, "repair-request", str(file), "-o", str(way), status=2)
            assert "that is no list of damaged pieces" in said
            assert way.read_bytes() == before
        run(gap.site, "repair-request", str(file), "-o", str(asked))
        run(gap.site, "repair-request", str(file), "-o", str(asked))
    with gap.turn(gap.builder):
        run(gap.builder, "bundle", "--repair", str(asked), "-o", str(mended))
        words = ("bundle", "--repair", str(asked), "-o", "x", "--number", "9")
        assert "--number does not go with --repair" in run(gap.builder, *words, status=2)
    with gap.turn(gap.site):
        assert "were taken in" in run(gap.site, "receive", str(mended), status=4)
    assert received(gap, file)["paths"] == 2
    with gap.turn(gap.site):
        run(gap.site, "store", "verify")


def test_what_is_in_order_needs_no_list(gap: Gap) -> None:
    file = crossing(gap)
    with gap.turn(gap.site):
        run(gap.site, "verify", str(file))
        assert "nothing is damaged" in run(gap.site, "repair-request", str(file), "-o", "list")
    assert not (gap.site.root / "list").exists()
