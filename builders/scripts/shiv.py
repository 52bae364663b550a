"""Make a service of a shiv archive: one file with all code, beside the code as it is served.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `tools` (store
path of an environment that has shiv), `interpreter` (what starts the service), `env` (store path
of the merged environment), `source`, `launch`, `direct`, `about` (what `sealift.json` says),
`archive` (file name), `function` (entry of the archive, or nothing), `start` (module or file where
the code starts), `config` (gunicorn's, or nothing), `smoke` (module to import, or nothing),
`state` (path → place) and `out`.

The archive runs anywhere, and `python <path>` runs it as the recipe says. The code lies beside it
as well, because services read and write relative to their working directory.
"""

from __future__ import annotations

import json
import os
import subprocess
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
from builders.scripts.zips import rewrite


def main(
    *,
    tools: str,
    interpreter: str,
    env: str,
    source: str,
    launch: dict[str, Any],
    about: dict[str, Any],
    direct: dict[str, Any],
    archive: str,
    function: str | None,
    start: str,
    config: str | None,
    smoke: str | None,
    state: dict[str, str],
    out: str,
) -> None:
    """Make the service's tree at `out`, of the source, which is used up."""
    root = Path(out)
    Path(source).rename(root)
    refuse_reserved(root, ("__main__.py", ".sealift", ".seed", "sealift.json", archive), state)
    site = Path(env, "site").resolve()
    check_imports(root, site, start, config)
    check_worker(root, Path(env), config)
    if smoke:
        import_in(root, Path(env), f"import {smoke}", f"smoke run: {smoke} does not import")
    work = Path("archive").resolve()
    run_shiv(work, tools=tools, sources=[site, root], function=function)
    extras = gunicorn_extras(site) if function else []
    unless = defaults(root, config) if function else []
    lay_direct(root, "__main__.py")
    lay_state(root, state)
    lay_launcher(root, launch, {**direct, "words": [*direct["words"], *extras], "unless": unless})
    compile_code(root)
    work.rename(root / archive)
    about["service"]["command"] = [interpreter, *about["service"]["command"], *extras]
    write_json(root / "sealift.json", about)


def run_shiv(target: Path, *, tools: str, sources: list[Path], function: str | None) -> None:
    """Run shiv on what is there already; it asks no index and installs nothing."""
    python = [f"{tools}/bin/python3", "-I", "-B"]
    argv = [*python, "-m", "shiv", "--reproducible"]
    # shiv compiles for the interpreter that it runs on itself.
    argv += ["--compile-pyc"] if version_of(python) == sys.version_info[:2] else []
    argv += ["--python", f"/usr/bin/env python{sys.version_info[0]}.{sys.version_info[1]}"]
    argv += [word for source in sources for word in ("--site-packages", str(source))]
    argv += ["--entry-point", function] if function else []
    done = subprocess.run([*argv, "--output-file", str(target)], check=False)
    if done.returncode != 0:
        sys.exit("shiv could not make the archive")
    # shiv packs its own files in the order in which their folder is listed.
    rewrite(target)


def version_of(python: list[str]) -> tuple[int, ...]:
    """Ask an interpreter for its version, as far as bytecode depends on it."""
    code = "import sys; print(*sys.version_info[:2])"
    said = subprocess.run([*python, "-c", code], check=True, capture_output=True, text=True)
    return tuple(int(part) for part in said.stdout.split())


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
