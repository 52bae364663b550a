"""NARs against real Nix: what we write, what Nix writes, and the trees between them."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from store.hashes import nix32_encode
from store.local import LocalStore
from store.nar import DEEPEST, BadTreeError, dump, hash_tree, word
from store.restore import restore
from tests.store.trees import ODD, Tree, added, deep, lay, read, trees

if TYPE_CHECKING:
    from pathlib import Path

    from tests.store.nix import Nix

SHAPES: dict[str, Tree] = {
    "file": b"hello\n",
    "empty file": b"",
    "program": (b"#!/bin/sh\n",),
    "eight bytes": b"12345678",
    "link": "target/that/is/not",
    "link to odd bytes": os.fsdecode(b"\xff\n"),
    "empty directory": {},
    "directories only": {b"a": {b"b": {}}, b"c": {}},
    "many links": {b"l%04d" % number: "x" * 200 for number in range(2000)},
    "odd": ODD,
    "deep": deep(200),
    "order": {b"a": {b"z": b"1"}, b"a!": b"2", b"a0": b"3", b"a\xff": b"4", b"A": b"5"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tree_comes_back(tmp_path: Path, shape: str) -> None:
    lay(tmp_path / "in", SHAPES[shape])
    nar = b"".join(dump(tmp_path / "in"))
    found = restore(io.BytesIO(nar), tmp_path / "out")
    assert read(tmp_path / "out") == SHAPES[shape]
    assert found == hash_tree(tmp_path / "in") == (hashlib.sha256(nar).digest(), len(nar))


@given(tree=trees)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_comes_back(tmp_path: Path, tree: Tree) -> None:
    place = tmp_path / os.urandom(8).hex()
    place.mkdir()
    lay(place / "in", tree)
    nar = b"".join(dump(place / "in"))
    restore(io.BytesIO(nar), place / "out")
    assert read(place / "out") == tree
    assert b"".join(dump(place / "out")) == nar


@pytest.mark.nix
@pytest.mark.parametrize("shape", SHAPES)
def test_nix_writes_hashes_and_reads_the_same(tmp_path: Path, nix: Nix, shape: str) -> None:
    lay(tmp_path / "in", SHAPES[shape])
    nar = b"".join(dump(tmp_path / "in"))
    assert nix.run("nix-store", "--dump", tmp_path / "in") == nar
    spelled = nix.run("nix-hash", "--type", "sha256", tmp_path / "in").decode().strip()
    assert spelled == hash_tree(tmp_path / "in").sha256.hex()
    nix.run("nix-store", "--restore", tmp_path / "out", data=nar)
    assert read(tmp_path / "out") == SHAPES[shape]


@pytest.mark.nix
def test_nix_adds_under_the_same_path(tmp_path: Path, nix: Nix) -> None:
    """Nix and we take turns in one store directory, which enters the digest."""
    ours = {}
    with LocalStore.open(nix.store_dir) as store:
        for number, tree in enumerate(SHAPES.values()):
            lay(tmp_path / f"shape{number}", tree)
            ours[f"shape{number}"] = added(store, tree, f"shape{number}")
        for name, info in ours.items():
            theirs = nix.run("nix-store", "--add", tmp_path / name).decode().strip()
            assert theirs == str(store.real(info.path))
            hashed = nix.run("nix-store", "--query", "--hash", theirs).decode().strip()
            size = nix.run("nix-store", "--query", "--size", theirs).decode().strip()
            assert hashed == f"sha256:{nix32_encode(bytes.fromhex(info.nar_sha256))}"
            assert int(size) == info.nar_size


def test_a_size_beyond_32_bits_stands_in_the_header(tmp_path: Path) -> None:
    size = (4 << 30) + 5
    _sparse(tmp_path / "sparse", size)
    stream = dump(tmp_path / "sparse")
    first = next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert first.endswith(word(b"contents") + size.to_bytes(8, "little"))


@pytest.mark.nix
def test_nix_writes_the_same_header_for_it(tmp_path: Path, nix: Nix) -> None:
    _sparse(tmp_path / "sparse", (4 << 30) + 5)
    stream = dump(tmp_path / "sparse")
    first = next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert _head(["nix-store", "--dump", str(tmp_path / "sparse")], len(first)) == first
    assert nix.store_dir.is_dir()


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_special_files_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    place = tmp_path / "in" / "special"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    else:
        _device(place)
    for path in (tmp_path / "in", place):
        with pytest.raises(BadTreeError, match="only files"):
            hash_tree(path)


def test_too_deep_is_refused_and_just_not_too_deep_is_not(tmp_path: Path) -> None:
    lay(tmp_path / "fits", deep(DEEPEST - 1))
    assert hash_tree(tmp_path / "fits").size > 0
    lay(tmp_path / "in", deep(DEEPEST))
    with pytest.raises(BadTreeError, match="deep"):
        hash_tree(tmp_path / "in")


def test_a_file_that_shrinks_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(1 << 20))
    stream = dump(file)
    next(stream)
    os.truncate(file, 10)
    with pytest.raises(BadTreeError, match="shrank"):
        list(stream)


def test_nothing_but_contents_and_the_owners_x_enters(tmp_path: Path, store: LocalStore) -> None:
    for number, mode in enumerate((0o700, 0o755, 0o744, 0o100)):
        lay(tmp_path / f"p{number}", (b"x",))
        (tmp_path / f"p{number}").chmod(mode)
        os.utime(tmp_path / f"p{number}", (number, number))
    for number, mode in enumerate((0o600, 0o644, 0o655, 0o011)):
        lay(tmp_path / f"f{number}", b"x")
        (tmp_path / f"f{number}").chmod(mode)
    paths = set()
    for file in sorted(tmp_path.glob("[pf]*")):
        with store.temporary() as place:
            file.rename(place / "tree")
            paths.add(store.add(place / "tree", "same", durable=False).path)
    assert len(paths) == 2


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _head(command: list[str], size: int) -> bytes:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        data = process.stdout.read(size)
        process.kill()
    return data


def _device(place: Path) -> None:
    try:
        os.mknod(place, 0o020600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes device files")
