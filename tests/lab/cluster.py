"""A lab whose heads are to become a cluster: its site, and the commands that make it one.

The site is that of the small platform, with the recipes of the phases besides. Its store is shared
with whoever else tests clusters, at the same time too: paths of other labs do no harm.
"""

from __future__ import annotations

import fcntl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.lab import Lab
from tests.lab.layer import layer
from tests.lab.operator import operator
from tests.lab.platform import HEADS, STORES, Site
from tests.lab.root import root

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from tests.e2e.platform import Done
    from tests.lab.operator import Operator

PACKAGES = "cluster"
"""The recipe of all packages that phases install."""
PHASES = ("infrastructure", "storage", "database", "redis", "slurm")
ALL = "0-4"
PARAMETERS: Mapping[str, Mapping[str, object]] = {
    # A container does not set the clock of its machine.
    "infrastructure": {"clock": "measure"},
    # A head has one disk.
    "storage": {"on_root": True},
    "database": {"buffer": "64M", "log": "32M", "gcache": "32M"},
    "slurm": {"cpus": 2},
}
"""What a lab asks of phases that a site would ask otherwise."""
REDIS_PASSWORD = "told-to-tests-2718"
"""Tests speak to Redis as its clients do; all other secrets are made by sealift."""


@dataclass(slots=True)
class Cluster:
    """Heads of a lab, and their operator's site, whose release has the phases for them.

    `release` is the one of its own: in a store that others build in, the newest may be another's.
    `reached` is the number of the last phase that was brought up by `reach`.
    """

    site: Site
    lab: Lab
    parameters: Mapping[str, Mapping[str, object]]
    release: str = ""
    reached: int = -1

    @classmethod
    def make(
        cls,
        site: Site,
        lab: Lab,
        parameters: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Cluster:
        """Let the heads be those of the site, build what they are to get, and make its secrets.

        Parameters stand beside what a lab asks of phases anyhow.
        """
        cluster = cls(site, lab, _joined(PARAMETERS, parameters or {}))
        cluster.build()
        site.sealift("secret", "set", "REDIS_PASSWORD", given=f"{REDIS_PASSWORD}\n")
        site.sealift("secret", "generate", "--all")
        return cluster

    def build(self, **changed: Mapping[str, object]) -> None:
        """Build the release that runs take from now on, with other parameters of some phases."""
        self.settle(**changed)
        self.release = self.site.build()

    def settle(self, **changed: Mapping[str, object]) -> None:
        """Write the settings, with other parameters of some phases."""
        phases = _joined(self.parameters, changed)
        self.site.join(self.lab, cluster={"hosts": HEADS, "phases": phases})

    def attempt(self, *words: str) -> Done:
        """Run `sealift phase …` to its end, however it ends."""
        return self.site.try_sealift("phase", *words, "--release", self.release)

    def do(self, *words: str) -> Done:
        """Run `sealift phase …`, which must do what it is told."""
        return self.site.sealift("phase", *words, "--release", self.release)

    def run(self, phases: str = ALL, *words: str, heads: str = HEADS) -> Done:
        """Bring phases up."""
        return self.do("run", phases, "--host", heads, "--yes", *words)

    def verify(self, phases: str = ALL, heads: str = HEADS) -> Done:
        """Try whether phases work."""
        return self.do("verify", phases, "--host", heads)

    @contextmanager
    def running(self, phases: str = ALL, heads: str = HEADS) -> Iterator[Operator]:
        """Have a run under way; it is dead when the context is left."""
        words = ("run", phases, "--host", heads, "--yes", "--release", self.release)
        with operator(self.site, "phase", *words) as running:
            yield running

    def reach(self, phase: str) -> None:
        """Bring up all phases to this one, where that was not done yet."""
        number = PHASES.index(phase)
        if self.reached < number:
            self.run(f"{self.reached + 1}-{number}")
            self.reached = number

    def renew(self) -> None:
        """Give every head an empty disk: it is as it came from its installer, and on."""
        for head in self.lab.heads:
            if head.leader is not None:
                head.power_cut()
            head.wipe()
            head.heal()
            head.start()
        for head in self.lab.heads:
            head.wait_ssh()
        self.reached = -1


def _joined(
    usual: Mapping[str, Mapping[str, object]], changed: Mapping[str, Mapping[str, object]]
) -> dict[str, dict[str, object]]:
    return {name: {**usual.get(name, {}), **changed.get(name, {})} for name in {**usual, **changed}}


def cluster_root(site: Site) -> Path:
    """Hand back the root of heads that have all packages of phases, and none of it configured."""
    lock = (site.recipes / "locks" / f"{PACKAGES}.json").read_text()
    return layer(root(), lock, lambda: _repository(site))


def _repository(site: Site) -> Path:
    site.sealift("build", PACKAGES)
    return Path(site.sealift("path-info", PACKAGES).out.strip())


@contextmanager
def shared_store() -> Iterator[Path]:
    """Use the store that is kept for clusters, beside others who do."""
    folder = STORES / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder / "store"


@contextmanager
def cluster_on(
    folder: Path,
    parameters: Mapping[str, Mapping[str, object]] | None = None,
    *,
    example: Collection[str] = (),
    bare: bool = False,
    size: int = 3,
) -> Iterator[Cluster]:
    """Have heads that are to become a cluster, in a lab of their own.

    `bare` ones have no package beforehand, as a site's have none. `example` names what of the
    example platform stands beside the small one.
    """
    with shared_store() as store:
        site = Site.cluster(folder / "site", store)
        site.borrow(*example)
        lower = None if bare else cluster_root(site)
        with Lab(size, folder=folder / "lab", lower=lower) as lab:
            yield Cluster.make(site, lab, parameters)


def prepared_root() -> Path:
    """Hand back the root of a cluster's heads where there is no site yet."""
    with shared_store() as store, tempfile.TemporaryDirectory(prefix="sealift-lab-") as folder:
        return cluster_root(Site.cluster(Path(folder) / "site", store))
