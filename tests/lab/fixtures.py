"""Pytest's way to a lab: factories that take all of their labs down at the end.

    def test_something(make_lab: MakeLab) -> None:
        head = make_lab(1).heads[0]

`make_lab` lives as long as a test, `make_shared_lab` as long as a module. Where the machine cannot
have a lab the test is skipped with the reason; in CI it fails, since there it has to run.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.lab.cluster import Cluster, cluster_on
from tests.lab.lab import Lab, available

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path


class MakeLab(Protocol):
    """Boots a lab that ends by itself."""

    def __call__(self, size: int = 3, *, tools: bool = False, disk_size: int = 8 << 30) -> Lab: ...


class MakeCluster(Protocol):
    """Boots heads that are to become a cluster, and ends by itself."""

    def __call__(
        self,
        parameters: Mapping[str, Mapping[str, object]] | None = None,
        *,
        example: Collection[str] = (),
        bare: bool = False,
        size: int = 3,
    ) -> Cluster: ...


@pytest.fixture
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    with labs(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLab]:
    with labs(tmp_path_factory) as make:
        yield make


@contextmanager
def labs(folders: pytest.TempPathFactory) -> Iterator[MakeLab]:
    """Hand out a factory of labs, for a fixture of any scope."""
    require(available())
    with ExitStack() as stack:

        def make(size: int = 3, *, tools: bool = False, disk_size: int = 8 << 30) -> Lab:
            folder: Path = folders.mktemp("lab")
            return stack.enter_context(Lab(size, folder=folder, tools=tools, disk_size=disk_size))

        yield make


@pytest.fixture(scope="module")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    """Hand out a factory of clusters to be, that live as long as a module."""
    require(available())
    with ExitStack() as stack:

        def make(
            parameters: Mapping[str, Mapping[str, object]] | None = None,
            *,
            example: Collection[str] = (),
            bare: bool = False,
            size: int = 3,
        ) -> Cluster:
            folder: Path = tmp_path_factory.mktemp("cluster")
            kind = cluster_on(folder, parameters, example=example, bare=bare, size=size)
            return stack.enter_context(kind)

        yield make


def require(missing: str | None) -> None:
    """Skip with the reason why there can be no lab; fail where tests have to run."""
    if missing is not None and os.environ.get("CI"):
        pytest.fail(missing)
    if missing is not None:
        pytest.skip(missing)
