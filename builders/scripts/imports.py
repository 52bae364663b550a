"""Find imports of a service's own code that nothing provides, without running any of it.

Follows the code from its entry: only what is imported whenever a module loads counts, so what
stands in a function, an `if` or a `try` is let pass. Used by the scripts that build services.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".py", ".so", ".abi3.so")


class Missing(NamedTuple):
    """An import that will fail: where it stands, and the module that is not there."""

    file: str
    line: int
    module: str
    certain: bool
    """False if the code changes `sys.path` itself, so that it may know better."""


def find_missing(root: Path, site: Path, entries: list[str]) -> list[Missing]:
    """Look through all that the entry files (relative to `root`) load."""
    own = own_names(root)
    provided = provided_names(site)
    seen: set[str] = set()
    found: set[tuple[str, int, str]] = set()
    bends = False
    queue = [entry for entry in entries if (root / entry).is_file()]
    while queue:
        file = queue.pop()
        if file in seen:
            continue
        seen.add(file)
        tree = parse(root / file)
        bends = bends or touches_path(tree)
        for line, module in imports(tree, file):
            paths = own_files(root, file, module)
            queue += paths
            top = module.partition(".")[0]
            if not paths and top not in own and top not in provided:
                found.add((file, line, top))
    return [Missing(*where, not bends) for where in sorted(found)]


def find_start(root: Path, site: Path, start: str) -> list[str] | None:
    """Return the service's own files that a module or file starts with; None if it is nowhere."""
    if start.endswith(".py"):
        return [start] if (root / start).is_file() else None
    path = start.replace(".", "/")
    tries = (f"{path}.py", f"{path}/__init__.py", f"{path}/__main__.py")
    files = [file for file in tries if (root / file).is_file()]
    if files:
        return own_files(root, "", start) + files
    return [] if start.partition(".")[0] in provided_names(site) else None


def parse(path: Path) -> ast.Module:
    """Parse a file; one that cannot be parsed is left for Python to complain about."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def touches_path(tree: ast.Module) -> bool:
    """Say whether the code speaks of `sys.path`."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "path"
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
        for node in ast.walk(tree)
    )


def imports(tree: ast.Module, file: str) -> list[tuple[int, str]]:
    """Return line and full name of what a module imports at its top level."""
    found: list[tuple[int, str]] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, file)
            names = [alias.name for alias in node.names]
            found += [(node.lineno, f"{base}.{name}" if base else name) for name in names]
    return found


def absolute(node: ast.ImportFrom, file: str) -> str:
    """Return the module that `from … import` names, seen from the root."""
    if not node.level:
        return node.module or ""
    package = list(Path(file).parent.parts)
    above = package[: len(package) - (node.level - 1)]
    return ".".join([*above, *([node.module] if node.module else [])])


def own_files(root: Path, file: str, module: str) -> list[str]:
    """Return the service's own files that an import runs: the packages on the way, and itself.

    Seen from the root, or from the folder of a script.
    """
    for start in dict.fromkeys((Path(), Path(file).parent)):
        found = []
        place = start
        for part in module.split("."):
            place = place / part
            tries = (place / "__init__.py", place.with_name(f"{part}.py"))
            found += [str(path) for path in tries if (root / path).is_file()][:1]
        if found:
            return found
    return []


def own_names(root: Path) -> set[str]:
    """Return every module's and folder's bare name in the tree: code may put any on `sys.path`."""
    names: set[str] = set()
    for _, folders, files in os.walk(root):
        names.update(folders)
        names.update(file.partition(".")[0] for file in files if file.endswith((".py", ".so")))
    return names


def provided_names(site: Path) -> set[str]:
    """Return the modules that Python itself and the environment have."""
    names = set(sys.stdlib_module_names)
    for path in site.iterdir():
        if path.is_dir() or path.name.endswith(SUFFIXES):
            names.add(path.name.partition(".")[0])
    return names
