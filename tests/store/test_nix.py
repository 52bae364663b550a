"""Whole closures against real Nix: what we add, Nix pulls, verifies and addresses alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from store.hashes import nix32_encode
from store.local import LocalStore
from store.nar import dump
from tests.store.trees import ODD, added, lay, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from store.info import PathInfo
    from tests.store.nix import Nix

pytestmark = pytest.mark.nix


@pytest.fixture
def ours(nix: Nix) -> Iterator[LocalStore]:
    """Open a store in Nix's own directory, so that the paths can be compared."""
    with LocalStore.open(nix.store_dir) as store:
        yield store


def cache(folder: Path, store: LocalStore, infos: Iterable[PathInfo]) -> Path:
    """Write a binary cache without any signature: content addresses need none."""
    (folder / "nar").mkdir(parents=True)
    (folder / "nix-cache-info").write_text(f"StoreDir: {store.store_dir}\n")
    for info in infos:
        (folder / "nar" / f"{info.path.digest}.nar").write_bytes(
            b"".join(dump(store.real(info.path)))
        )
        sha256 = f"sha256:{nix32_encode(bytes.fromhex(info.nar_sha256))}"
        lines = [
            f"StorePath: {store.real(info.path)}",
            f"URL: nar/{info.path.digest}.nar",
            "Compression: none",
            f"NarHash: {sha256}",
            f"NarSize: {info.nar_size}",
            f"References: {' '.join(map(str, info.references))}",
            f"CA: fixed:r:{sha256}",
        ]
        (folder / f"{info.path.digest}.narinfo").write_text("\n".join(lines) + "\n")
    return folder


def closure_of_three(store: LocalStore) -> list[PathInfo]:
    base = added(store, ODD, "base-1.0")
    lib = added(store, {b"lib": b"x"}, "lib")
    with store.temporary() as place:
        lay(place / "tree", {b"bin": {b"run": (f"#!{store.real(base.path)}/sh\n".encode(),)}})
        app = store.add(
            place / "tree", "app+1", candidates=[base.path], references=[lib.path], durable=False
        )
    return store.closure([app.path])


def pull(nix: Nix, folder: Path, info: PathInfo, place: Path) -> bytes:
    """Let Nix copy a closure to a store of the same logical directory elsewhere."""
    return nix.run(
        *("nix", "copy", "--from", f"file://{folder}", "--to"),
        f"local?store={nix.store_dir}&real={place}/store&state={place}/state",
        f"{nix.store_dir}/{info.path}",
        check=False,
    ) or (b"copied" if (place / "store" / str(info.path)).exists() else b"")


def test_nix_accepts_our_addresses_with_references(
    nix: Nix, ours: LocalStore, tmp_path: Path
) -> None:
    """Nix recomputes the address from NAR hash and references before it takes a path unsigned."""
    infos = closure_of_three(ours)
    assert len(infos[-1].references) == 2
    folder = cache(tmp_path / "cache", ours, infos)
    assert pull(nix, folder, infos[-1], tmp_path / "there") == b"copied"
    for info in infos:
        copied = tmp_path / "there" / "store" / str(info.path)
        assert read(copied) == read(ours.real(info.path))


def test_negative_control_another_reference_is_another_address(
    nix: Nix, ours: LocalStore, tmp_path: Path
) -> None:
    infos = closure_of_three(ours)
    folder = cache(tmp_path / "cache", ours, infos)
    file = folder / f"{infos[-1].path.digest}.narinfo"
    changed = file.read_text().replace(f" {infos[-1].references[1]}", "")
    file.write_text(changed)
    assert pull(nix, folder, infos[-1], tmp_path / "there") == b""


def test_nix_verifies_what_we_register(nix: Nix, ours: LocalStore, tmp_path: Path) -> None:
    """Told of our paths, `nix-store --verify --check-contents` finds nothing to say."""
    infos = closure_of_three(ours)
    lines = []
    for info in infos:
        lines += [str(ours.real(info.path)), info.nar_sha256, str(info.nar_size), ""]
        lines += [str(len(info.references)), *(str(ours.real(each)) for each in info.references)]
    nix.run("nix-store", "--load-db", data="\n".join([*lines, ""]).encode())
    ours.links_dir.rename(tmp_path / "links")  # Nix names its own by another hash
    nix.run("nix-store", "--verify", "--check-contents")
    (tmp_path / "links").rename(ours.links_dir)
    wanted = nix.run("nix-store", "--query", "--requisites", ours.real(infos[-1].path))
    assert {ours.parse(line) for line in wanted.decode().split()} == {info.path for info in infos}
    why = nix.run("nix-store", "--query", "--references", ours.real(infos[-1].path))
    assert sorted(why.decode().split()) == [str(ours.real(each)) for each in infos[-1].references]

    damaged = ours.real(infos[0].path)
    damaged.chmod(0o755)
    (damaged / "more").write_text("x")
    assert nix.run("nix-store", "--verify-path", damaged, check=False) == b""
    assert [each.info for each in ours.verify().damaged] == [infos[0]]
