"""The phases that a release carries: where each host's part lies, and which secrets there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.errors import BadReleaseError
from deploy.making import KEY_BYTES, Making, Sort, make, makings, wanted
from deploy.release import PhaseOf
from deploy.release_file import parse

if TYPE_CHECKING:
    from deploy.release import Release

PLACE = "/opt/sealift/store/00000000000000000000000000000000-phase-slurm-head1"
SLURM = {"number": 4, "hosts": {"head1": PLACE}, "secrets": {"MUNGE_KEY": "bytes"}}
STORAGE = {"number": 1, "hosts": {"head1": f"{PLACE}x"}}
SERVICE = {
    "path": PLACE,
    "port": 1,
    "cwd": PLACE,
    "command": ["/bin/x"],
    "health": {"probe": "tcp"},
    "secrets": ["MUNGE_KEY"],
}


def release(phases: Any = None, **more: Any) -> Release:
    document = {"format": 1, "services": {}, "frontends": {}, **more}
    said = document if phases is None else {**document, "phases": phases}
    return parse(json.dumps(said), Path("/opt/sealift/store/x-release"))


def test_they_are_read_in_the_order_of_their_numbers() -> None:
    found = release({"slurm": SLURM, "storage": STORAGE}).phases
    assert list(found) == ["storage", "slurm"]
    assert found["slurm"] == PhaseOf(4, {"head1": Path(PLACE)}, {"MUNGE_KEY": "bytes"})
    assert release().phases == {}


@pytest.mark.parametrize(
    "phases",
    [
        [],
        {"Slurm": SLURM},
        {"../slurm": SLURM},
        {"slurm": {**SLURM, "number": 100}},
        {"slurm": {**SLURM, "hosts": {"head1": "relative"}}},
        {"slurm": {**SLURM, "hosts": {"../head1": PLACE}}},
        {"slurm": {**SLURM, "hosts": {"head1": {"path": PLACE}}}},
        {"slurm": {**SLURM, "secrets": {"MUNGE_KEY": "key"}}},
        {"slurm": {**SLURM, "secrets": {"../KEY": "bytes"}}},
        {"slurm": {**SLURM, "more": 1}},
        {"slurm": SLURM, "other": SLURM},
        {"slurm": SLURM, "other": {**STORAGE, "secrets": {"MUNGE_KEY": "password"}}},
    ],
)
def test_what_makes_no_sense_is_refused(phases: Any) -> None:
    with pytest.raises(BadReleaseError):
        release(phases)


def test_a_secret_cannot_be_a_word_and_a_key() -> None:
    with pytest.raises(BadReleaseError, match="MUNGE_KEY is a password in one place and a key"):
        release({"slurm": SLURM}, services={"x": SERVICE})


def test_their_secrets_are_made_with_the_others() -> None:
    password = {"DB": "password", "MUNGE_KEY": "bytes"}
    found = makings(release({"slurm": {**SLURM, "secrets": password}, "storage": STORAGE}))
    assert found == (Making(Sort.VALUE, ("DB",)), Making(Sort.BYTES, ("MUNGE_KEY",)))
    missing = wanted(release({"slurm": SLURM}), (), (), replace=False)
    assert missing == (Making(Sort.BYTES, ("MUNGE_KEY",)),)
    assert wanted(release({"slurm": SLURM}), (), ("MUNGE_KEY",), replace=False) == ()


def test_a_key_is_of_random_bytes() -> None:
    one, other = (make(Making(Sort.BYTES, ("K",)), ())["K"] for _ in range(2))
    assert len(one) == len(other) == KEY_BYTES == 1024
    assert one != other
