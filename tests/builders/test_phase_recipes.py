"""What the recipes of this repository's phases refuse of a site's settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builders.fields import RecipeError
from tests.builders.phase_site import PhaseSite

RECIPES = Path(__file__).parents[2] / "recipes" / "phases"
_OF_PACKAGES = re.compile(r"^(?:inputs|packages):.*\n", re.MULTILINE)
REFUSED = {
    "storage: {brick: /mnt/gluster}": ("storage.brick", "overlap"),
    "storage: {brick: /mnt/gluster/brick}": ("storage.brick", "overlap"),
    "storage: {mount: /srv/gluster}": ("storage.brick", "overlap"),
    "storage: {mount: /srv/shared}": None,
    "storage: {mount: /srv/gluster/brick/all}": ("storage.brick", "overlap"),
    "database: {databases: {told: nobody, slurm_acct_db: slurm}}": (
        "database.databases",
        "`users` does not name nobody",
    ),
    "slurm: {database: absent}": ("slurm.database", "makes no database absent"),
    "database: false": ("slurm.database", "leaves phase database out"),
    "storage: false": ("slurm.controllers", "leaves phase storage out"),
    "slurm: {database: auth_portal}": None,
}


@pytest.mark.parametrize("said", REFUSED)
def test_parameters_that_do_not_go_together(tmp_path: Path, said: str) -> None:
    site = PhaseSite(tmp_path.resolve())
    site.settings(f"phases: {{{said}}}")
    for file in RECIPES.glob("*.yaml"):
        # What is installed has nothing to do with it, and needs a lock.
        site.recipe(file.stem, _OF_PACKAGES.sub("", file.read_text()))
    names = [each for each in ("storage", "database", "slurm") if f"{each}: false" != said]
    expected = REFUSED[said]
    if expected is None:
        assert all(site.steps(name) for name in names)
        return
    name = expected[0].partition(".")[0]
    with pytest.raises(RecipeError, match=expected[1]) as caught:
        site.steps(name)
    assert str(caught.value.where).endswith(f"sealift.yaml: cluster.phases.{expected[0]}")
