"""The text of a narinfo: both ways, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.binary_cache import BadCacheError, OtherStoreError, check_store
from store.cache_keys import SecretKey
from store.hashes import Digest, sri
from store.info import PathInfo
from store.narinfo import NarInfo, content_address, describe, parse
from store.path import StorePath, fixed_path
from tests.store.caches import Memory

if TYPE_CHECKING:
    from collections.abc import Callable

STORE = "/opt/site/store"
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
LIB = fixed_path(store_dir=STORE, name="lib", nar_sha256=b"\x01" * 32, references=())


def made(nar_sha256: str = "ab" * 32, references: tuple[StorePath, ...] = (LIB,)) -> NarInfo:
    path = fixed_path(
        store_dir=STORE,
        name="app-1.0",
        nar_sha256=bytes.fromhex(nar_sha256),
        references=references,
    )
    info = PathInfo(path, nar_sha256, 4711, references)
    return describe(
        info,
        STORE,
        url="nar/x.nar.zst",
        compression="zstd",
        file_sha256="cd" * 32,
        file_size=815,
    )


def read(text: str, entry: NarInfo) -> NarInfo:
    return parse(text, STORE, entry.info.path.digest)


@given(DIGESTS, DIGESTS, st.integers(1, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 2))
def test_reading_and_writing_are_inverse(
    nar: str, file: str, size: int, packed: int, signatures: int
) -> None:
    entry = made(nar)
    entry = replace(
        entry,
        info=replace(entry.info, nar_size=size),
        file_sha256=file,
        file_size=packed,
        signatures=tuple(f"k{n}:{'A' * 86}==" for n in range(signatures)),
    )
    assert read(str(entry), entry) == entry
    assert entry.is_own_address()


def test_what_is_signed() -> None:
    """Real Nix is asked in `test_cache_nix`; here is what it comes to."""
    entry = made()
    nar = "sha256:1axbmfmspaxbmfmspaxbmfmspaxbmfmspaxbmfmspaxbmfmspaxb"
    expected = f"1;{STORE}/{entry.info.path};{nar};4711;{STORE}/{LIB}"
    assert entry.fingerprint.decode() == expected
    assert _nix(entry) == nar


def _nix(entry: NarInfo) -> str:
    return next(x for x in str(entry).split("\n") if x.startswith("NarHash: "))[9:]


@pytest.mark.parametrize("without", ["FileHash", "FileSize", "CA", "Compression"])
def test_what_may_lack(without: str) -> None:
    entry = made()
    text = "".join(
        line for line in str(entry).splitlines(keepends=True) if not line.startswith(without)
    )
    found = read(text, entry)
    assert found.info == entry.info
    assert found.compression == ("bzip2" if without == "Compression" else "zstd")


def test_what_nix_writes_and_we_do_not() -> None:
    """References in another order, hashes in other spellings, unknown keys, derivers."""
    other = fixed_path(store_dir=STORE, name="z", nar_sha256=b"\x02" * 32, references=())
    both = tuple(sorted((LIB, other)))
    entry = made(references=both)
    text = str(entry).replace(f"{both[0]} {both[1]}", f"{both[1]} {both[0]}")
    text = text.replace(_nix(entry), sri(Digest("sha256", bytes.fromhex("ab" * 32))), 1)
    text += "Deriver: unknown-deriver\nNovelty: yes: and more\nNovelty: twice\n"
    assert read(text, entry) == entry
    spelled = f"NarHash: {_nix(entry)}"
    base16 = str(entry).replace(spelled, f"NarHash: sha256:{'ab' * 32}")
    assert base16 != str(entry)
    assert read(base16, entry) == entry
    bare = made(references=())
    assert read(str(bare).replace("References: \n", "References:\n"), bare) == bare
    assert read(str(bare).replace("References: \n", ""), bare) == bare


BAD: dict[str, Callable[[str], str]] = {
    "an empty file": lambda _: "",
    "a last line that is cut off": lambda text: text[:-1],
    "lines that end as Windows ends them": lambda text: text.replace("\n", "\r\n"),
    "no path": lambda text: text.replace("StorePath", "Path"),
    "no NAR": lambda text: text.replace("URL", "Url"),
    "no hash": lambda text: text.replace("NarHash", "Hash"),
    "no size": lambda text: text.replace("NarSize", "Size"),
    "a size twice": lambda text: text + "NarSize: 4711\n",
    "references twice": lambda text: text + "References: \n",
    "one reference twice": lambda text: text.replace(f": {LIB}", f": {LIB} {LIB}"),
    "two spaces": lambda text: text.replace(f": {LIB}", f":  {LIB}"),
    "a reference that leads out": lambda text: text.replace(f": {LIB}", ": ../../etc"),
    "a reference with its folder": lambda text: text.replace(f": {LIB}", f": {STORE}/{LIB}"),
    "a path in another store": lambda text: text.replace(STORE, "/nix/store"),
    "a path in another store, spelled as long": lambda text: text.replace(STORE, "/opt/sitf/store"),
    "a path below another": lambda text: text.replace(f"{STORE}/", f"{STORE}/x/"),
    "a path that leads out": lambda text: text.replace("-app-1.0", "-../app-1.0"),
    "a path without a digest": lambda text: text.replace("StorePath: ", "StorePath: /"),
    "a size of zero": lambda text: text.replace("4711", "0"),
    "a size below zero": lambda text: text.replace("4711", "-4711"),
    "a size with zeros before it": lambda text: text.replace("4711", "04711"),
    "a size in other digits": lambda text: text.replace("4711", "٤٧١١"),
    "a size with an underscore": lambda text: text.replace("4711", "4_711"),
    "a size past all": lambda text: text.replace("4711", "9" * 5000),
    "a size larger than any": lambda text: text.replace("4711", str((1 << 40) + 1)),
    "a file of no size": lambda text: text.replace("815", "some"),
    "a short hash": lambda text: text.replace("NarHash: sha256:", "NarHash: sha256:0", 1)[:-1],
    "another algorithm": lambda text: text.replace("NarHash: sha256:", "NarHash: sha512:", 1),
    "no algorithm": lambda text: text.replace("NarHash: sha256:", "NarHash: ", 1),
    "a foreign character": lambda text: text.replace("NarHash: sha256:0", "NarHash: sha256:e"),
    "a signature that is none": lambda text: text + "Sig: key:abcd\n",
    "a signature without a name": lambda text: text + f"Sig: {'A' * 86}==\n",
    "very many signatures": lambda text: text + f"Sig: k:{'A' * 86}==\n" * 65,
    "a control character": lambda text: text + "Note: \x1b[2J\n",
    "a line without a value": lambda text: text + "Note\n",
    "a blank line": lambda text: text + "\n",
    "another path": lambda text: text.replace("StorePath: ", "X: ") + f"StorePath: {STORE}/{LIB}\n",
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_refused(fault: str) -> None:
    entry = made(nar_sha256="00" * 32)
    bent = BAD[fault](str(entry))
    assert bent != str(entry)
    with pytest.raises(BadCacheError) as caught:
        read(bent, entry)
    assert caught.value.where == f"{entry.info.path.digest}.narinfo"


@pytest.mark.parametrize(
    "url",
    [
        "../x.nar",
        "nar/../../x",
        "/etc/shadow",
        "nar//x",
        "nar/./x",
        "file:///etc/shadow",
        "https://example.org/x.nar",
        "nar/.hidden",
        "nar/x y",
        "nar/x?y",
        "nar/x%2fy",
        "nar\\x",
        "~/x",
        "",
        "nar/",
        "a/b/c/d/e/f",
        "n" * 300,
    ],
)
def test_nars_outside_the_cache_are_refused(url: str) -> None:
    entry = made()
    with pytest.raises(BadCacheError, match="outside the cache"):
        read(str(entry).replace("nar/x.nar.zst", url), entry)


def test_addresses() -> None:
    entry = made()
    assert entry.address == content_address(entry.info)
    for other in (
        replace(entry.info, references=()),
        replace(entry.info, nar_sha256="ac" * 32),
        replace(entry.info, references=tuple(sorted((LIB, entry.info.path)))),
    ):
        assert not replace(entry, info=other).is_own_address()
    assert not replace(entry, store_dir="/nix/store").is_own_address()


def test_signatures_cover_what_decides() -> None:
    key = SecretKey.generate("site-1")
    entry = made().signed(key)
    assert entry.signed(key) == entry
    assert entry.signed_by([key.public])
    assert replace(entry, url="nar/other", compression="none").signed_by([key.public])
    for other in (
        replace(entry.info, nar_size=4712),
        replace(entry.info, nar_sha256="ac" * 32),
        replace(entry.info, references=()),
        replace(entry.info, path=LIB),
    ):
        assert not replace(entry, info=other).signed_by([key.public])
    assert not entry.signed_by([])


def test_what_a_cache_says_of_itself() -> None:
    cache = Memory()
    assert not check_store(cache, STORE)
    cache.files["nix-cache-info"] = f"StoreDir: {STORE}\nWantMassQuery: 1\n".encode()
    assert check_store(cache, STORE)
    with pytest.raises(OtherStoreError) as caught:
        check_store(cache, "/nix/store")
    assert (caught.value.got, caught.value.expected) == (STORE, "/nix/store")


@pytest.mark.parametrize(
    "text", [b"", b"Priority: 30\n", b"StoreDir: x\n", b"\xff", b"x" * 5_000_000]
)
def test_what_no_cache_says(text: bytes) -> None:
    with pytest.raises(BadCacheError):
        check_store(Memory({"nix-cache-info": text}), STORE)
