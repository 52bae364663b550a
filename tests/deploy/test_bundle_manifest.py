"""The manifest of a bundle: read again as it was written, and refused where it lies."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from deploy.bundle import coherence
from deploy.bundle.format import LARGEST_GROUP, BadBundleError
from deploy.bundle.manifest import (
    LARGEST_TEXT,
    LIMITS,
    MOST_BLOBS,
    MOST_PATHS,
    MOST_VALUES,
    BundleManifest,
    dump,
    parse,
)
from store.local import LocalStore
from store.manifest import EMPTY, BadManifestError
from tests.deploy import bundles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER = "e" * 64
ABSENT = "0" * 32 + "-absent"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> BundleManifest:
    place: Path = tmp_path_factory.mktemp("site").resolve()
    with LocalStore.open(place / "store") as store:
        return bundles.written(store, bundles.release(store), place / "bundle").manifest


def str_of(change: Any) -> str:
    return str(next(iter(change)))


def said(manifest: BundleManifest) -> Any:
    return json.loads(zstandard.ZstdDecompressor().decompress(dump(manifest)))


def packed(data: object) -> bytes:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return zstandard.ZstdCompressor().compress(text)


def test_it_is_read_as_it_was_written(made: BundleManifest) -> None:
    assert parse(dump(made)) == made
    assert dump(parse(dump(made))) == dump(made)


def test_it_is_canonical(made: BundleManifest) -> None:
    text = zstandard.ZstdDecompressor().decompress(dump(made))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()


def test_files_lie_where_it_says(made: BundleManifest) -> None:
    layout = made.layout()
    assert {slot.sha256 for slots in layout.values() for slot in slots} == set(made.blobs)
    for sha256, blob in made.blobs.items():
        (slot,) = [each for each in layout[blob.group] if each.sha256 == sha256]
        assert slot.size == blob.size
        raw = sum(made.groups[each].raw for each in blob.span)
        assert slot.offset + slot.size <= raw


def _large(data: Any) -> int:
    """Return which blob is the large one."""
    return next(at for at, row in enumerate(data["blobs"]) if row[1] > 4 * bundles.MEBIBYTE)


def _grown(data: Any) -> None:
    data["blobs"][0][1] += 1


def _huge(data: Any) -> None:
    data["blobs"][_large(data)][1] = 2**52


def _into_large(data: Any) -> None:
    at = _large(data)
    data["blobs"][at + 1][2] = data["blobs"][at][2]


def _swapped(data: Any) -> None:
    data["blobs"][0], data["blobs"][-1] = data["blobs"][-1], data["blobs"][0]


def _twice(data: Any) -> None:
    data["blobs"].append(data["blobs"][0])


def _smuggled(data: Any) -> None:
    data["blobs"].append([OTHER, 5, len(data["parts"][0]["groups"])])
    data["parts"][0]["groups"].append([9, 5, OTHER])
    data["parts"][0]["size"] += 9


def _lacking(data: Any) -> None:
    data["blobs"][-1][0] = OTHER


def _group(at: int, value: object) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        data["parts"][0]["groups"][0][at] = value

    return change


def _set(**values: object) -> Callable[[Any], None]:
    return lambda data: data.update(values)


def _reversed(data: Any) -> None:
    data["paths"].reverse()


def _path_twice(data: Any) -> None:
    data["paths"].append(data["paths"][0])


def _out(data: Any) -> None:
    rows = data["paths"][0][4]
    rows[1][0] = "../" + rows[1][0]


def _patched(**values: object) -> Callable[[Any], None]:
    """Carry the first file as what differs from another, which has a group of its own."""

    def change(data: Any) -> None:
        row = {"size": 5, "group": len(data["parts"][0]["groups"]), "base": OTHER, **values}
        data["patches"].append([data["blobs"][0][0], row["size"], row["group"], row["base"]])

    return change


HOSTILE: dict[str, Callable[[Any], None]] = {
    "another format": _set(format=2),
    "a key too few": lambda data: data.pop("site"),
    "a site that is a path": _set(site="../hpc1"),
    "a number that is none": _set(number="1"),
    "a number that is true": _set(number=True),
    "number zero": _set(number=0),
    "a negative time": _set(created=-1),
    "a root that leads out": _set(root="../../etc"),
    "a store with a line's end": _set(store="/opt\n/store"),
    "another store": _set(store="/opt/other/store"),
    "a release that is not in it": _set(top=ABSENT),
    "a release that is no path": _set(top="/etc/passwd"),
    "words with escapes": _set(release={"name": "\x1b[2J"}),
    "words that are a list": _set(release=["x"]),
    "a base out of order": _set(base={"receipt": OTHER, "paths": [ABSENT, ABSENT]}),
    "a base without a hash": _set(base={"receipt": "x", "paths": []}),
    "no parts": _set(parts=[]),
    "a document that is not in it": _set(documents={"sbom": OTHER}),
    "a document of no kind": _set(documents={"run-me": OTHER}),
    "keys that are not in it": _set(trust={"signers": OTHER}),
    "paths that are a number": _set(paths=7),
    "a file that grew": _grown,
    "a file larger than all groups": _huge,
    "a file inside of a large one": _into_large,
    "files in another order": _swapped,
    "a file twice": _twice,
    "a file that nobody needs": _smuggled,
    "a file that is missing": _lacking,
    "a group larger than stored groups are": _group(0, LARGEST_GROUP + 1),
    "a group of no size": _group(0, 0),
    "a group that holds more": _group(1, 4 * bundles.MEBIBYTE),
    "a group that holds too much": _group(1, 4 * bundles.MEBIBYTE + 1),
    "a group with a hash of another kind": _group(2, "sha256"),
    "a part of another size": lambda data: data["parts"][0].update(size=17),
    "paths before what they refer to": _reversed,
    "a path twice": _path_twice,
    "a name that leads out": _out,
    "replacements with paths": _set(repairs=OTHER),
    "a file in two ways": _patched(),
    "a patch without a group": _patched(group=0),
    "a patch that is too large": _patched(size=4 * bundles.MEBIBYTE),
    "a patch of nothing": _patched(base=None),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_contradicts_itself_is_refused(
    made: BundleManifest, change: Callable[[Any], None]
) -> None:
    data = said(made)
    parse(packed(data))
    change(data)
    with pytest.raises((BadBundleError, BadManifestError)):
        parse(packed(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not zstd",
        packed(b"not JSON"),
        packed(b"[]"),
        packed(b"null"),
        packed(b'"x"'),
        packed(b"[" * 100_000),
        packed(b"{}") + b"more",
        packed(json.dumps({"format": 1}).encode())[:-1],
    ],
    ids=range(9),
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BadBundleError):
        parse(data)


def test_what_is_read_into_memory_is_small(made: BundleManifest, monkeypatch: Any) -> None:
    (sbom,) = [each for each, blob in made.blobs.items() if blob.size == 9 * bundles.MEBIBYTE]
    data = said(made)
    data["documents"] = {"sbom": sbom}
    assert parse(packed(data)).documents == {"sbom": sbom}
    monkeypatch.setattr(coherence, "LARGEST_DOCUMENT", bundles.MEBIBYTE)
    with pytest.raises(BadBundleError, match="too large"):
        parse(packed(data))
    data["trust"] = {"signers": data["documents"].pop("sbom")}
    with pytest.raises(BadBundleError, match="too large"):
        parse(packed(data))


@pytest.mark.parametrize(
    "change",
    [
        {"number": 2**53 + 1},
        {"number": 0},
        {"created": -1},
        {"site": "../x"},
        {"root": ""},
        {"release": {"name": "\n"}},
        {"paths": (None,) * (MOST_PATHS + 1)},
        {"blobs": dict.fromkeys(range(MOST_BLOBS + 1))},
    ],
    ids=str_of,
)
def test_nothing_is_written_that_is_not_read(made: BundleManifest, change: Any) -> None:
    with pytest.raises(BadBundleError):
        dump(replace(made, **change))


def test_entries_are_counted(made: BundleManifest) -> None:
    data = said(made)
    many = [[f"{each:07}", 0, EMPTY] for each in range(LIMITS.entries + 1)]
    data["paths"][0][4] = [[""], *many, []]
    with pytest.raises(BadManifestError, match="too many entries"):
        parse(packed(data))


def test_files_are_counted(made: BundleManifest) -> None:
    data = said(made)
    data["blobs"] = [[]] * (MOST_BLOBS + 1)
    with pytest.raises(BadBundleError, match="too many files"):
        parse(packed(data))


@pytest.mark.parametrize(
    "text",
    [bytes(LARGEST_TEXT + 1), b"[" + b"0," * (MOST_VALUES + 1) + b"0]"],
    ids=["zeros", "values"],
)
def test_what_would_fill_the_memory_is_refused_before(text: bytes) -> None:
    data = packed(text)
    del text
    tracemalloc.start()
    try:
        with pytest.raises(BadBundleError, match=r"bytes of text|more values"):
            parse(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * bundles.MEBIBYTE
