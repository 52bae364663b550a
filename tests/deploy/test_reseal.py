"""Sealing again on a head: what goes there and comes back, and what a head cannot pass off."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deploy import seal
from deploy.errors import BadMessageError, BadSecretError, SecretUnreadableError
from deploy.reseal import Request, answer, parse
from tests.deploy.age_keys import Pair, age_key, ssh_key

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("keys")
    found = {name: ssh_key(folder, name) for name in ("head1", "head2", "thief")}
    return {**found, "recovery": age_key(folder, "recovery")}


@pytest.fixture
def request_(keys: dict[str, Pair]) -> Request:
    sealed = {n: seal.seal(n.encode() * 9, [keys["head1"].public]) for n in ("DB", "API")}
    return Request(sealed, (keys["head1"].public, keys["head2"].public, keys["recovery"].public))


def opened(sealed: bytes, key: Pair) -> bytes:
    return seal.unseal("DB", sealed, seal.load_identities([key.file]))


def test_there_and_back(request_: Request, keys: dict[str, Pair]) -> None:
    there = Request.from_json(request_.to_json())
    assert there == request_
    back = answer(there, seal.load_identities([keys["head1"].file]))
    assert b"DBDBDB" not in back
    found = parse(back, request_)
    assert {opened(found["DB"], keys[name]) for name in ("head2", "recovery")} == {b"DB" * 9}
    assert opened(found["API"], keys["head2"]) == b"API" * 9


def test_who_cannot_read_them_seals_nothing(request_: Request, keys: dict[str, Pair]) -> None:
    with pytest.raises(SecretUnreadableError):
        answer(request_, seal.load_identities([keys["thief"].file]))


HOSTILE_REQUESTS: dict[str, Callable[[dict[str, object]], object]] = {
    "no object": lambda _: [],
    "another key": lambda said: {**said, "more": 1},
    "no keys": lambda said: {**said, "keys": []},
    "keys of another type": lambda said: {**said, "keys": [1]},
    "a key that is none": lambda said: {**said, "keys": ["ssh-ed25519 AAAA"]},
    "a name with a path": lambda said: {**said, "sealed": {"../x": "y"}},
    "values of another type": lambda said: {**said, "sealed": {"DB": 1}},
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("case", HOSTILE_REQUESTS)
def test_a_head_takes_no_other_request(request_: Request, case: str) -> None:
    said = HOSTILE_REQUESTS[case](json.loads(request_.to_json()))
    with pytest.raises((BadMessageError, BadSecretError)):
        Request.from_json(json.dumps(said).encode())
    with pytest.raises(BadMessageError):
        Request.from_json(b"\xff{")


def test_an_answer_is_to_the_question(request_: Request, keys: dict[str, Pair]) -> None:
    good = json.loads(answer(request_, seal.load_identities([keys["head1"].file])))["sealed"]
    thief = seal.seal(b"x", [*request_.keys, keys["thief"].public]).decode()
    fewer = seal.seal(b"x", request_.keys[:2]).decode()
    hidden = seal.seal(b"x", [*request_.keys, request_.keys[2]]).decode()
    for spoiled in (
        {"DB": good["DB"]},
        {**good, "MORE": good["DB"]},
        {**good, "DB": thief},
        {**good, "DB": fewer},
        {**good, "DB": hidden},
        {**good, "DB": "DBDBDBDB"},
        {},
    ):
        with pytest.raises((BadMessageError, SecretUnreadableError)):
            parse(json.dumps({"sealed": spoiled}).encode(), request_)
    assert parse(json.dumps({"sealed": good}).encode(), request_)
