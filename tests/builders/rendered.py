"""What the recipes of this repository want of a host's files, as texts: to be read and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders import phase
from builders.loader import load_recipe
from builders.project import Project
from builders.settings import load_settings
from sealift.site import cluster

if TYPE_CHECKING:
    from collections.abc import Mapping

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
HOSTS = {f"head{at}": {"address": f"10.0.0.{at}"} for at in (1, 2, 3)}


def rendered(
    folder: Path, name: str, host: str = "head1", **parameters: Mapping[str, Any]
) -> dict[str, str]:
    """Return the files of a phase on one of three heads, by path; parameters are by phase.

    The settings of the site are written into the folder.
    """
    said = {
        "sources": ".",
        "recipes": str(RECIPES),
        "hosts": HOSTS,
        "cluster": {"phases": parameters},
    }
    # JSON is YAML, too.
    (folder / "sealift.yaml").write_text(json.dumps(said))
    files = (*(RECIPES / "phases").glob("*.yaml"), RECIPES / "packages" / "cluster.yaml")
    recipes = {each.stem: load_recipe(each) for each in files}
    settings = load_settings(folder)
    steps = phase.plan(recipes[name], None, Project(settings, recipes, cluster(settings)))
    step = next(each for each in steps if each.key == f"{name}:{host}")
    return {str(path): str(text) for path, text in step.arguments["texts"].items()}
