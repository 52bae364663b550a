"""The push alone, over the channel that a deploy opens for it: what peers that only copy do."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store.local import LocalStore
    from tests.lab.platform import Site


def push_alone(site: Site, store: LocalStore, name: str, release: str) -> None:
    """Bring a release to a head that runs another, and do nothing else there."""
    from deploy.bulk import opened  # noqa: PLC0415 (what they bring is for this moment alone)
    from deploy.inventory import load  # noqa: PLC0415
    from deploy.route import route  # noqa: PLC0415
    from sealift.hosts import ssh  # noqa: PLC0415
    from sealift.site import Location  # noqa: PLC0415
    from store.send import send  # noqa: PLC0415
    from tests.lab.platform import agent  # noqa: PLC0415

    with Location(config=site.root / "sealift.yaml").open() as there:
        host, how = load(there.settings).hosts[name], ssh(there.settings)
    words = shlex.join([agent(site), "agent", "receive", "--root", "pushed"])
    with opened(name, route(host, how), how, words) as data:
        tops = [store.parse(release)]
        send(store, tops, reader=data.reader, writer=data.writer, observe=lambda _: None)
        if data.status():
            raise RuntimeError(f"the push to {name} failed: {data.stderr}")
