"""The figures of the gap: bundles made and received against tar and zstd, deltas, verify, memory.

What the peers move is the very closure that ours moves, a file with several names once: both sides
have it in the store's own folders. Before each run what is still to be written is on the disk.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figure import Figure, attempted, compared, run
from benchmarks.gap_site import Builder, Keys, TransferHost
from benchmarks.gap_wheels import BUMPS, Bump
from benchmarks.place import disk, gigabyte, made, remove
from benchmarks.site import Site as PlainSite
from sealift.site import Location
from tests.lab.platform import Site, kept_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from store.local import LocalStore

RUNS = 5
SPEED = 1.25
"""0.8 of the peer's speed, in time."""
SERVICE = "backend_5010"
LINE_KB, WHEEL_BAR, VERIFY_BAR, MEMORY_MB = 200, 1.3, 1.3, 200
_KILO, _MEGA = 1000, 1_000_000
_PACK = 'tar -C "$0" -cf - --files-from="$1" | zstd -q -3 -T2 -f -o "$2"'
_UNPACK = 'zstd -q -d -c "$0" | tar -C "$1" -xf -'
_SYNCED = f'{_UNPACK}; sync -f "$1"'
_SUMS = 'find "$0" -path "$0/.links" -prune -o -type f -print0 | xargs -0 "$@" > /dev/null'
_EACH = ("-n", "50", "-P", str(os.cpu_count()))
"""One process per processor, with so many files at a time."""


def figures() -> Iterator[Figure]:
    """Measure one after another, each with its peer in turn."""
    with tempfile.TemporaryDirectory(prefix="sealift-bench-", dir=disk()) as folder:
        root = Path(folder)
        yield from attempted("store verify, 2 GB", VERIFY_BAR, lambda: verified(root / "verify"))
        yield from attempted("the platform across the gap", SPEED, lambda: platform(root / "gap"))


def platform(root: Path) -> Iterator[Figure]:
    """Bring the whole platform across, then one line, then one wheel.

    Raises:
        RuntimeError: this is not root, or a command failed.
    """
    if os.geteuid() != 0:
        raise RuntimeError("two stores at one place need root, for a mount namespace")
    with kept_store("platform") as store_dir:
        stand = Stand.make(root, store_dir)
        yield from stand.whole()
        yield from stand.one_line()
        yield from wheels(stand)


@dataclass(frozen=True, slots=True)
class Stand:
    """A builder and a transfer host, and a folder for what is carried between them."""

    root: Path
    site: Site
    builder: Builder
    host: TransferHost

    @classmethod
    def make(cls, root: Path, store_dir: Path) -> Stand:
        """Build the platform, and lay both sides out."""
        site = Site.whole(made(root) / "builder", store_dir)
        keys = Keys.make(root / "keys")
        site.settle({}, **keys.settings)
        site.build()
        host = TransferHost.make(made(root / "host"), site, keys)
        made(root / "medium")
        return cls(root, site, Builder(site), host)

    def medium(self, name: str) -> Path:
        """Name a file that is carried across."""
        return self.root / "medium" / name

    def whole(self) -> Iterator[Figure]:
        """Make and receive bundles of the whole platform; peers do the same with its tree."""
        listed = self._listed()
        file, packed = self.medium("whole.bundle"), self.medium("whole.tar.zst")
        store_dir = self.site.store_dir
        made_in = [
            (
                _settled(lambda: self.builder.sealift("bundle", "-o", file, "--force")),
                _settled(lambda: _shell(_PACK, store_dir, listed, packed)),
            )
            for _ in range(RUNS)
        ]
        raw = self._raw()
        yield _against(
            "bundle of the whole platform",
            "tar | zstd -3 -T2 of the same paths",
            made_in,
            f"{raw:.0f} MB as {file.stat().st_size / _MEGA:.1f} MB, the peer's "
            f"{packed.stat().st_size / _MEGA:.1f} MB; ours hashes, signs and syncs",
        )
        yield from self._received(file, packed, raw)
        yield from self._memory(file)

    def _received(self, file: Path, packed: Path, raw: float) -> Iterator[Figure]:
        rows = []
        for _ in range(RUNS):
            self.host.empty()
            ours = _settled(lambda: self.host.sealift("receive", file))
            plain = _settled(lambda: self._unpacked(_UNPACK, packed))
            rows.append((ours, plain, _settled(lambda: self._unpacked(_SYNCED, packed))))
        yield _against(
            "receive of the whole platform",
            "zstd -d | tar -x into an empty folder",
            [(ours, plain) for ours, plain, _ in rows],
            f"{raw:.0f} MB; ours checks each file and each path, syncs all and registers it; the "
            "peer checks and syncs nothing",
        )
        yield compared(
            "… against a peer that syncs",
            bar=None,
            peer="zstd -d | tar -x; sync -f",
            ours=median(row[0] for row in rows),
            peers=median(row[2] for row in rows),
            runs=RUNS,
        )

    def _unpacked(self, script: str, packed: Path) -> float:
        """Unpack into a folder of its own, for what `TransferHost.empty` says."""
        count = len(list(self.root.glob("unpacked-*")))
        return _shell(script, packed, made(self.root / f"unpacked-{count:03}"))

    def _memory(self, file: Path) -> Iterator[Figure]:
        making = self.builder.peak("bundle", "-o", file, "--force")
        self.host.empty()
        receiving = self.host.peak("receive", file)
        note = "all processes of the command together, what they share once (Pss)"
        yield _told("peak memory of bundle", making / _MEGA, "MB", MEMORY_MB, note)
        yield _told("peak memory of receive", receiving / _MEGA, "MB", MEMORY_MB, note)

    def one_line(self) -> Iterator[Figure]:
        """Measure the delta of one changed line of a backend, and bring it across."""
        receipt, file = self.medium("one.receipt"), self.medium("line.bundle")
        self.host.sealift("receipt", "-o", receipt)
        self.site.edit(f"{SERVICE}/app.py", 'version="1.0.0"', 'version="1.0.1"')
        self.site.build()
        making = self.builder.sealift("bundle", "--since", receipt, "-o", file)
        receiving = self.host.sealift("receive", file)
        yield _told(
            "delta of one changed line of a backend",
            file.stat().st_size / _KILO,
            "kB",
            LINE_KB,
            f"made in {making:.1f} s, received in {receiving:.1f} s",
        )
        yield _told("the receipt that it builds on", receipt.stat().st_size / _KILO, "kB", _KILO)

    def _listed(self) -> Path:
        """Write down which paths the release's closure has."""
        listed = self.root / "paths"
        with _opened(self.site) as store:
            release = store.parse(self._release())
            names = [str(info.path) for info in store.closure([release])]
        listed.write_text("".join(f"{name}\n" for name in names))
        return listed

    def _raw(self) -> float:
        """Sum the NARs of the closure up, in MB."""
        with _opened(self.site) as store:
            closure = store.closure([store.parse(self._release())])
            return sum(info.nar_size for info in closure) / _MEGA

    def _release(self) -> str:
        return self.site.sealift("path-info", "release").out.strip()


def wheels(stand: Stand) -> Iterator[Figure]:
    """Measure the delta of one bumped wheel: from an earlier version to what the lock pins."""
    for bump in BUMPS:
        bump.lower(stand.site)
    stand.site.build()
    base, receipt = stand.medium("older.bundle"), stand.medium("older.receipt")
    stand.builder.sealift("bundle", "-o", base)
    stand.host.empty()
    stand.host.sealift("receive", base)
    stand.host.sealift("receipt", "-o", receipt)
    for bump in BUMPS:
        yield _bumped(stand, bump, receipt)


def _bumped(stand: Stand, bump: Bump, receipt: Path) -> Figure:
    """Raise one wheel, measure, and lower it again, so that each is measured alone."""
    file = stand.medium(f"{bump.name}.bundle")
    bump.raise_(stand.site)
    stand.site.build()
    stand.builder.sealift("bundle", "--since", receipt, "-o", file)
    bump.lower(stand.site)
    return compared(
        f"delta of one bumped wheel, {bump.name}",
        bar=WHEEL_BAR,
        peer="the wheel itself, as the index has it",
        ours=file.stat().st_size / _KILO,
        peers=bump.size_after / _KILO,
        runs=1,
        unit="kB",
        note=f"{bump.before} → {bump.after} in all backends that have it",
    )


def verified(root: Path) -> Iterator[Figure]:
    """Verify a store of 2 GB against sha256sum of the same files."""
    site = PlainSite.make(made(root) / "site")
    for turn in range(2):
        for part in gigabyte(made(root / f"parts-{turn}")):
            site.sealift("store", "add", str(part))
        remove(root / f"parts-{turn}")
    store_dir = site.root / ".sealift" / "store"
    rows = [
        (
            site.sealift("store", "verify"),
            _shell(_SUMS, store_dir, "sha256sum"),
            _shell(_SUMS, store_dir, *_EACH, "openssl", "dgst", "-sha256"),
        )
        for _ in range(RUNS)
    ]
    yield _against(
        "store verify, 2 GB",
        "sha256sum of all its files",
        [(ours, plain) for ours, plain, _ in rows],
        "60 paths: 20 of one large file, 40 of 500 small ones",
        bar=VERIFY_BAR,
    )
    yield _against(
        "… against the processor's own SHA-256, on all of them",
        f"xargs -P {os.cpu_count()} openssl dgst -sha256",
        [(ours, fast) for ours, _, fast in rows],
        "as ours has it; coreutils' sha256sum does without it here",
        bar=None,
    )


def _against(
    name: str,
    peer: str,
    rows: Sequence[tuple[float, float]],
    note: str = "",
    *,
    bar: float | None = SPEED,
) -> Figure:
    ours, theirs = (median(column) for column in zip(*rows, strict=True))
    return compared(name, bar=bar, peer=peer, ours=ours, peers=theirs, runs=len(rows), note=note)


def _told(name: str, value: float, unit: str, bar: float, note: str = "") -> Figure:
    """Make the figure of a value that has a bar and no peer."""
    rounded = round(value, 1)
    return Figure(name, "", rounded, bar, rounded, None, 1, note, unit)


def _settled(measure: Callable[[], float]) -> float:
    """Measure when nothing of what ran before is left to be written."""
    os.sync()
    return measure()


def _shell(script: str, *words: str | Path) -> float:
    """Run a pipe of the peer's, all parts of which must do well; seconds."""
    return run(["bash", "-eo", "pipefail", "-c", script, *words])


@contextmanager
def _opened(site: Site) -> Iterator[LocalStore]:
    with Location(config=site.root / "sealift.yaml").open() as opened:
        yield opened.store
