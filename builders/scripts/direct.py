"""Run the service of this artefact by hand: what `python <store path>` starts.

Lies at the root of a service's tree, as the entry point of a PEX or beside a shiv archive.
`.sealift/direct.json` says what the recipe says: words, environment, state. Arguments of the
caller follow those of the recipe. Heads start services by `.sealift/serve.py` instead, which is
faster and writes nothing; this makes the state folders itself, since nobody may have done it.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
import tempfile
from typing import Any


def run() -> None:
    """Become the service."""
    root = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
    launch, direct = (read(root, name) for name in ("launch.json", "direct.json"))
    serve = runpy.run_path(f"{root}/.sealift/serve.py")
    sys.dont_write_bytecode = True  # the store is not to be written, also by root
    filled = {"{path}": root, "{port}": str(direct["port"]), "{state}": direct["home"]}
    filled["{pid}"] = f"{tempfile.gettempdir()}/{direct['name']}-{os.getpid()}.pid"
    for name, value in direct["env"].items():
        os.environ.setdefault(name, fill(value, filled))
    serve["read_secrets"](launch["secrets"], os.environ.get("CREDENTIALS_DIRECTORY", ""))
    serve["fill_secrets"](launch.get("filled", []))
    make_state(root, direct["state"])
    os.chdir(root)
    sys.argv[1:1] = [fill(word, filled) for word in words(direct, sys.argv[1:])]
    kind, target = launch["entry"]
    if kind == "archive":
        serve["run_archive"](f"{root}/{target}")
    if kind == "script":
        run_script(f"{root}/{target}")
    else:
        serve[f"run_{kind}"](target)


def read(root: str, name: str) -> dict[str, Any]:
    """Read what is said of this artefact."""
    with open(f"{root}/.sealift/{name}", encoding="utf-8") as file:  # noqa: PTH123
        said: dict[str, Any] = json.load(file)
    return said


def words(direct: dict[str, Any], given: list[str]) -> list[str]:
    """Return the recipe's words, and those that hold unless the caller says otherwise."""
    given = given + os.environ.get("GUNICORN_CMD_ARGS", "").split()
    found = list(direct["words"])
    for short, long, value in direct["unless"]:
        if not any(word.startswith((short, f"{long}=")) or word == long for word in given):
            found += [long, value]
    return found


def fill(text: str, values: dict[str, str]) -> str:
    """Replace what only the start knows."""
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def make_state(root: str, state: list[str]) -> None:
    """Make the state folders and lay seeds where nothing is, as a head does."""
    for path in state:
        link = f"{root}/{path.rstrip('/')}"
        target = os.readlink(link)  # noqa: PTH115
        is_folder = path.endswith("/") or not os.path.splitext(path)[1]  # noqa: PTH122
        try:
            os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
            lay_seed(f"{root}/.seed/{path.rstrip('/')}", target)
        except OSError as fault:
            sys.exit(f"state {path!r} cannot be made at {fault.filename}: {fault.strerror}")


def lay_seed(source: str, target: str) -> None:
    """Copy a file or folder to where nothing is yet."""
    if os.path.islink(source):  # noqa: PTH114
        return
    if os.path.isdir(source):  # noqa: PTH112
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
        for name in os.listdir(source):  # noqa: PTH208
            lay_seed(f"{source}/{name}", f"{target}/{name}")
    elif os.path.isfile(source) and not os.path.lexists(target):  # noqa: PTH113
        shutil.copyfile(source, target)


def run_script(path: str) -> None:
    """Run a file as `python FILE` does; PEX's own `__main__` waits behind it."""
    sys.argv[0] = path
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    run()
