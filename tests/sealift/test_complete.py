"""What the tab key offers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sealift.conftest import Folder

REPOSITORY = Path(__file__).resolve().parents[2]
BACKENDS = {"backend_5010"}
OFFERED = {
    "a command": ("sealift bui", {"build"}),
    "a recipe": ("sealift build back", BACKENDS),
    "all": ("sealift build al", {"all"}),
    "not twice": ("sealift build backend_5010 backend_", set[str]()),
    "show": ("sealift show node", {"node-20"}),
    "lock": ("sealift lock back", BACKENDS),
    "log": ("sealift log back", BACKENDS),
    "path-info": ("sealift path-info --size back", BACKENDS),
    "why-depends": (
        "sealift why-depends release pyth",
        {"python-3.11", "python-3.13", "python-tools"},
    ),
    "a service": ("sealift logs back", BACKENDS),
    "what does not run": ("sealift restart frontend", set[str]()),
    "the web server": ("sealift stop ngi", {"nginx"}),
    "start": ("sealift start web", {"websocket_5011"}),
    "a phase": ("sealift phase run sto", {"storage"}),
    "another phase": ("sealift phase plan storage,red", {"storage,redis"}),
    "a phase to skip": ("sealift phase run all --skip slu", {"slurm"}),
}


def offered(folder: Folder, line: str) -> set[str]:
    words = line.split(" ")
    env = {
        "_SEALIFT_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = folder.run(env=env)
    assert not done.stderr
    return {row.partition(",")[2] for row in done.stdout.splitlines() if row}


@pytest.mark.parametrize(("line", "names"), OFFERED.values(), ids=OFFERED)
def test_names_are_offered(folder: Folder, line: str, names: set[str]) -> None:
    shutil.copytree(REPOSITORY / "recipes", folder.root / "recipes", dirs_exist_ok=True)
    assert offered(folder, line) == names


def test_other_settings_have_other_recipes(folder: Folder) -> None:
    (folder.root / "sealift.yaml").rename(folder.root / "other.yaml")
    shutil.copytree(REPOSITORY / "recipes", folder.root / "recipes", dirs_exist_ok=True)
    assert offered(folder, "sealift build back") == set()
    assert offered(folder, "sealift --config other.yaml build back") == BACKENDS


def test_a_broken_recipe_offers_nothing_and_says_nothing(folder: Folder) -> None:
    folder.recipe("broken", "kind: [\n")
    assert offered(folder, "sealift build bro") == set()
