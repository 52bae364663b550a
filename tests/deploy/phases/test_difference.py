from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from deploy.phases.difference import compare
from deploy.release import PhaseOf, Release
from sealift.diff_view import lines, phase_record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="make")
def _make(tmp_path: Path) -> Any:
    count = 0

    def make(**files: str) -> Path:
        nonlocal count
        count += 1
        path = tmp_path / str(count)
        version, timeout = files.pop("version", "1"), files.pop("timeout", "5")
        for name, text in files.items():
            place = path / "root" / "etc" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        facts = {
            "format": 1,
            "phase": "redis",
            "number": 3,
            "host": "head1",
            "hosts": [{"name": "head1", "address": "10.0.0.1", "priority": 0}],
            "parameters": {"timeout": timeout},
            "packages": {"set": "/x/set", "names": {"redis": version}},
            "files": [{"path": f"/etc/{n}", "source": f"root/etc/{n}"} for n in files],
        }
        (path / "phase.json").write_text(json.dumps(facts))
        return path

    return make


def release(path: Path | None, root: Path) -> Release:
    phases = {} if path is None else {"redis": PhaseOf(3, {"head1": path})}
    return Release(root, {}, {}, None, phases=phases)


def test_files_and_packages_that_differ(make: Any, tmp_path: Path) -> None:
    old = make(a="1\n", b="same\n", c="gone\n")
    new = make(a="2\n", b="same\n", d="new\n", version="2")
    (found,) = compare(release(old, tmp_path), release(new, tmp_path), "head1")
    assert found.change == "changed"
    assert [(each.path, each.change) for each in found.files] == [
        ("/etc/a", "changed"),
        ("/etc/c", "removed"),
        ("/etc/d", "added"),
    ]
    assert "-1\n+2" in found.files[0].diff
    assert found.packages == {"redis": ("1", "2")}
    assert found.parameters == {}


def test_parameters_that_no_file_holds(make: Any, tmp_path: Path) -> None:
    old, new = make(a="1\n"), make(a="1\n", timeout="7")
    (found,) = compare(release(old, tmp_path), release(new, tmp_path), "head1")
    assert found.files == ()
    assert found.parameters == {"timeout": ("5", "7")}
    assert '  setting timeout: "5" → "7"' in list(
        lines(
            {
                "services": [],
                "frontends": [],
                "packages": [],
                "inside": [],
                "phases": [phase_record(found)],
                "size_before": 0,
                "size_after": 0,
            }
        )
    )


def test_what_is_the_same_is_not_told(make: Any, tmp_path: Path) -> None:
    path = make(a="1\n")
    assert compare(release(path, tmp_path), release(path, tmp_path), "head1") == ()
    assert compare(release(path, tmp_path), release(make(a="2"), tmp_path), "head2") == ()


def test_a_phase_that_comes_or_goes(make: Any, tmp_path: Path) -> None:
    path = make(a="1\n")
    (came,) = compare(release(None, tmp_path), release(path, tmp_path), "head1")
    assert (came.change, came.files[0].change) == ("added", "added")
    (gone,) = compare(release(path, tmp_path), release(None, tmp_path), "head1")
    assert (gone.change, gone.files[0].change) == ("removed", "removed")
