"""What an earlier run found, if nothing that decides it has changed: a build's fast way out.

An evaluation's key covers every recipe and lock, every source tree, the builders' own code and
the settings that enter a derivation, the cluster among them. Equal keys give equal outputs;
nothing is parsed to find out.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from builders.recipe import SourceSpec
from builders.recipe_digest import recipes_digest
from builders.source import source_digest
from sealift.site import Memo

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from builders.settings import Settings
    from sealift.site import Site
    from store.path import StorePath

_FORMAT = 4
_TABLE = "evaluation"
_SPECS = "sources"


def recall(site: Site, names: Collection[str]) -> dict[str, str] | None:
    """Return recipe → store path of an earlier build of the same, or None.

    Every source that takes part is looked at. The outputs are still registered, they and all they
    refer to are on disk, and they are what was last built: after another build in between, what
    goes by the recipes' names is its outputs, and a build has to put that right.
    """
    base = _base(site, names)
    specs = _specs(site, base)
    if specs is None:
        return None
    known = site.store.memo_get(_TABLE, _key(site, base, specs))
    if known is None:
        return None
    outputs: dict[str, str]
    outputs, closure = json.loads(known)
    if not all(_is_last(site, name, path) for name, path in outputs.items()):
        return None
    wanted = {site.store.parse(path) for path in outputs.values()}
    whole = len(site.store.valid(wanted)) == len(wanted) and all(map(os.path.lexists, closure))
    return outputs if whole else None


def remember(
    site: Site,
    names: Collection[str],
    outputs: Mapping[str, str],
    *,
    beside: Collection[StorePath] = (),
) -> None:
    """Keep what a build of everything that was asked for gave; `beside` must stay there too."""
    base = _base(site, names)
    specs = site.looked_at()
    site.store.memo_put(_SPECS, base, json.dumps([asdict(spec) for spec in specs]).encode())
    key = _key(site, base, specs)
    made = [site.store.parse(path) for path in outputs.values()]
    infos = site.store.closure([*made, *beside])
    known = [dict(sorted(outputs.items())), [str(site.store.real(info.path)) for info in infos]]
    site.store.memo_put(_TABLE, key, json.dumps(known).encode())


def _cluster(settings: Settings) -> Any:  # noqa: ANN401 - any JSON value
    """Give all that decides who is in the cluster, and what its phases are told."""
    said = settings.cluster
    if said is None:
        return None
    from builders.kept_node import meaning

    phases = {name: meaning(of) for name, of in said.phases.items()}
    hosts = {name: asdict(of) for name, of in settings.hosts.items()}
    about = [said.name, said.hosts, dict(said.addresses), phases]
    return [*about, hosts, dict(settings.groups)]


def _is_last(site: Site, name: str, path: str) -> bool:
    """Tell whether the root that goes by a recipe's name leads to this path."""
    try:
        # As text: no path is made, for this runs for every recipe of a build with nothing to do.
        return os.readlink(f"{site.store.var_dir}/gcroots/{name}") == path  # noqa: PTH115
    except OSError:
        return False


def _base(site: Site, names: Collection[str]) -> str:
    """Digest what decides which sources take part: recipes, locks, and what was asked for."""
    folders = [site.settings.recipes_dir, site.settings.locks_dir]
    digest = recipes_digest(folders, cache=Memo(site.store, "recipes"))
    return json.dumps([_FORMAT, digest, sorted(names)])


def _specs(site: Site, base: str) -> list[SourceSpec] | None:
    known = site.store.memo_get(_SPECS, base)
    return None if known is None else [_spec(row) for row in json.loads(known)]


def _spec(row: Mapping[str, Any]) -> SourceSpec:
    lists = {key: tuple(row[key]) for key in ("include", "exclude", "allow_secrets", "only")}
    return SourceSpec(row["path"], row["subdir"], **lists, beside=row["beside"])


def _key(site: Site, base: str, specs: Sequence[SourceSpec]) -> str:
    from builders.code import code_digest

    cache = Memo(site.store, "source")
    chosen = site.settings
    trees = [source_digest(spec, chosen.source_base(spec), cache=cache) for spec in specs]
    settings = [str(chosen.store_dir), str(chosen.state_dir), chosen.sandbox, _cluster(chosen)]
    facts = [base, code_digest(), trees, settings]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
