"""Binary caches between us and real Nix, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from store.cache_folder import CacheFolder
from store.cache_keys import PublicKey, SecretKey
from store.cache_read import UnaddressedPathError, outermost, take, told
from store.cache_write import write
from store.local import LocalStore
from tests.store.caches import quiet, three
from tests.store.trees import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.info import PathInfo
    from tests.store.nix import Nix

pytestmark = pytest.mark.nix

EXPRESSION = """
let
  make = name: script: derivation {
    inherit name;
    builder = "/bin/sh";
    args = [ "-c" script ];
    system = builtins.currentSystem;
  };
  lib = make "lib-1" "echo lib > $out";
in make "app-1" "echo '#!${lib}' > $out"
"""


@pytest.fixture
def ours(nix: Nix) -> Iterator[LocalStore]:
    """Open a store in Nix's own directory, so that paths are the same."""
    with LocalStore.open(nix.store_dir) as store:
        yield store


def key_pair(nix: Nix, name: str = "site-1") -> tuple[Path, Path]:
    secret, public = nix.root / f"{name}.secret", nix.root / f"{name}.public"
    nix.run("nix-store", "--generate-binary-cache-key", name, secret, public)
    return secret, public


def pull(nix: Nix, folder: Path, top: PathInfo, place: Path, *options: str) -> bool:
    """Let Nix copy a closure into a store of the same directory that lies elsewhere."""
    nix.run(
        *("nix", "copy", *options, "--from", f"file://{folder}", "--to"),
        f"local?store={nix.store_dir}&real={place}/store&state={place}/state",
        f"{nix.store_dir}/{top.path}",
        check=False,
    )
    return (place / "store" / str(top.path)).exists()


def test_keys_of_nix_are_ours(nix: Nix) -> None:
    secret, public = key_pair(nix)
    key = SecretKey.load(secret)
    assert key.spelled == secret.read_text().strip()
    assert str(key.public) == public.read_text().strip()
    assert PublicKey.parse(public.read_text().strip()) == key.public


def test_nix_copies_what_we_export(nix: Nix, ours: LocalStore, tmp_path: Path) -> None:
    infos = three(ours)
    cache = tmp_path / "cache"
    write(ours, [infos[-1].path], CacheFolder(cache), key=None, observe=quiet)
    assert pull(nix, cache, infos[-1], tmp_path / "there")
    for info in infos:
        assert read(tmp_path / "there/store" / str(info.path)) == read(ours.real(info.path))


def test_our_signatures_are_those_that_nix_checks(
    nix: Nix, ours: LocalStore, tmp_path: Path
) -> None:
    """Without its content address a path is worth what its signature is."""
    infos = three(ours)
    cache = tmp_path / "cache"
    secret, public = key_pair(nix)
    _, other = key_pair(nix, "site-2")
    write(ours, [infos[-1].path], CacheFolder(cache), key=SecretKey.load(secret), observe=quiet)
    for file in cache.glob("*.narinfo"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith("CA: ")))
    for name, key, taken in (("other", other, False), ("own", public, True)):
        trusted = ("--option", "trusted-public-keys", key.read_text().strip())
        assert pull(nix, cache, infos[-1], tmp_path / name, *trusted) is taken


def test_our_signature_is_the_very_one_that_nix_makes(
    nix: Nix, ours: LocalStore, tmp_path: Path
) -> None:
    infos = three(ours)
    secret, _ = key_pair(nix)
    mine, its = tmp_path / "mine", tmp_path / "its"
    write(ours, [infos[-1].path], CacheFolder(mine), key=SecretKey.load(secret), observe=quiet)
    nix.run(
        *("nix", "copy", "--from", f"file://{mine}"),
        *("--to", f"file://{its}?store={nix.store_dir}&secret-key={secret}&compression=none"),
        ours.real(infos[-1].path),
    )
    for file in mine.glob("*.narinfo"):
        assert _lines(file, "Sig", "CA", "NarHash", "NarSize", "References") == _lines(
            its / file.name, "Sig", "CA", "NarHash", "NarSize", "References"
        )


def _lines(file: Path, *keys: str) -> list[str]:
    return sorted({x for x in file.read_text().splitlines() if x.partition(":")[0] in keys})


@pytest.mark.parametrize("compression", ["", "&compression=zstd", "&compression=bzip2"])
def test_what_nix_built_and_copied_is_imported(nix: Nix, tmp_path: Path, compression: str) -> None:
    """By default Nix compresses with xz. What it builds must be made content-addressed first."""
    secret, public = key_pair(nix)
    built = _built(nix, tmp_path)
    said = nix.run("nix", "store", "make-content-addressed", "--json", built)
    top = json.loads(said)["rewrites"][built]
    cache = CacheFolder(tmp_path / "cache")
    nix.run("nix", "copy", "--to", f"file://{cache.root}?secret-key={secret}{compression}", top)
    whole = read(Path(top))

    nix.root.rename(tmp_path / "before")
    with LocalStore.open(nix.store_dir) as store:
        paths = told(cache, cache.digests(), str(nix.store_dir))
        trusted = [PublicKey.parse((tmp_path / "before" / public.name).read_text().strip())]
        got = take(store, paths, cache, trusted=trusted, observe=quiet)
        assert [path.name for path in got.added] == ["lib-1", "app-1"]
        assert outermost(store.closure(paths)) == [store.parse(top)]
        assert store.verify().clean
        assert read(Path(top)) == whole


def test_what_nix_built_is_refused_as_it_is(nix: Nix, tmp_path: Path) -> None:
    """Its address comes from how it was built, so nobody can tell by it what must be there."""
    built = _built(nix, tmp_path)
    cache = CacheFolder(tmp_path / "cache")
    nix.run("nix", "copy", "--to", f"file://{cache.root}", built)
    nix.root.rename(tmp_path / "before")
    with LocalStore.open(nix.store_dir) as store:
        with pytest.raises(UnaddressedPathError, match="is not the address") as caught:
            take(store, [store.parse(built)], cache, trusted=None, observe=quiet)
        assert "make-content-addressed" in str(caught.value.hint)
        assert store.paths() == []


def _built(nix: Nix, folder: Path) -> str:
    file = folder / "app.nix"
    file.write_text(EXPRESSION)
    offline = ("--option", "sandbox", "false", "--option", "substitute", "false")
    said = nix.run("nix-build", "--no-out-link", *offline, file)
    return said.decode().strip()
