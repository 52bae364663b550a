from __future__ import annotations

import hashlib

import pytest

from store.errors import InputError
from store.info import PathInfo
from store.path import NotAStorePathError, StorePath, fixed_path

DIGEST = "0123456789abcdfghijklmnpqrsvwxyz"
PATH = StorePath(DIGEST, "hello-1.0")


def test_parse_and_str_are_inverses() -> None:
    assert StorePath.parse(str(PATH)) == PATH


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGEST,
        f"{DIGEST}-",
        f"{DIGEST}-.hidden",
        f"{DIGEST[1:]}-short",
        f"{DIGEST.upper()}-upper",
        f"e{DIGEST[1:]}-letter",
        f"{DIGEST}-a/b",
        f"/{DIGEST}-a",
        f"{DIGEST}-a\n",
        f"{DIGEST}_a",
    ],
)
def test_what_is_no_store_path_is_refused(text: str) -> None:
    with pytest.raises(NotAStorePathError):
        StorePath.parse(text)


def test_everything_enters_the_address() -> None:
    nar = hashlib.sha256(b"nar").digest()
    other = StorePath(DIGEST[::-1], "other")

    def address(
        store_dir: str = "/s", name: str = "n", references: tuple[StorePath, ...] = ()
    ) -> str:
        return fixed_path(
            store_dir=store_dir, name=name, nar_sha256=nar, references=references
        ).digest

    addresses = {
        address(),
        address(store_dir="/t"),
        address(name="m"),
        address(references=(PATH,)),
        address(references=(PATH, other)),
    }
    assert len(addresses) == 5
    assert address(references=(PATH, other)) == address(references=(other, PATH, other))


def test_an_illegal_name_has_no_address() -> None:
    with pytest.raises(InputError):
        fixed_path(store_dir="/s", name="a/b", nar_sha256=bytes(32), references=())


def test_info_round_trip() -> None:
    info = PathInfo(PATH, "ab" * 32, 120, (StorePath(DIGEST[::-1], "x"),), 5.5)
    assert PathInfo.from_json(info.to_json()) == info


@pytest.mark.parametrize(
    "change",
    [
        {"path": "nothing"},
        {"path": None},
        {"nar_sha256": "ab"},
        {"nar_sha256": "zz" * 32},
        {"nar_size": 0},
        {"nar_size": "many"},
        {"references": [f"{DIGEST}-b", f"{DIGEST}-a"]},
        {"references": [f"{DIGEST}-a", f"{DIGEST}-a"]},
        {"references": 5},
        {"registered": None},
    ],
)
def test_info_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        PathInfo.from_json(PathInfo(PATH, "ab" * 32, 120).to_json() | change)


def test_info_that_lacks_something_is_refused() -> None:
    data = PathInfo(PATH, "ab" * 32, 120).to_json()
    for key in data:
        with pytest.raises(InputError):
            PathInfo.from_json({other: data[other] for other in data if other != key})
