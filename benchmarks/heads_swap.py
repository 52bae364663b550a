"""The swap of a profile's link, timed where it happens: on a head, by the head's own agent."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.head import LabHead
    from tests.lab.platform import Site

TURNS = 100
PROGRAM = """
import sys, time
from pathlib import Path
from deploy import durable
link = Path(sys.argv[1]) / "bench-link"
durable.link(link, "one")
for turn in range(int(sys.argv[2])):
    began = time.perf_counter()
    durable.link(link, f"system-{turn}-link")
    print(time.perf_counter() - began)
link.unlink()
"""


def swap_on(head: LabHead, site: Site) -> float:
    """Swap a link beside the head's profile; the median in seconds."""
    var = site.store_dir.parent / "var"
    python = f"{var}/profiles/system/bin/sealift"
    agent = head.run("readlink", "-f", python).stdout.decode().strip()
    interpreter = f"{agent.rpartition('/bin/')[0]}/bin/python3"
    words = (interpreter, "-B", "-c", PROGRAM, f"{var}/profiles", str(TURNS))
    return median(float(line) for line in head.run(*words).stdout.split())
