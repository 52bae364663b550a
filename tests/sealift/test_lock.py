"""`sealift lock`: what it writes, what it takes away, and what it only looks at."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders.registry import serving
from tests.builders.wheels import make_wheel, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

SEALIFT = Path(sys.executable).with_name("sealift")
TOOLCHAINS = Path(__file__).resolve().parents[2] / "recipes" / "toolchains"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """Lay a site with one environment, whose packages an index of our own has."""
    with serving() as registry:
        publish(registry, make_wheel("top"))
        shutil.copytree(TOOLCHAINS, tmp_path / "recipes" / "toolchains")
        (tmp_path / "recipes" / "locks").mkdir()
        (tmp_path / "recipes" / "asking.yaml").write_text("kind: env\nrequirements: [top]\n")
        mirrors = f"mirrors: {{pypi_index: {registry.url}/simple}}\n"
        (tmp_path / "sealift.yaml").write_text(mirrors)
        yield tmp_path


def lock(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(SEALIFT), "lock", *words]
    return subprocess.run(argv, cwd=site, capture_output=True, text=True, timeout=60, check=False)


def test_a_lock_is_written_once_and_named(site: Path) -> None:
    first = lock(site, "asking")
    assert (first.returncode, first.stderr[:27]) == (0, "locked    asking: asking.py"), first
    assert "top-1.0" in (site / "recipes/locks/asking.pylock.toml").read_text()
    again = lock(site, "asking")
    assert (again.returncode, again.stderr) == (0, "unchanged asking\n")


def test_the_lock_of_what_nothing_is_compiled_with_any_more_goes(site: Path) -> None:
    lock(site, "asking")
    debs = site / "recipes/locks/asking.debs.json"
    debs.write_text("{}\n")
    looked = lock(site, "asking", "--check")
    assert (looked.returncode, debs.exists()) == (1, True)
    assert "would change asking: asking.debs.json" in looked.stderr
    done = lock(site, "asking")
    assert (done.returncode, debs.exists()) == (0, False)


def test_check_writes_nothing(site: Path) -> None:
    assert lock(site, "asking", "--check").returncode == 1
    assert not list((site / "recipes/locks").iterdir())
