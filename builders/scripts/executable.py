"""Make a Python project's PEX, its shiv archive and its one file that needs no Python.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `name` (of the
recipe), `command` (the project's console script), `variable` (where the one file unpacks itself is
what this environment variable says), `pure` (distributions whose extension modules are left out of
PEX and shiv), `python`, `tools` (an environment that has pex and shiv), `env` (the locked
wheels, joined), `project` (the folder with the project's wheel), `launcher` (all store paths),
`carried` (name → store path of a package that is brought along below the interpreter),
`files` (file name → path of a fetched wheel), `wheels` (file name → store path of the same wheel,
unpacked), `work` (a folder to work in) and `out`.

The one file is the launcher, an archive of the interpreter with what the PEX lacks of a fast start
(bytecode and the extension modules of `pure`), and the PEX; see `one_file`.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))  # noqa: PTH100, PTH118, PTH120

from builders.scripts.one_file import fit_pex, join
from builders.scripts.pure_wheel import is_native, purify
from builders.scripts.run_pex import run_pex
from builders.scripts.wheel import unpack
from builders.scripts.zips import rewrite, write

SHEBANG = "/usr/bin/env python3"
START = """\
import sys

sys.path.append(sys.prefix + "/{site}")
from {module} import {top}

sys.exit({attribute}())
"""
BYTECODE = "__pycache__"


def main(
    *,
    name: str,
    command: str,
    variable: str,
    pure: list[str],
    python: str,
    tools: str,
    env: str,
    project: str,
    launcher: str,
    carried: dict[str, str],
    files: dict[str, str],
    wheels: dict[str, str],
    work: str,
    out: str,
) -> None:
    """Make all forms below the new folder `out`, and start each once."""
    place, target = Path(work), Path(out)
    (wheel,) = Path(project).iterdir()
    (target / "bin").mkdir(parents=True)
    pex, shiv = target / f"{name}.pex", target / f"{name}.shiv"
    one = target / "bin" / command
    shutil.copyfile(wheel, target / wheel.name)
    site = place / "project"
    unpack(str(wheel), wheel.name, site)
    entry = entry_of(site, command)
    lay_wheels(place / "wheels", files, wheel, pure)
    make_pex(place, pex, tools=tools, python=python, wheel=wheel, command=command)
    lay_site(place / "site", Path(env), site)
    run_shiv(place / "site", shiv, tools=tools, entry=entry)
    packages = {wheel.name: site, **{file: Path(path) for file, path in wheels.items()}}
    members = runtime_of(Path(python), packages, pure) | carried_of(carried)
    runtime = place / "runtime.zip"
    start = start_of(entry, packages_of(Path(python)))
    write(runtime, {**members, f"{command}.py": start})
    fit_pex(pex, place / "tail.pex")
    join(one, Path(launcher), runtime, place / "tail.pex")
    version = wheel.name.split("-")[1]
    interpreter = Path(python, "bin", "python3")
    for argv in ([one], [interpreter, one], [interpreter, pex], [interpreter, shiv]):
        try_out([*map(str, argv)], version, place, variable)
    write_json(target / "sealift.json", about_of(name, command, wheel.name, version, one))


def entry_of(site: Path, command: str) -> str:
    """Return `module:attribute` of the project's console script."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    (file,) = site.glob("*.dist-info/entry_points.txt")
    parser.read_string(file.read_text(encoding="utf-8"))
    if not parser.has_option("console_scripts", command):
        sys.exit(f"the project has no console script {command!r}")
    return parser.get("console_scripts", command)


def lay_wheels(folder: Path, files: dict[str, str], wheel: Path, pure: list[str]) -> None:
    """Copy the wheels that the PEX is made of; those of `pure` lose their extension modules."""
    folder.mkdir(parents=True)
    shutil.copyfile(wheel, folder / wheel.name)
    for name, path in sorted(files.items()):
        # A copy: pex follows links, and would call the wheel by its store path's name.
        copy = folder / name
        shutil.copyfile(path, copy)
        if normalise(name) in pure:
            purify(copy, folder)
            copy.unlink()


def normalise(filename: str) -> str:
    """Return a wheel's distribution as PEP 503 spells it."""
    return filename.partition("-")[0].lower().replace("_", "-").replace(".", "-")


def make_pex(
    work: Path, target: Path, *, tools: str, python: str, wheel: Path, command: str
) -> None:
    """Make the PEX of nothing but the wheels.

    It makes a virtual environment at its first start: without, each start takes a second and more.
    """
    name, version = wheel.name.split("-")[:2]
    words = ["--pre-resolved-dists", str(work / "wheels"), f"{name}=={version}", "-c", command]
    words += ["--python-shebang", SHEBANG, "--venv", "-o", str(target)]
    run_pex(words, tools=tools, python=python, root=work / "root")
    taken = distributions_in(target)
    if taken != {path.name for path in (work / "wheels").iterdir()}:
        sys.exit(f"pex took other wheels than the lock names: {sorted(taken)}")


def distributions_in(pex: Path) -> set[str]:
    """Return the wheels that a PEX is made of."""
    with zipfile.ZipFile(pex) as archive:
        paths = [name.split("/") for name in archive.namelist()]
    return {parts[1] for parts in paths if parts[0] == ".deps" and parts[1]}


def lay_site(target: Path, env: Path, project: Path) -> None:
    """Copy all packages to one folder as `pip install --target` would, without bytecode."""
    for root in (env / "site", project):
        copy_into(target, root)
    for file in sorted((env / "bin").iterdir()):
        # Programs of wheels; scripts of the environment would not find their way from there.
        if file.resolve().read_bytes()[:4] == b"\x7fELF" and not file.name.startswith("python"):
            (target / "bin").mkdir(exist_ok=True)
            shutil.copyfile(file, target / "bin" / file.name)
            (target / "bin" / file.name).chmod(0o755)


def copy_into(target: Path, root: Path) -> None:
    """Copy what lies below a folder, links followed, without bytecode and read-only modes."""
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if name != BYTECODE)
        place = target / Path(folder).relative_to(root)
        place.mkdir(parents=True, exist_ok=True)
        for name in sorted(names):
            shutil.copyfile(Path(folder, name), place / name)


def run_shiv(site: Path, target: Path, *, tools: str, entry: str) -> None:
    """Run shiv on what is there already; it asks no index and installs nothing."""
    argv = [f"{tools}/bin/python3", "-I", "-B", "-m", "shiv", "--reproducible"]
    argv += ["--python", SHEBANG, "--site-packages", str(site), "--entry-point", entry]
    done = subprocess.run([*argv, "--output-file", str(target)], check=False)
    if done.returncode != 0:
        sys.exit("shiv could not make the archive")
    # shiv packs its own files in the order in which their folder is listed.
    rewrite(target)


def runtime_of(python: Path, wheels: dict[str, Path], pure: list[str]) -> dict[str, Path | bytes]:
    """Return what the one file unpacks beside the PEX's packages: name → file."""
    site = f"python/{packages_of(python)}"
    members: dict[str, Path | bytes] = {
        f"python/{path}": python / path for path in files_below(python) if path != "sealift.json"
    }
    for name, wheel in sorted(wheels.items()):
        for path in files_below(wheel):
            native = normalise(name) in pure and is_native(path)
            if (native or BYTECODE in path.split("/")) and not path.startswith(".prefix/"):
                members[f"{site}/{path}"] = wheel / path
    return members


def carried_of(packages: dict[str, str]) -> dict[str, Path | bytes]:
    """Return the files of packages that are brought along: name → file."""
    return {
        f"python/carried/{name}/{path}": Path(package, path)
        for name, package in sorted(packages.items())
        for path in files_below(Path(package))
        if path != "sealift.json"
    }


def start_of(entry: str, site: str) -> bytes:
    """Return the file that the interpreter is started with.

    `site`, where packages lie below the interpreter, is looked at by name alone, since Python's own
    way to find it reads folders and `.pth` files at each start.
    """
    module, _, attribute = entry.partition(":")
    top = attribute.partition(".")[0]
    return START.format(site=site, module=module, top=top, attribute=attribute).encode()


def packages_of(python: Path) -> str:
    """Return where the interpreter's packages lie below it, as `launcher.py` told the launcher."""
    import site  # noqa: PLC0415 - its import looks at the machine, and is wanted here alone

    return str(Path(site.getsitepackages([str(python)])[-1]).relative_to(python))


def files_below(root: Path) -> list[str]:
    """Return the paths of all files and links below a folder, relative to it."""
    return sorted(
        os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118
        for folder, folders, names in os.walk(root)
        for name in [*names, *(each for each in folders if Path(folder, each).is_symlink())]
    )


def try_out(argv: list[str], version: str, work: Path, variable: str) -> None:
    """Start one form, which must tell the project's version."""
    ours = {name: str(work / "started") for name in (variable, "PEX_ROOT", "SHIV_ROOT")}
    done = subprocess.run(
        [*argv, "--version"],
        env={**os.environ, **ours},
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0 or version not in done.stdout:
        sys.exit(f"{Path(argv[-1]).name} does not start: {done.stdout}")


def about_of(name: str, command: str, wheel: str, version: str, one: Path) -> dict[str, Any]:
    """Return what `sealift.json` says."""
    return {
        "format": 1,
        "name": name,
        "executable": {
            "command": command,
            "file": f"bin/{one.name}",
            "pex": f"{name}.pex",
            "shiv": f"{name}.shiv",
            "version": version,
            "wheel": wheel,
        },
    }


def write_json(path: Path, value: object) -> None:
    """Write one JSON value as every `sealift.json` is written."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
