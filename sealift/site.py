"""One site as a command sees it: settings, store, recipes and sources, each opened when needed.

Parsing of the command line is for the commands; what is done with these values is for
`builders` and `deploy`.

On a head there are no settings to read: a program that lies in a store serves that store, and the
machine that it is on.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from builders.settings import (
    FILE_NAME,
    FILE_VARIABLE,
    HostSettings,
    Mirrors,
    Settings,
    load_settings,
)
from store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from builders.cluster import Cluster
    from builders.plan import Plan
    from builders.project import Project
    from builders.recipe import Recipe, SourceSpec
    from builders.step import SourceTree
    from deploy.head import Head
    from store.path import StorePath

HERE = "local"
RELEASE = "release"
"""What a release is called where no recipe of that kind says otherwise."""
RECEIVED = "received"
"""The folder beside the store that says what came in bundles."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where the user says that the site is, before anything is read."""

    config: Path | None = None
    sources: Path | None = None

    @property
    def head_store(self) -> Path | None:
        """The store of the head that this machine is; None if it is none."""
        return None if self.config or os.environ.get(FILE_VARIABLE) else own_store()

    def settings(self) -> Settings:
        """Load the settings; on a head those that follow from where this program lies."""
        store_dir = self.head_store
        if store_dir is not None:
            return _on_head(store_dir)
        overrides = {"sources": str(self.sources)} if self.sources else {}
        return load_settings(file=self.config, overrides=overrides)

    @contextmanager
    def open(self) -> Iterator[Site]:
        """Open the site's store for the time of a command.

        Raises:
            InputError: this is a head, and the user is not root.
        """
        if self.head_store is not None:
            _check_root()
        settings = self.settings()
        with LocalStore.open(settings.store_dir) as store:
            yield Site(settings, store)


def own_store() -> Path | None:
    """Return the store that this very program lies in, if it does."""
    path = own_path()
    return None if path is None else path.parent


def own_path() -> Path | None:
    """Return the store path that this very program lies in, if it does.

    That of its environment, where it has one: the path of this file is but a part of that.
    """
    here, prefix = (Path(os.path.realpath(each)) for each in (__file__, sys.prefix))
    found = next((each for each in here.parents if _is_store_name(each.name)), None)
    if found is None or sys.prefix == sys.base_prefix or prefix.parent != found.parent:
        return found
    return prefix


def _check_root() -> None:
    if os.geteuid() != 0:
        from store.errors import InputError

        words = shlex.join(["sudo", "sealift", *sys.argv[1:]])
        raise InputError("a head is for root alone", hint=words)


def _on_head(store_dir: Path) -> Settings:
    """Return the settings of a head: it builds nothing, and knows no host but itself."""
    root = store_dir.parent
    return Settings(
        file=root / FILE_NAME,
        root=root,
        store_dir=store_dir,
        state_dir=Path("/var/lib/sealift"),
        recipes_dir=root / "recipes",
        locks_dir=root / "recipes" / "locks",
        sources_dir=root / "sources",
        keyring=root / "keyring",
        mirrors=Mirrors(),
        sandbox="on",
        hosts=MappingProxyType({HERE: HostSettings(HERE)}),
        known_hosts=root / "known_hosts",
    )


@dataclass(frozen=True, slots=True)
class Memo:
    """One table of the store's small cache, as the stat cache wants it."""

    store: LocalStore
    table: str

    def get(self, key: str) -> bytes | None:
        """Return what was put, or None."""
        return self.store.memo_get(self.table, key)

    def put(self, key: str, value: bytes) -> None:
        """Keep a value."""
        self.store.memo_put(self.table, key, value)


class Site:
    """Settings and an open store; recipes and sources are read once, when first asked for."""

    def __init__(self, settings: Settings, store: LocalStore) -> None:
        self.settings = settings
        self.store = store
        self._trees: dict[str, SourceTree | None] = {}

    @property
    def on_head(self) -> bool:
        """Whether this machine is a head with systemd, served by a program of its own store."""
        return own_store() == self.settings.store_dir

    @cached_property
    def recipes(self) -> Mapping[str, Recipe]:
        """All recipes, by name; none on a head, nor where releases are brought in bundles."""
        if self.on_head or self._is_transfer_host:
            return {}
        from builders.loader import load_recipes

        return load_recipes(self.settings.recipes_dir)

    @property
    def _is_transfer_host(self) -> bool:
        """Whether `receive` ran here, and nobody made or named a folder of recipes."""
        usual, folder = self.settings.root / "recipes", self.settings.recipes_dir
        if folder != usual or folder.exists():
            return False
        # The lock is there from the first call on, even if that was interrupted.
        var = self.store.var_dir
        return (var / RECEIVED).is_dir() or (var / "locks" / RECEIVED).exists()

    @cached_property
    def cluster(self) -> Cluster | None:
        """The hosts of the site's cluster, and what it says of phases; None if it has none.

        Raises:
            InputError: a host is not there, or has no IP address.
        """
        return cluster(self.settings)

    @property
    def project(self) -> Project:
        """Settings, recipes and cluster, as planners want them."""
        from builders.project import Project

        return Project(self.settings, self.recipes, self.cluster)

    def source(self, recipe: Recipe) -> SourceTree | None:
        """Look at a recipe's source tree."""
        from builders.source import collect

        if recipe.name not in self._trees:
            cache = Memo(self.store, "source")
            spec, settings = recipe.source, self.settings
            base = settings.source_base
            tree = None if spec is None else collect(spec, base(spec), cache=cache)
            self._trees[recipe.name] = tree
        return self._trees[recipe.name]

    def looked_at(self) -> list[SourceSpec]:
        """Say which sources took part in what was planned, in a fixed order."""
        taken = (self.recipes[name].source for name in sorted(self._trees))
        return [spec for spec in taken if spec is not None]

    def plan(self, names: Collection[str], *, keep_going: bool = False) -> Plan:
        """Plan the named recipes; all of them if none is named."""
        from builders import contents
        from builders.plan import plan

        return plan(
            self.project,
            self.source,
            names,
            keep_going=keep_going,
            inventory=contents.plan,
        )

    def path(self, text: str) -> StorePath:
        """Return the store path that a word means: a path, or a recipe as last built.

        Raises:
            InputError: it is neither.
        """
        from store.path import StorePath
        from store.roots import follow

        if "/" in text or _is_store_name(text):
            return self.store.parse(text)
        found = follow(self.store.var_dir / "gcroots" / text, self.store.store_dir)
        if not isinstance(found, StorePath):
            raise self._unknown(text)
        return found

    def release(self) -> str:
        """Name the one recipe of kind release; without recipes, what came in a bundle.

        Raises:
            InputError: there are several.
        """
        from builders.recipe import Kind
        from store.errors import InputError

        found = sorted(n for n, recipe in self.recipes.items() if recipe.kind is Kind.RELEASE)
        if len(found) > 1:
            reason = f"there are {len(found)} releases: {', '.join(found)}"
            raise InputError(reason, hint="--release NAME")
        return found[0] if found else self._received() or RELEASE

    def _received(self) -> str | None:
        """Return what the release is called that came in the newest bundle, if one came."""
        if not (self.store.var_dir / RECEIVED).is_dir():
            return None
        from deploy.bundle.numbers import newest

        arrival = newest(self.store.var_dir)
        return None if arrival is None else arrival.root

    def head(self, name: str | None = None) -> Head:
        """Return a head of the inventory; without a name, its only one, or the local one."""
        from deploy.inventory import DEFAULT, head

        if self.on_head:
            return self._own(name)
        hosts = self.settings.hosts
        only = next(iter(hosts)) if len(hosts) == 1 else DEFAULT
        return head(self.settings, self.store, name or only)

    def _own(self, name: str | None) -> Head:
        """Return the head that this machine is.

        Raises:
            InputError: another one is meant.
        """
        from deploy.systemd_head import SystemdHead
        from store.errors import InputError

        head = SystemdHead(self.store)
        if name not in (None, HERE, head.name):
            raise InputError(f"this is {head.name}", got=str(name), hint="leave --host out")
        return head

    def _unknown(self, text: str) -> Exception:
        from difflib import get_close_matches

        from store.errors import InputError

        if text in self.recipes:
            return InputError(f"{text} was not built yet", hint=f"sealift build {text}")
        near = get_close_matches(text, self.recipes, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "sealift list"
        return InputError(f"{text!r} is neither a store path nor a recipe", hint=hint)


def cluster(settings: Settings) -> Cluster | None:
    """Return the cluster that the settings tell of, if they do.

    Raises:
        InputError: a host is not there, or has no IP address.
    """
    said = settings.cluster
    if said is None:
        return None
    from builders.cluster import Cluster, ClusterHost
    from deploy import inventory
    from deploy.cluster import cluster_hosts, within

    known = inventory.load(settings)
    hosts = cluster_hosts(known, said.hosts, said.addresses)
    names = tuple(host.name for host in hosts)
    return Cluster(
        said.name,
        tuple(ClusterHost(each.name, each.address, each.priority) for each in hosts),
        settings.file,
        lambda wanted: within(hosts, known.select(wanted)) if wanted else names,
        said.phases,
    )


def _is_store_name(text: str) -> bool:
    from store.path import NotAStorePathError, StorePath

    try:
        StorePath.parse(text)
    except NotAStorePathError:
        return False
    return True
