"""Deploy and roll back under load on all services of all heads: failures and latencies."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from benchmarks.figure import Figure, compared
from benchmarks.heads_peers import SERVICE
from benchmarks.load import load
from benchmarks.openings import TIMEOUT
from benchmarks.outcome import NOTHING, Outcome
from tests.lab.platform import HEADS, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.lab import Lab
    from tests.lab.platform import Site

REQUESTS = 50_000
"""At least so many while heads change."""
CALM = 10.0
"""Seconds of load before anything changes."""
FRONTEND = "frontend_3010"
SERVICES = (
    "/auth/session",
    "/api/health",
    "/cae-api/health",
    "/cae-automation/health",
    "/moonlight-api/health",
    "/idp/metadata",
)
PAGES = ("/", "/dashboard/", "/vnc/", "/moonlight/", "/cae/", "/app/")
WEBSOCKET = "/ws"
_ASSET = re.compile(rb'(?:src|href)="(/[^"]*/?assets/[^"]+)"')


def no_failed_request(site: Site, lab: Lab, before: str) -> Iterator[Figure]:
    """Change a backend and a frontend, and go back, over and over, until there is enough."""
    app = site.source(SERVICE) / "app.py"
    app.write_text(app.read_text() + "\n# one line more\n")
    page = site.source(FRONTEND) / "index.html"
    page.write_text(page.read_text().replace("</head>", '<meta name="turn" content="2"></head>'))
    after = site.build()
    site.deploy("--release", before)
    paths = (*SERVICES, *PAGES, *_assets(lab))
    addresses = [f"https://{head.address}" for head in lab.heads]
    with load(addresses, paths, websocket=WEBSOCKET) as calm:
        time.sleep(CALM)
    during, opened, shaken, turns = NOTHING, NOTHING, NOTHING, 0
    while during.requests < REQUESTS:
        with load(addresses, paths, websocket=WEBSOCKET) as running:
            site.deploy("--release", after)
            site.sealift("rollback", "--host", HEADS, "--yes")
        during, opened = during.then(running.outcome), opened.then(running.openings)
        shaken = shaken.then(running.handshakes)
        turns += 1
    yield _failures(during + opened + shaken, opened, shaken, turns)
    yield compared(
        "p99 while heads change",
        bar=3.0,
        peer="p99 before, under the same load",
        ours=during.percentile(99) * 1000,
        peers=calm.outcome.percentile(99) * 1000,
        runs=turns,
        unit="ms",
        note=f"p50 {during.percentile(50) * 1000:.1f} ms, before "
        f"{calm.outcome.percentile(50) * 1000:.1f}; slowest {during.percentile(100):.2f} s, "
        f"before {calm.outcome.percentile(100):.2f}; {during.rate:.0f} requests/s, before "
        f"{calm.outcome.rate:.0f}",
    )


def _failures(all_: Outcome, opened: Outcome, shaken: Outcome, turns: int) -> Figure:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(all_.failures.items()))
    return Figure(
        "failed requests during deploy and rollback",
        peer="",
        ratio=float(all_.failed),
        bar=0,
        ours=float(all_.failed),
        peers=None,
        runs=turns,
        note=f"of {all_.requests:,}, of them {shaken.requests} WebSockets and {opened.requests} "
        f"with {TIMEOUT:.0f} s from the opening of their own connection on; a changed backend and "
        f"a changed frontend, three heads, TLS, kept and new connections"
        + (f": {kinds}" if kinds else ""),
        unit="requests",
    )


def _assets(lab: Lab) -> list[str]:
    """Name one hashed file of each frontend, which pages loaded before a switch ask for after."""
    found = []
    for page in PAGES:
        match = _ASSET.search(ask(lab.heads[0], page)[1])
        if match is not None:
            found.append(match[1].decode())
    return found
