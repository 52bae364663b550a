"""Wheels made here, an index that serves them, and a project that needs no download.

The interpreter is this machine's, the sandbox is off: what is tried is what the steps make of
wheels. With real interpreters and in the sandbox it is tried by `test_pex_real`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import warnings
import zipfile
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from builders.kinds import BUILDERS, PLANNERS
from builders.lock_files import lock_file
from builders.plan import plan
from builders.project import Project
from builders.python_lock import render, requirements_of, target_of
from builders.python_pins import Wheel
from builders.realise import Result, realise
from builders.recipe import Health, Kind, Probe, Recipe, Service, SourceSpec
from builders.sandbox import SandboxMode
from builders.settings import HostSettings, Mirrors, Settings
from builders.step import Step
from tests.builders.workbench import source_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builders.build import Build
    from builders.step import SourceTree
    from store.local import LocalStore
    from tests.builders.registry import Handler, Registry

HOST = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""Version of the interpreter that the fake toolchain has."""
GUNICORN = '''\
import importlib, json, os, sys
# known: --no-control-socket

def run():
    """Say what the service sees, as gunicorn would load it."""
    sys.path.insert(0, os.getcwd())
    application = importlib.import_module(sys.argv[1].partition(":")[0])
    print(json.dumps({"argv": sys.argv, "path": sys.path, "said": application.said(),
                      "env": dict(os.environ), "prefix": sys.prefix}))
'''


def make_wheel(
    name: str,
    version: str = "1.0",
    files: Mapping[str, str | bytes] = MappingProxyType({}),
    *,
    requires: Sequence[str] = (),
    scripts: Mapping[str, str] = MappingProxyType({}),
    tag: str = "py3-none-any",
) -> tuple[str, bytes]:
    """Make a wheel; give its file name and its bytes."""
    info = f"{name}-{version}.dist-info"
    about = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    about += [f"Requires-Dist: {line}" for line in requires]
    contents: dict[str, str | bytes] = dict(files)
    contents[f"{info}/METADATA"] = "\n".join(about) + "\n"
    contents[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
    if scripts:
        lines = [f"{script} = {target}" for script, target in scripts.items()]
        contents[f"{info}/entry_points.txt"] = "\n".join(["[console_scripts]", *lines]) + "\n"
    rows = [f"{path},{_record(data)}" for path, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    return f"{name}-{version}-{tag}.whl", zip_of(contents.items())


def zip_of(members: Any) -> bytes:
    """Pack members: pairs of a name, or a `ZipInfo`, and contents."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.filterwarnings("ignore", "Duplicate name")
        for member, data in members:
            info = member if isinstance(member, zipfile.ZipInfo) else zipfile.ZipInfo(member)
            archive.writestr(info, data)
    return buffer.getvalue()


def _metadata(content: bytes) -> bytes:
    """Take the metadata out of a wheel: an index serves it by itself (PEP 658)."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        return archive.read(name)


def _record(data: str | bytes) -> str:
    content = data.encode() if isinstance(data, str) else data
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest},{len(content)}"


def html(handler: Handler, content: bytes) -> None:
    """Serve a page of an index."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def publish(registry: Registry, *wheels: tuple[str, bytes], yanked: str = "") -> dict[str, Wheel]:
    """Put wheels on the registry and in its index; give name → wheel."""
    found: dict[str, Wheel] = {}
    pages: dict[str, list[str]] = {}
    for filename, content in wheels:
        name, version = filename.split("-")[:2]
        sha = hashlib.sha256(content).hexdigest()
        url = registry.put(f"/files/{sha[:8]}/{filename}", content)
        registry.put(f"/files/{sha[:8]}/{filename}.metadata", _metadata(content))
        mark = ' data-core-metadata="true"' + (f' data-yanked="{yanked}"' if yanked else "")
        link = f'<a href="{url}#sha256={sha}"{mark}>{filename}</a>'
        pages.setdefault(name.replace("_", "-").lower(), []).append(link)
        found[name] = Wheel(name.replace("_", "-").lower(), version, url, sha, len(content))
    for name, links in pages.items():
        path = f"/simple/{name}/"
        registry.put(path, f"<html><body>{''.join(links)}</body></html>".encode())
        registry.faults[path] = html
    return found


@dataclass
class Site:
    """A project over this machine's interpreter, with recipes and locks made by the test."""

    root: Path
    registry: Registry
    recipes: dict[str, Recipe] = field(default_factory=dict)
    mode: SandboxMode = SandboxMode.OFF

    def __post_init__(self) -> None:
        for name in ("locks", "sources", "state"):
            (self.root / name).mkdir(parents=True)
        options = {"language": "python", "version": HOST}
        self.add(Recipe("python", Kind.TOOLCHAIN, self.root / "python.yaml", options=options))
        self.add(Recipe("tools", Kind.TOOLCHAIN, self.root / "tools.yaml", options=options))

    @property
    def project(self) -> Project:
        """Return the project as it is now."""
        settings = Settings(
            file=self.root / "sealift.yaml",
            root=self.root,
            store_dir=self.root / "store",
            state_dir=self.root / "state",
            recipes_dir=self.root / "recipes",
            locks_dir=self.root / "locks",
            sources_dir=self.root / "sources",
            keyring=self.root / "keyring",
            mirrors=Mirrors(pypi_index=f"{self.registry.url}/simple"),
            sandbox="off",
            hosts={"local": HostSettings("local")},
            groups={},
            roles={},
            known_hosts=self.root / "known_hosts",
            parallel=1,
            connect_timeout=1,
        )
        return Project(settings, self.recipes)

    def add(self, recipe: Recipe) -> Recipe:
        """Add a recipe."""
        self.recipes[recipe.name] = recipe
        return recipe

    def env(self, name: str, *requirements: str) -> Recipe:
        """Add a recipe of kind `env`."""
        options = {"requirements": requirements, "glibc": "2.28"}
        file = self.root / f"{name}.yaml"
        inputs = {"python": "python"}
        return self.add(Recipe(name, Kind.ENV, file, options=options, inputs=inputs))

    def service(
        self,
        name: str,
        files: Mapping[str, str],
        *,
        kind: Kind = Kind.PEX,
        extra: tuple[str, ...] = ("gunicorn",),
        smoke: str | None = None,
        **service: Any,
    ) -> Recipe:
        """Add a service with its source."""
        for path, content in files.items():
            file = self.root / "sources" / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        facts = {"port": 5000, "health": Health(Probe.HTTP, "/health"), **service}
        options = {"requirements": "requirements.txt", "extra_requirements": extra, "glibc": "2.28"}
        return self.add(
            Recipe(
                name,
                kind,
                self.root / f"{name}.yaml",
                source=SourceSpec(name),
                options=options | ({"smoke": smoke} if smoke else {}),
                inputs={"python": "python", "tools": "tools"},
                service=Service(**facts),
            )
        )

    def source(self, recipe: Recipe) -> SourceTree | None:
        """Look at a recipe's source."""
        if recipe.source is None:
            return None
        return source_tree(self.root / "sources" / recipe.source.path)

    def pin(self, recipe: Recipe, *wheels: tuple[str, bytes]) -> dict[str, Wheel]:
        """Write a recipe's lock, of wheels that are published now."""
        found = publish(self.registry, *wheels)
        asked = requirements_of(recipe, self.source(recipe))
        text = render(found.values(), asked, target_of(recipe, self.project))
        lock_file(recipe, self.project.settings).write_text(text)
        return found

    def steps(self, *names: str) -> Mapping[str, Step]:
        """Plan recipes."""
        return plan(self.project, self.source, names, planners=PLANNERS_HERE).steps

    def build(self, store: LocalStore, *names: str, **options: Any) -> Result:
        """Plan and realise recipes."""
        return realise(
            plan(self.project, self.source, names, planners=PLANNERS_HERE),
            store,
            builders=BUILDERS_HERE,
            sandbox_mode=self.mode,
            **options,
        )


def _plan_host(recipe: Recipe, source: SourceTree | None, project: Project) -> tuple[Step, ...]:
    del source, project
    program = sys.executable if recipe.name == "tools" else sys._base_executable  # type: ignore[attr-defined]
    arguments = {"program": program}
    return (Step(recipe.name, recipe.name, recipe.name, "host", arguments=arguments),)


def _build_host(build: Build) -> None:
    """Lay an "interpreter" that is this machine's."""
    tool = build.out / "bin" / "python3"
    tool.parent.mkdir(parents=True)
    if build.step.key == "tools":
        # A virtual environment is known by where its interpreter is called.
        tool.write_text(f'#!/bin/sh\nexec {build.step.arguments["program"]} "$@"\n')
        tool.chmod(0o755)
    else:
        tool.symlink_to(build.step.arguments["program"])


PLANNERS_HERE = {**PLANNERS, Kind.TOOLCHAIN: _plan_host}
OWN = ("env", "pex", "pex-base", "project-tree", "project-wheel", "shiv", "wheel")
BUILDERS_HERE = {name: BUILDERS[name] for name in OWN} | {"host": _build_host}


def gunicorn(version: str = "27.0") -> tuple[str, bytes]:
    """Make a wheel that stands in for gunicorn and says what it was called with."""
    files = {
        "gunicorn/__init__.py": "",
        "gunicorn/app/__init__.py": "",
        "gunicorn/app/wsgiapp.py": GUNICORN,
        "gunicorn/config.py": "# --no-control-socket\n",
        "gunicorn/workers/__init__.py": "",
        "gunicorn/workers/gthread.py": "",
        "gunicorn/util.py": (
            "import importlib\n"
            "def load_class(name):\n"
            "    return importlib.import_module('gunicorn.workers.g' + name)\n"
        ),
    }
    return make_wheel("gunicorn", version, files, scripts={"gunicorn": "gunicorn.app.wsgiapp:run"})


def reasons(result: Result) -> str:
    """Join all that a failed build said."""
    return "\n".join(
        "\n".join([failure.error.reason, *getattr(failure.error, "lines", ())])
        for failure in result.failures
    )


def real(store: LocalStore, result: Result, key: str) -> Path:
    """Return an output's place."""
    assert result.ok, reasons(result)
    return store.real(result.outputs[key])


def about(path: Path) -> dict[str, Any]:
    """Read what an artefact says of itself."""
    said: dict[str, Any] = json.loads((path / "sealift.json").read_text())
    return said
