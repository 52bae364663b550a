"""Clusters for tests of phases on real heads: one for all of them, and one of its own for a module.

`cluster` is shared by every module: it is brought as far as a test needs by `cluster.reach(NAME)`,
may be further already, and is left as it was found. `make_cluster` of the lab's fixtures gives a
module heads of its own, to which anything may be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.cluster import Cluster, cluster_on
from tests.lab.fixtures import require
from tests.lab.lab import available

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require(available())
    with cluster_on(tmp_path_factory.mktemp("phases")) as made:
        yield made
