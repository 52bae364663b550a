"""Call one hook of a build backend (PEP 517), in a process of its own.

Runs in the sandbox under the build's own environment, which has what the lock pins for the build
and nothing else; argv[1] names a JSON file with `hook`, `backend` (module and object), `path`
(folders that the backend lies in), `arguments` and `answer` (where the answer goes). The working
directory is the source's. Nothing of ours may be imported here: the backend decides what is.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

OPTIONAL: dict[str, list[str]] = {"get_requires_for_build_wheel": []}
"""Hooks that a backend need not have, and what their absence answers."""


def main(hook: str, backend: str, path: list[str], arguments: list[str], answer: str) -> None:
    """Call the hook and write what it answers."""
    sys.path[:0] = path
    name, _, attributes = backend.partition(":")
    found: object = importlib.import_module(name)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    if path and not within(sys.modules[name], path):
        sys.exit(f"the backend {name!r} does not lie in `backend-path`")
    if hook in OPTIONAL and not hasattr(found, hook):
        said: object = OPTIONAL[hook]
    else:
        said = getattr(found, hook)(*arguments)
    Path(answer).write_text(json.dumps(said), encoding="utf-8")


def within(module: object, path: list[str]) -> bool:
    """Tell whether a module lies in one of some folders."""
    file = getattr(module, "__file__", None)
    return file is not None and any(
        Path(file).resolve().is_relative_to(Path(folder).resolve()) for folder in path
    )


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
