"""Join a PEX of wheels and a service's own code; pex itself has no part in it.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `base` (store
path of the PEX of wheels), `env` (store path of the merged environment), `interpreter` (what
starts the service), `source`, `launch`, `direct`, `about` (what `sealift.json` says), `start`
(module or file where the code starts), `config` (gunicorn's, or nothing), `smoke` (module to
import, or nothing), `state` (path → place) and `out`.

The hashes are pex's own (`PEXBuilder._prepare_code`): a PEX that pex makes of the same code and
wheels has the same `PEX-INFO`, which a test compares.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))  # noqa: PTH100, PTH118, PTH120

from builders.scripts.service import (
    check_imports,
    check_worker,
    compile_code,
    defaults,
    gunicorn_extras,
    import_in,
    lay_direct,
    lay_launcher,
    lay_state,
    refuse_reserved,
    write_json,
)

ENTRY = "__sealift__"
"""The module of ours that the PEX starts with."""
RESERVED = (
    f"{ENTRY}.py",
    "PEX-INFO",
    "__main__.py",
    "__pex__",
    "pex",
    ".bootstrap",
    ".deps",
    ".sealift",
    ".seed",
    "sealift.json",
)


def main(
    *,
    base: str,
    env: str,
    interpreter: str,
    source: str,
    launch: dict[str, Any],
    about: dict[str, Any],
    direct: dict[str, Any],
    start: str,
    config: str | None,
    smoke: str | None,
    state: dict[str, str],
    out: str,
) -> None:
    """Make the service's tree at `out`, of the source, which is used up."""
    root = Path(out)
    Path(source).rename(root)
    refuse_reserved(root, RESERVED, state)
    site = Path(env, "site").resolve()
    check_imports(root, site, start, config)
    check_worker(root, Path(env), config)
    if smoke:
        import_in(root, Path(env), f"import {smoke}", f"smoke run: {smoke} does not import")
    is_gunicorn = launch["entry"][0] == "function"
    extras = gunicorn_extras(site) if is_gunicorn else []
    unless = defaults(root, config) if is_gunicorn else []
    lay_direct(root, f"{ENTRY}.py")
    lay_pex(root, Path(base))
    lay_state(root, state)
    lay_launcher(root, launch, {**direct, "words": [*direct["words"], *extras], "unless": unless})
    compile_code(root)
    about["service"]["command"] = [interpreter, *about["service"]["command"], *extras]
    write_json(root / "sealift.json", about)


def lay_pex(root: Path, base: Path) -> None:
    """Make `root` a PEX: what the PEX of wheels is, with this code's hashes."""
    info = json.loads((base / "PEX-INFO").read_text(encoding="utf-8"))
    before = info.pop("pex_hash")
    info["code_hash"] = code_hash(root)
    info["entry_point"] = f"{ENTRY}:run"
    after = hashlib.sha1(dump(info).encode(), usedforsecurity=False).hexdigest()
    (root / "PEX-INFO").write_text(dump({**info, "pex_hash": after}), encoding="utf-8")
    for name in ("__main__.py", "__pex__/__init__.py"):
        text = (base / name).read_text(encoding="utf-8")
        if text.count(f"pex_hash='{before}'") != 1:
            sys.exit(f"{name} of the PEX does not hold its hash once")
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text.replace(before, after), encoding="utf-8")
    (root / "__main__.py").chmod(0o755)
    (root / "pex").symlink_to("__main__.py")
    for name in (".bootstrap", ".deps"):
        if (base / name).is_dir():  # a PEX without wheels has no .deps
            (root / name).symlink_to(base / name)


def dump(info: dict[str, Any]) -> str:
    """Spell a PEX-INFO as pex does."""
    return json.dumps(info, sort_keys=True, separators=(",", ":"))


def code_hash(root: Path) -> str:
    """Hash the code as pex does: all names joined, then all contents, without hidden files."""
    paths = sorted(
        f"{folder}/{name}"
        for folder, _, files in os.walk(root, followlinks=True)
        for name in files
        if not name.startswith(".")
        and not name.endswith((".pyc", ".pyo"))
        and "__pycache__" not in folder
    )
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update("".join(os.path.relpath(path, root) for path in paths).encode())
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
