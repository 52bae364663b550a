"""The fast way out of a build: taken only while everything is as it was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealift import evaluation
from sealift.site import Location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.site import Site
    from store.path import StorePath
    from tests.sealift.conftest import Folder


@pytest.fixture
def site(folder: Folder) -> Iterator[Site]:
    with Location(config=folder.root / "sealift.yaml").open() as opened:
        yield opened


def add(site: Site, name: str, *references: StorePath) -> StorePath:
    with site.store.session(), site.store.temporary() as place:
        (place / "tree").write_text(name)
        return site.store.add(place / "tree", name, references=references).path


@pytest.fixture
def chain(site: Site) -> list[StorePath]:
    deep = add(site, "deep")
    middle = add(site, "middle", deep)
    top = add(site, "top", middle)
    site.store.add_root("top", top)
    evaluation.remember(site, [], {"top": str(site.store.real(top))})
    return [top, middle, deep]


def test_what_was_built_is_found_again(site: Site, chain: list[StorePath]) -> None:
    assert evaluation.recall(site, []) == {"top": str(site.store.real(chain[0]))}
    assert evaluation.recall(site, ["other"]) is None


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_whatever_is_gone_from_the_disk_is_missed(
    site: Site, chain: list[StorePath], depth: int
) -> None:
    site.store.real(chain[depth]).unlink()
    assert evaluation.recall(site, []) is None


def test_what_is_not_what_was_last_built_is_missed(site: Site, chain: list[StorePath]) -> None:
    """A source that is changed, built, and changed back: a deploy goes by the root."""
    top, middle, _ = chain
    site.store.add_root("top", middle)
    assert evaluation.recall(site, []) is None
    site.store.add_root("top", top)
    assert evaluation.recall(site, []) == {"top": str(site.store.real(top))}
    site.store.remove_root("top")
    assert evaluation.recall(site, []) is None


def test_a_new_recipe_is_another_evaluation(
    site: Site, chain: list[StorePath], folder: Folder
) -> None:
    assert chain
    folder.recipe("new", "kind: env\n")
    assert evaluation.recall(site, []) is None


def test_all_of_it_on_a_terminal_is_one_line(
    site: Site, chain: list[StorePath], folder: Folder
) -> None:
    assert folder.on_a_terminal("build", "all").splitlines() == ["nothing to do"]
    path = str(site.store.real(chain[0]))
    assert folder.run("build", "all").stdout.splitlines() == [path]
    evaluation.remember(site, ["top"], {"top": path})
    assert folder.on_a_terminal("build", "top").splitlines() == [path, "nothing to do"]


SITE = """\
sources: .
hosts:
  head1: {address: 10.0.0.1}
  head2: {address: 10.0.0.2}
"""
CLUSTER = "cluster:\n  phases: {storage: {volume: data}}\n"


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (SITE + CLUSTER, SITE + CLUSTER, True),
        (SITE + CLUSTER, SITE + CLUSTER.replace("{storage", "\n    {storage"), True),
        (SITE + CLUSTER, SITE, False),
        (SITE, SITE + "cluster:\n", False),
        (SITE + CLUSTER, SITE + CLUSTER.replace("data", "other"), False),
        (SITE + CLUSTER, SITE + CLUSTER + "  name: hpc\n", False),
        (SITE + CLUSTER, "site: hpc\n" + SITE + CLUSTER, False),
        (SITE + CLUSTER, SITE + CLUSTER + "  hosts: head1\n", False),
        (SITE + CLUSTER, SITE + CLUSTER + "  addresses: {head1: 10.0.0.3}\n", False),
        (SITE + CLUSTER, SITE.replace("10.0.0.2", "10.0.0.9") + CLUSTER, False),
        (SITE + CLUSTER, SITE.replace("10.0.0.2", "10.0.0.2, priority: 3") + CLUSTER, False),
        (SITE + CLUSTER, SITE + "groups: {heads: head1}\n" + CLUSTER, False),
        # Where there is no cluster, hosts decide nothing that is built.
        (SITE, SITE.replace("10.0.0.2", "10.0.0.9"), True),
    ],
)
def test_another_cluster_is_another_evaluation(
    folder: Folder, before: str, after: str, *, same: bool
) -> None:
    config = folder.root / "sealift.yaml"
    config.write_text(before)
    with Location(config=config).open() as site:
        top = add(site, "top")
        site.store.add_root("top", top)
        evaluation.remember(site, [], {"top": str(site.store.real(top))})
        assert evaluation.recall(site, []) is not None
    config.write_text(after)
    with Location(config=config).open() as site:
        assert (evaluation.recall(site, []) is not None) is same
