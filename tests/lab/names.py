"""What one lab's things are called, all of it from its number: whoever sweeps needs nothing else.

Lab N has bridge `sealift-labN`, net 10.78.N.0/24 with the transfer host at .1 and head I at .10+I,
cgroups `sealift-labN/headI`, nftables `sealift_labN`, and the folder RUN/N.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/sealift-lab")
NUMBERS = range(250)
MOST_HEADS = 99


@dataclass(frozen=True, slots=True)
class Names:
    """The names of lab `number`."""

    number: int

    @property
    def bridge(self) -> str:
        return f"sealift-lab{self.number}"

    @property
    def table(self) -> str:
        return f"sealift_lab{self.number}"

    @property
    def cgroup(self) -> str:
        return f"sealift-lab{self.number}"

    @property
    def net(self) -> str:
        return f"10.78.{self.number}.0/24"

    @property
    def transfer(self) -> str:
        """The transfer host's address: where the heads' default route sinks."""
        return f"10.78.{self.number}.1"

    @property
    def run(self) -> Path:
        """The lab's own tmpfs: mount points and what is known of it."""
        return RUN / str(self.number)

    @property
    def lock(self) -> Path:
        return RUN / f"{self.number}.lock"

    def address(self, head: int) -> str:
        return f"10.78.{self.number}.{10 + head}"

    def machine(self, head: int) -> str:
        """Systemd-nspawn's name of a head: short, since a link's name has 15 letters."""
        return f"l{self.number}-head{head}"

    def link(self, head: int) -> str:
        """The transfer host's end of a head's link, as systemd-nspawn names it."""
        return f"vb-{self.machine(head)}"
