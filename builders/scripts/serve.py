"""Start the service of this artefact: read its secrets, then run its entry in this process.

Lies as `.sealift/serve.py` in a service's tree and runs under the environment's own interpreter.
`.sealift/launch.json` says what to run; nothing is unpacked, looked for or written. Secrets are
the files of $CREDENTIALS_DIRECTORY, and become environment variables, or a part of one, before
anything is loaded.
"""

# Each import here is paid for at every start: no pathlib, and nothing before it is needed.
# ruff: noqa: PLC0415, PTH100, PTH118, PTH120, PTH123

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Become the service."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "launch.json"), encoding="utf-8") as file:
        launch = json.load(file)
    read_secrets(launch["secrets"], os.environ.get("CREDENTIALS_DIRECTORY", ""))
    fill_secrets(launch.get("filled", []))
    root = os.path.dirname(here)
    kind, target = launch["entry"]
    if kind == "archive":
        run_archive(os.path.join(root, target))
    sys.path.insert(0, root)
    if kind == "function":
        run_function(target)
    elif kind == "module":
        run_module(target)
    else:
        run_script(os.path.join(root, target))


def read_secrets(names: list[str], folder: str) -> None:
    """Put each named secret into the environment; one that is there already may lack its file."""
    for name in names:
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                os.environ[name] = file.read().removesuffix("\n")
        except FileNotFoundError:
            if name not in os.environ:
                sys.exit(f"secret {name}: no such file in CREDENTIALS_DIRECTORY={folder!r}")


def fill_secrets(names: list[str]) -> None:
    """Put secrets where `{secret:NAME}` stands in variables; into a URL as URLs spell them."""
    for name in names:
        value = os.environ.get(name, "")
        url = "://" in value.partition("{")[0]
        before, *rest = value.split("{secret:")
        for part in rest:
            secret, _, after = part.partition("}")
            before += (quoted(os.environ[secret]) if url else os.environ[secret]) + after
        os.environ[name] = before


def quoted(text: str) -> str:
    """Spell a text so that a URL can hold it at any place."""
    from urllib.parse import quote

    return quote(text, safe="")


def run_archive(path: str) -> None:
    """Become the interpreter of a self-unpacking archive."""
    os.execv(sys.executable, [sys.executable, "-I", "-u", path, *sys.argv[1:]])  # noqa: S606


def run_function(target: str) -> None:
    """Call `module:attribute`; argv stays, so that gunicorn can start itself anew (USR2)."""
    from importlib import import_module

    module, _, attribute = target.partition(":")
    sys.exit(getattr(import_module(module), attribute)())


def run_module(name: str) -> None:
    """Run a module as `python -m` does."""
    from runpy import run_module

    run_module(name, run_name="__main__", alter_sys=True)


def run_script(path: str) -> None:
    """Run a file as `python FILE` does, in this very `__main__`, from its bytecode."""
    from importlib.machinery import SourceFileLoader

    sys.argv[0] = path
    sys.path[0] = os.path.dirname(path)
    code = SourceFileLoader("__main__", path).get_code("__main__")
    names = sys.modules["__main__"].__dict__
    for name in set(names) - {"__name__", "__builtins__", "__loader__", "__package__"}:
        del names[name]
    names.update(__file__=path, __cached__=None, __doc__=None, __spec__=None)
    exec(code or "", names)  # noqa: S102


if __name__ == "__main__":
    main()
