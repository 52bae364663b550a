"""What `sealift diff --json` says of versions: those of each side, and what is not there."""

from __future__ import annotations

import json

from deploy.bill import Change
from deploy.diff import Diff, Package, Parts
from sealift.diff_view import record


def test_versions_of_each_side() -> None:
    found = Diff(
        packages=(Package("backend", ("",), ("",), 1), Package("numpy", ("2.0",), (), -900)),
        services=Parts(),
        frontends=Parts(),
        size_before=1,
        size_after=2,
        inside=(
            Change("PyPI", "flask", (), ("3",), ("api",)),
            Change("own", "api", ("",), ("",), ("api",)),
        ),
    )
    said = json.loads(json.dumps(record(found)))
    assert said["packages"] == [
        {"name": "backend", "before": [], "after": [], "delta": 1},
        {"name": "numpy", "before": ["2.0"], "after": None, "delta": -900},
    ]
    rows = [(row["name"], row["before"], row["after"], row["members"]) for row in said["inside"]]
    assert rows == [("flask", None, ["3"], ["api"]), ("api", [], [], ["api"])]
