"""What every tree of a service has, whatever its kind: state links, bytecode, launcher, checks.

Used by the scripts that build services; they run in the sandbox.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from compileall import compile_file
from pathlib import Path
from py_compile import PycInvalidationMode
from tempfile import TemporaryDirectory
from typing import Any

import builders.scripts.direct
import builders.scripts.serve
from builders.scripts.imports import find_missing, find_start

PLAIN_WORKERS = ("sync", "gthread")
"""Workers of gunicorn that need nothing but gunicorn."""


def refuse_reserved(root: Path, reserved: tuple[str, ...], state: dict[str, str]) -> None:
    """Refuse source files and state whose place is taken."""
    for name in state:
        if name.partition("/")[0] in reserved:
            sys.exit(f"state {name!r} lies where the artefact has files of its own")
    for name in reserved:
        if os.path.lexists(root / name):
            sys.exit(
                f"the source has a file {name!r}, which the artefact needs for itself: "
                "leave it out with `exclude`"
            )


def lay_state(root: Path, state: dict[str, str]) -> None:
    """Make each state path a link to its place outside the store; keep what was there as seed."""
    for name, target in sorted(state.items()):
        place = root / name
        if os.path.lexists(place):
            seed = root / ".seed" / name
            seed.parent.mkdir(parents=True, exist_ok=True)
            place.rename(seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def compile_code(root: Path) -> None:
    """Compile the service's own modules; a file that this Python cannot read stays as it is."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in (".bootstrap", ".deps", ".seed"))
        for name in sorted(files):
            path = Path(folder, name)
            if name.endswith(".py") and not path.is_symlink():
                compile_file(
                    path,
                    ddir=os.path.relpath(folder, root),
                    quiet=2,
                    force=True,
                    invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
                )


def check_imports(root: Path, site: Path, start: str, config: str | None) -> None:
    """Refuse code that is not there, or imports what neither it nor its environment has."""
    files = find_start(root, site, start)
    if files is None:
        sys.exit(f"{start!r} is neither in the source nor in the requirements")
    missing = find_missing(root, site, [*files, *([config] if config else [])])
    for fault in missing:
        say(
            f"{fault.file}:{fault.line}: imports {fault.module!r}, which no locked package has"
            + ("" if fault.certain else " (let pass: the code changes sys.path)")
        )
    certain = sorted({fault.module for fault in missing if fault.certain})
    if certain:
        sys.exit(f"missing: {', '.join(certain)}; add what provides it to the requirements")


def check_worker(root: Path, env: Path, config: str | None) -> None:
    """Load the worker class that gunicorn's configuration names, if it needs more than gunicorn."""
    name = worker_class(root / config) if config else None
    if name and name not in PLAIN_WORKERS:
        code = f"from gunicorn.util import load_class; load_class({name!r})"
        import_in(root, env, code, f"gunicorn's worker class {name!r} does not load")


def worker_class(config: Path) -> str | None:
    """Read a plain `worker_class = "…"` from a configuration file."""
    if not config.is_file():
        sys.exit(f"{config.name}: gunicorn's configuration is not in the source")
    for node in ast.parse(config.read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == "worker_class":
                    return str(node.value.value)
    return None


def import_in(root: Path, env: Path, code: str, fault: str) -> None:
    """Run a line of Python as the service would see it, in a copy: code may write beside itself."""
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(root, Path(folder, root.name), symlinks=True)
        line = f"import sys; sys.path.insert(0, {str(copy)!r}); {code}"
        argv = [str(env / "bin" / "python3"), "-I", "-B", "-c", line]
        if subprocess.run(argv, cwd=copy, check=False).returncode != 0:
            sys.exit(fault)


def lay_direct(root: Path, name: str) -> None:
    """Put what starts the service by hand at the root of the tree."""
    shutil.copyfile(builders.scripts.direct.__file__, root / name)


def defaults(root: Path, config: str | None) -> list[list[str]]:
    """Return gunicorn's options that hold unless the caller says otherwise: short, long, value.

    An address if its configuration has none; a pid file of its own if it has one, which the
    service that a head runs from the same state may hold.
    """
    names = set_names(root / (config or "gunicorn.conf.py"))
    bind = [] if "bind" in names else [["-b", "--bind", "127.0.0.1:{port}"]]
    return bind + ([["-p", "--pid", "{pid}"]] if "pidfile" in names else [])


def set_names(file: Path) -> set[str]:
    """Return the names that a file of Python sets."""
    names: set[str] = set()
    if file.is_file():
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.ImportFrom):
                names.update(alias.asname or alias.name for alias in node.names)
    return names


def lay_launcher(root: Path, launch: dict[str, Any], direct: dict[str, Any]) -> None:
    """Put the launcher and what it shall run beside the code."""
    folder = root / ".sealift"
    folder.mkdir()
    shutil.copyfile(builders.scripts.serve.__file__, folder / "serve.py")
    write_json(folder / "launch.json", launch)
    write_json(folder / "direct.json", direct)


def gunicorn_extras(site: Path) -> list[str]:
    """Return the options that only some versions know: no control socket beside the code."""
    config = site / "gunicorn" / "config.py"
    known = config.is_file() and "--no-control-socket" in config.read_text(encoding="utf-8")
    return ["--no-control-socket"] if known else []


def write_json(path: Path, value: object) -> None:
    """Write one JSON value as every `sealift.json` is written."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """Put one line in the build log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
