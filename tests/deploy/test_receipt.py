"""Receipts: their bytes, what is refused of them, and what a store holds for good."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy import holding, receipt_file, receipt_json
from deploy.errors import BadReceiptError
from deploy.profile import Generation, Status
from deploy.receipt import Machine, Packages, Receipt, System
from deploy.receipt_file import LARGEST, load, seal
from deploy.receipt_json import dump, parse
from store.frames import compress, decompress
from store.local import LocalStore
from tests.store.trees import added, lay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store.path import StorePath

SIGNATURE = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"
SYSTEM = System("Debian GNU/Linux 12 (bookworm)", "x86_64", "2.36", 252, ("cx16", "sse4_2"), 12345)
STATUS = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21.22\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    with LocalStore.open(tmp_path.resolve() / "site" / "store") as opened:
        yield opened


def release(store: LocalStore, line: bytes = b"1") -> StorePath:
    wheel = added(store, {b"w.py": b"wheel"}, "wheel-1.0").path
    with store.temporary() as place:
        lay(place / "tree", {b"app": line})
        return store.add(place / "tree", "release", references=[wheel], durable=False).path


def told(store: LocalStore) -> Receipt:
    held = holding.look(store)
    paths = tuple(info.path for info in held.infos)
    top = held.roots[0][1]
    made = Generation(3, store.real(top), 1_766_000_000, Status.GOOD, "", current=True)
    here = Machine("transfer", SYSTEM, paths, (), Packages("Debian", STATUS))
    head = Machine("head1", SYSTEM, paths, (made,), Packages("Debian", STATUS))
    old = Machine("head2", None, None)
    return Receipt(
        site="hpc1",
        store_dir=str(store.store_dir),
        created=1_766_000_000,
        number=12,
        roots=held.roots,
        infos=held.infos,
        machines=(here, head, old),
    )


@pytest.fixture
def found(store: LocalStore) -> Receipt:
    store.add_root("release", release(store))
    return told(store)


def signed(_: bytes) -> Sequence[bytes]:
    return [SIGNATURE, SIGNATURE]


def agree(_body: bytes, _signatures: Sequence[bytes]) -> None:
    pass


def spelled(found: Receipt, **changes: object) -> bytes:
    """Return the body of a receipt that says something else in places."""
    text = json.loads(decompress(dump(found)[8:], int.from_bytes(dump(found)[:8])))
    data = json.dumps({**text, **changes}).encode()
    return len(data).to_bytes(8, "big") + compress(data)


def test_a_receipt_is_read_as_it_was_written(found: Receipt, tmp_path: Path) -> None:
    file = tmp_path / "hpc1.receipt"
    file.write_bytes(bytes(seal(found, signed)))
    heard: list[tuple[bytes, Sequence[bytes]]] = []
    again = load(file, lambda body, signatures: heard.append((body, signatures)))
    assert again == found
    assert len(again.digest) == 64
    assert heard == [(dump(found), (SIGNATURE, SIGNATURE))]
    assert receipt_file.is_receipt(file)
    assert not receipt_file.is_receipt(Path(__file__))


def test_nothing_is_parsed_that_nobody_agreed_to(found: Receipt, tmp_path: Path) -> None:
    file = tmp_path / "hpc1.receipt"
    file.write_bytes(bytes(replace(seal(found, signed), body=b"rubbish")))

    def refuse(body: bytes, signatures: Sequence[bytes]) -> None:
        raise PermissionError(body, signatures)

    with pytest.raises(PermissionError):
        load(file, refuse)
    with pytest.raises(BadReceiptError, match="makes no sense") as caught:
        load(file, agree)
    assert caught.value.where == str(file)


def test_every_flipped_bit_is_other_bytes_to_the_check(found: Receipt) -> None:
    """So that no part of the file is left out of what was signed but the signatures."""
    data = bytes(seal(found, signed))
    body, magic = dump(found), len(b"sealift-receipt 1\n")
    for at in range(0, len(data), 7):
        bent = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if at < magic:
            with pytest.raises(BadReceiptError):
                receipt_file.unseal(bent)
            continue
        again = receipt_file.unseal(bent)
        assert (again.body, again.signatures) != (body, (SIGNATURE, SIGNATURE))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"site": 7},
        {"site": "a\nb"},
        {"store_dir": "/elsewhere/store"},
        {"created": -1},
        {"number": "12"},
        {"number": 0},
        {"number": 2**53},
        {"number": 10**30},
        {"roots": [["release", 99]]},
        {"roots": [["release", -1]]},
        {"paths": [["a", "b", 1]]},
        {"paths": {}},
        {"machines": []},
        {"machines": [{"name": "x"}]},
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(found: Receipt, changes: dict[str, Any]) -> None:
    assert parse(spelled(found)) == found
    with pytest.raises(BadReceiptError):
        parse(spelled(found, **changes))


def test_a_path_must_be_what_its_contents_make(found: Receipt) -> None:
    text = receipt_json.rows(found.infos)
    text[0][1] = "0" * 64
    with pytest.raises(BadReceiptError, match="does not make its name"):
        parse(spelled(found, paths=text))


def test_a_bomb_is_refused_by_its_size(found: Receipt) -> None:
    body = (1 << 40).to_bytes(8, "big") + compress(b"0" * 1000)
    with pytest.raises(BadReceiptError, match="would be"):
        parse(body)
    with pytest.raises(BadReceiptError, match="not as large"):
        parse((20 << 20).to_bytes(8, "big") + dump(found)[8:])


def test_a_large_file_is_no_receipt(found: Receipt, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(seal(found, signed)) + bytes(LARGEST))
    with pytest.raises(BadReceiptError, match="too large"):
        load(file, agree)


def test_a_receipt_that_would_be_too_large_is_not_written(found: Receipt) -> None:
    noise = Packages("Debian", os.urandom(LARGEST).hex())
    many = replace(found, machines=(replace(found.machines[0], packages=noise),))
    with pytest.raises(BadReceiptError, match="larger than"):
        seal(many, signed)


def test_it_names_nobody(found: Receipt) -> None:
    head = found.machines[1]
    made = tuple(replace(each, by="alice@console") for each in head.generations)
    named = replace(found, machines=(found.machines[0], replace(head, generations=made)))
    assert b"alice" not in decompress(dump(named)[8:], int.from_bytes(dump(named)[:8]))


def test_only_what_a_root_keeps_is_held(store: LocalStore) -> None:
    kept, garbage = release(store), release(store, b"2")
    store.add_root("received-2", kept)
    paths = [info.path for info in holding.look(store).infos]
    assert kept in paths
    assert garbage not in paths
    assert len(paths) == 2


def test_roots_stand_newest_first(store: LocalStore) -> None:
    for number, line in enumerate((b"1", b"2", b"3")):
        store.add_root(f"received-{number}", release(store, line))
        link = store.var_dir / "gcroots" / f"received-{number}"
        os.utime(link, (number, number), follow_symlinks=False)
    names = [name for name, _ in holding.look(store).roots]
    assert names == ["gcroots/received-2", "gcroots/received-1", "gcroots/received-0"]


def test_a_root_whose_closure_is_torn_holds_nothing(store: LocalStore) -> None:
    top = release(store)
    store.add_root("release", top)
    wheel = next(info.path for info in store.closure([top]) if info.path != top)
    store.real(wheel).rename(store.store_dir.parent / "lost")
    assert holding.look(store) == holding.Holding((), ())


def test_what_an_agent_tells_is_read(store: LocalStore) -> None:
    store.add_root("release", release(store))
    said = json.loads(json.dumps(holding.look(store).to_json()))
    assert holding.paths(said, str(store.store_dir)) == holding.look(store).infos
    name, sha256, size, _ = said["paths"][0]
    for wrong in (
        {},
        {"paths": [[name, sha256, size, [0]]]},
        {"paths": [[name, sha256, size, [-1]]]},
        {"paths": [[name, "no hash", size, []]]},
        {"paths": [[name, sha256, -size, []]]},
        {"paths": [["../etc", sha256, size, []]]},
        {"paths": [[name, sha256]]},
        {"paths": [None]},
    ):
        with pytest.raises(BadReceiptError):
            holding.paths(wrong, str(store.store_dir))
