"""The figures of real heads: no failed request, bytes on the wire, seconds from command to healthy.

All heads are those of one lab on this machine, which also makes the load; ours and the peers share
it alike. Heads have the peers' programs besides (rsync, curl, Nix), of which we use none.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figure import Figure, attempted, compared
from benchmarks.heads_load import no_failed_request
from benchmarks.heads_peers import SERVICE, Nix, Plain, rsync_first, tar_first, wire
from benchmarks.heads_push import push_alone
from benchmarks.heads_swap import swap_on
from benchmarks.place import disk, made
from tests.lab.lab import Lab, available
from tests.lab.operator import operator
from tests.lab.platform import Site, kept_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.info import PathInfo
    from store.local import LocalStore
    from tests.lab.head import LabHead

RUNS = 5
GIGABIT = 1_000_000_000
SCALE = (1, 3, 10)
_MEGA = 1_000_000
PATIENCE = 600.0
_VERSION = re.compile(r'version="[0-9.]+"')


def figures() -> Iterator[Figure]:
    """Measure one after another, each with its peer in turn."""
    reason = available()
    if reason is not None:
        yield Figure("heads", "", None, 0, None, None, 0, f"cannot be measured: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="sealift-bench-", dir=disk()) as folder:
        root = Path(folder)
        yield from attempted("the platform on three heads", 1, lambda: platform(root))
        yield from attempted("a first push without a limit", None, lambda: close_by(root))
        yield from attempted("1, 3, 10 heads", 2.0, lambda: scale(root))


@dataclass(frozen=True, slots=True)
class Stand:
    """Three heads, a site with the whole platform, and two releases: before and after one line."""

    site: Site
    lab: Lab
    before: str
    after: str

    def deploy(self, release: str, heads: str = "head[1-3]") -> float:
        """Deploy from the command to all healthy and confirmed; seconds."""
        words = ("deploy", "--host", heads, "--yes", "--release", release)
        with operator(self.site, *words) as running:
            code = running.end(PATIENCE)
            if code != 0:
                raise RuntimeError(f"deploy ended with {code}:\n{running.said[-3000:]}")
            return running.seconds

    def changed(self, turn: int) -> str:
        """Build a release that differs from all others in one line."""
        app = self.site.source(SERVICE) / "app.py"
        text = app.read_text()
        app.write_text(_VERSION.sub(f'version="2.0.{turn}"', text))
        return self.site.build()

    def rollback(self, heads: str) -> float:
        """Go back to the release before; seconds."""
        with operator(self.site, "rollback", "--host", heads, "--yes") as running:
            code = running.end(PATIENCE)
            if code != 0:
                raise RuntimeError(f"rollback ended with {code}:\n{running.said[-3000:]}")
            return running.seconds


def platform(root: Path) -> Iterator[Figure]:
    """Measure the whole platform on three heads."""
    with (
        kept_store("platform") as store_dir,
        Lab(3, folder=root / "lab", tools=True) as lab,
    ):
        stand = _stand(Site.whole(root / "site", store_dir), lab)
        with _opened(stand.site) as store:
            yield from first_push(stand, store)
            stand.deploy(stand.before)
            yield from one_line(stand, store, root)
        yield from rolling_back(stand)
        yield from no_failed_request(stand.site, lab, stand.before)


def _stand(site: Site, lab: Lab) -> Stand:
    before = site.build()
    site.edit(f"{SERVICE}/app.py", 'version="1.0.0"', 'version="1.0.1"')
    after = site.build()
    site.prepare(lab)
    return Stand(site, lab, before, after)


@contextmanager
def _opened(site: Site) -> Iterator[LocalStore]:
    from sealift.site import Location  # noqa: PLC0415 (what it brings is for this moment alone)

    with Location(config=site.root / "sealift.yaml").open() as opened:
        yield opened.store


def _closure(store: LocalStore, release: str) -> list[PathInfo]:
    return [*store.closure([store.parse(release)])]


def first_push(stand: Stand, store: LocalStore) -> Iterator[Figure]:
    """Push the whole platform to heads that have nothing; peers copy the same paths."""
    for head in stand.lab.heads:
        head.throttle(GIGABIT)
    yield from _first_pushes(stand, store, "1 Gbit/s", 1.0)
    for head in stand.lab.heads:
        head.throttle(None)


def close_by(root: Path) -> Iterator[Figure]:
    """Push to other heads as fast as this machine's memory takes it; no network is like that."""
    with (
        kept_store("platform") as store_dir,
        Lab(3, folder=root / "close", tools=True) as lab,
    ):
        stand = _stand(Site.whole(root / "by", store_dir), lab)
        with _opened(stand.site) as store:
            yield from _first_pushes(stand, store, "no limit", None)


def _first_pushes(
    stand: Stand, store: LocalStore, link: str, bar: float | None
) -> Iterator[Figure]:
    paths = [store.real(info.path) for info in _closure(store, stand.before)]
    total = sum(info.nar_size for info in _closure(store, stand.before)) / _MEGA
    rows = []
    # Each run has a head of its own that was never pushed to.
    for head in stand.lab.heads:
        ours = _pushed(stand, head)
        theirs = rsync_first(stand.lab, head, paths)
        rows.append((ours, theirs, tar_first(stand.lab, head, paths)))
    ours, rsync, tar = (median(column) for column in zip(*rows, strict=True))
    yield compared(
        f"first push of the whole platform, {link}",
        bar=bar,
        peer="rsync -a of the same paths",
        ours=ours,
        peers=rsync,
        runs=len(rows),
        note=f"{total:.0f} MB; ours {total / ours:.0f} MB/s, each file verified and synced; "
        f"rsync {total / rsync:.0f} MB/s",
    )
    yield compared(
        f"the same, {link}, against tar",
        bar=None,
        peer="tar | ssh tar",
        ours=ours,
        peers=tar,
        runs=len(rows),
        note=f"tar {total / tar:.0f} MB/s, which verifies and syncs nothing",
    )


def _pushed(stand: Stand, head: LabHead) -> float:
    """Deploy to a fresh head; the seconds in which it is pushed to."""
    words = ("deploy", "--host", head.name, "--yes", "--release", stand.before)
    with operator(stand.site, *words) as running:
        began = running.wait_for(lambda each: each.what == "plan", PATIENCE)
        ended = running.wait_for(lambda each: each.what == "pushed", PATIENCE)
        code = running.end(PATIENCE)
        if code != 0 or began is None or ended is None:
            raise RuntimeError(f"deploy ended with {code}:\n{running.said[-3000:]}")
        return ended.at - began.at


def one_line(stand: Stand, store: LocalStore, root: Path) -> Iterator[Figure]:
    """Deploy one changed line: bytes to one head, seconds to three."""
    base, changed = (_closure(store, each) for each in (stand.before, stand.after))
    plain = Plain(stand.lab, made(root / "plain"))
    old = plain.tree(store, base, None)
    new = plain.tree(store, changed, old)
    head, other = stand.lab.heads[:2]
    with wire([head]) as ours:
        push_alone(stand.site, store, head.name, stand.after)
    with wire([other]) as whole:
        stand.deploy(stand.after, other.name)
    yield from _bytes(ours[0], plain.rsync_bytes(new, old, head), "rsync -az --delete", 0.2)
    nix = Nix(stand.lab, store, made(root / "nix"))
    top = store.real(store.parse(stand.after))
    yield from _bytes(ours[0], nix.bytes(head, base, changed, top), "nix copy", 0.05)
    yield Figure(
        "bytes for one changed line, all of the deploy",
        peer="",
        ratio=None,
        bar=None,
        ours=whole[0] / 1000,
        peers=None,
        runs=1,
        note="one head: preflight, push, orders and what the head tells, over two connections",
        unit="kB",
    )
    plain.install(old)
    yield _seconds(stand, plain, store, old)


def _bytes(ours: int, theirs: int, peer: str, bar: float) -> Iterator[Figure]:
    yield compared(
        f"bytes for one changed line, against {peer}",
        bar=bar,
        peer=f"{peer} of the same tree",
        ours=ours / 1000,
        peers=theirs / 1000,
        runs=1,
        unit="kB",
        note="on the head's link, both ways, SSH's greeting and headers of TCP counted; "
        "ours: the push alone, as the peer copies alone",
    )


def _seconds(stand: Stand, plain: Plain, store: LocalStore, before: Path) -> Figure:
    """Each turn deploys a line that no head has seen, both ways."""
    rows = []
    for turn in range(RUNS):
        release = stand.changed(turn)
        tree = plain.tree(store, _closure(store, release), before)
        rows.append((stand.deploy(release), plain.deploy(tree, stand.lab.heads)))
    ours, theirs = (median(column) for column in zip(*rows, strict=True))
    return compared(
        "deploy of one changed line to three heads",
        bar=1.3,
        peer="rsync + symlink + restart + curl, all heads at once",
        ours=ours,
        peers=theirs,
        runs=RUNS,
        note="from command to end; ours: preflight, push, prepare on all, canary, health of each "
        "service, confirm; the script's service fails requests meanwhile",
    )


def rolling_back(stand: Stand) -> Iterator[Figure]:
    """Go back on one head, against restarting the one service; and the swap of the link alone."""
    head = stand.lab.heads[0]
    plain = Plain(stand.lab, stand.site.root)
    stand.deploy(stand.before)
    rows = []
    for _ in range(RUNS):
        stand.deploy(stand.after, head.name)
        rows.append((stand.rollback(head.name), plain.restart(head)))
    ours, theirs = (median(column) for column in zip(*rows, strict=True))
    yield compared(
        "rollback on one head, from command to healthy",
        bar=1.3,
        peer="systemctl restart of the same service, until curl succeeds",
        ours=ours,
        peers=theirs,
        runs=RUNS,
        note="asked from the transfer host; the peer's service fails requests meanwhile",
    )
    spent = swap_on(head, stand.site)
    yield Figure(
        "the swap of the profile's link alone",
        peer="",
        ratio=round(spent * 1000, 3),
        bar=10,
        ours=round(spent * 1000, 3),
        peers=None,
        runs=100,
        note="symlink, rename, fsync of the folder, on a head's own disk",
        unit="ms",
    )


def scale(root: Path) -> Iterator[Figure]:
    """Deploy one changed line of the small platform to 1, 3 and 10 heads."""
    with kept_store("small") as store_dir, Lab(SCALE[-1], folder=root / "many") as lab:
        site = Site.small(root / "small", store_dir)
        before = site.build()
        site.edit("alpha/app.py", 'VERSION = "1"', 'VERSION = "2"')
        stand = Stand(site, lab, before, site.build())
        site.prepare(lab)
        stand.deploy(before, f"head[1-{SCALE[-1]}]")
        spent = {}
        for heads in SCALE:
            runs = []
            for turn in range(RUNS):
                release = stand.after if turn % 2 == 0 else stand.before
                runs.append(stand.deploy(release, "head1" if heads == 1 else f"head[1-{heads}]"))
            stand.deploy(before, f"head[1-{SCALE[-1]}]")
            spent[heads] = median(runs)
    middle = ", ".join(f"{count}: {seconds:.2f} s" for count, seconds in spent.items())
    yield compared(
        f"deploy of one changed line, {SCALE[-1]} heads against 1",
        bar=2.0,
        peer="the same to one head",
        ours=spent[SCALE[-1]],
        peers=spent[SCALE[0]],
        runs=RUNS,
        note=f"{middle}; all heads share the cores of this machine",
    )
