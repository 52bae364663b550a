"""A site with a cluster and phases, written as files, for tests of what becomes of them."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from builders import phase
from builders.build import BuildError
from builders.deb_pins import Asked, DebLock, Pinned
from builders.loader import load_recipe
from builders.phases import SET
from builders.project import Project
from builders.settings import load_settings
from deploy.phases.configuration_file import load
from sealift.site import cluster

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builders.step import Step
    from deploy.phases.configuration import Configuration
    from store.errors import Error

TINY = """\
kind: phase
description: one file
number: 3
parameters:
  word: {type: word, default: hello}
files:
  - path: /etc/tiny.conf
    text: |
      {{ word }} from {{ host.name }}
    units: [tiny.service]
units: [tiny.service]
"""
HELD = "/opt/sealift/store/00000000000000000000000000000000-cluster-packages"
"""Where the set of packages lies."""
STATUS = "Package: dpkg\nStatus: install ok installed\nVersion: 1.21\nArchitecture: amd64\n"
SET_RECIPE = """\
kind: apt
base: head
suites: [bookworm]
packages: [adduser, apache2, mailer]
"""


@dataclass
class PhaseSite:
    """The folder of a site, whose files a test writes."""

    folder: Path

    def settings(self, cluster: str | None = "", *, hosts: str = "") -> None:
        """Write the settings; `cluster` is what stands below `cluster:`, None for no cluster."""
        given = hosts or "hosts:\n" + "".join(
            f"  head{n}: {{address: 10.0.0.1{n}}}\n" for n in (1, 2, 3)
        )
        below = textwrap.indent(textwrap.dedent(cluster), "  ") if cluster is not None else ""
        said = "" if cluster is None else f"cluster:\n{below}"
        (self.folder / "sealift.yaml").write_text(f"sources: .\n{given}{said}")

    def recipe(self, name: str, text: str) -> None:
        """Write a recipe."""
        file = self.folder / "recipes" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def packages(self, name: str = "cluster") -> None:
        """Write a set of packages with its lock, beside a base that has adduser."""
        self.recipe(name, SET_RECIPE)
        recipes = self.folder / "recipes"
        (recipes / "bases").mkdir(exist_ok=True)
        (recipes / "bases" / "head.status").write_text(STATUS)
        names = ("adduser", "apache2", "mailer")
        question = Asked.of(names, ("bookworm main",), base="head", status=STATUS)
        asked = replace(question, present={"adduser": "3.134"}, provided={"mailer": "postfix"})
        pins = {
            each: Pinned("2.4", "all", "bookworm", f"{each}.deb", _digest(name, each), 1)
            for each in ("apache2", "postfix")
        }
        (recipes / "locks").mkdir(exist_ok=True)
        moments = {"bookworm": "20260101T000000Z"}
        (recipes / "locks" / f"{name}.json").write_text(str(DebLock(moments, pins, asked=asked)))

    @property
    def project(self) -> Project:
        """All of it, as loaded."""
        settings = load_settings(self.folder)
        files = sorted((self.folder / "recipes").glob("*.yaml"))
        recipes = {file.stem: load_recipe(file) for file in files}
        return Project(settings, recipes, cluster(settings))

    def steps(self, name: str = "tiny") -> dict[str, Step]:
        """Plan a phase; its steps by the name of the host."""
        project = self.project
        planned = phase.plan(project.recipes[name], None, project)
        assert planned[-1].key == name
        return {step.key.partition(":")[2]: step for step in planned[:-1]}

    def configuration(self, host: str = "head1", name: str = "tiny") -> Configuration:
        """Build what a phase wants of a host, and read it as a head does."""
        out = self.folder / f"out-{name}-{host}"
        phase.build(Made(self.steps(name)[host], out))  # type: ignore[arg-type]
        return load(out)

    def text(self, path: str, host: str = "head1", name: str = "tiny") -> str:
        """Return the text of a file on a host."""
        return str(self.steps(name)[host].arguments["texts"][path])


def _digest(*words: str) -> str:
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


@dataclass(frozen=True)
class Made:
    """As much of a build as one that only writes files looks at."""

    step: Step
    out: Path
    inputs: Mapping[str, Any] = field(default_factory=lambda: {SET: HELD})

    def error(self, reason: str) -> BuildError:
        """Make the error of a failed build."""
        return BuildError(reason)


def refusal(error: Error) -> str:
    """All that an error says."""
    return " | ".join(str(part) for part in (error.reason, error.expected, error.got, error.hint))
