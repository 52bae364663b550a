"""Join unpacked wheels into one environment: a virtual environment made of links.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `python` (store
path of the interpreter), `wheels` (list of name and store path), `smoke` (names of the wheels to
import), `modules` (modules to import besides), `about` (what `sealift.json` says) and `out`.

A folder that one wheel alone has is one link to it; a folder that several have (a namespace
package) is real, with links inside. So a service has one `sys.path` entry, and a start looks
nowhere else.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path

TRAMPOLINE = """\
#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")/python3" -I "$0" "$@"
' '''
"""
LAUNCHER = """\
import sys

from {module} import {top}

if __name__ == "__main__":
    sys.exit({attribute}())
"""
HIDDEN = (".prefix",)
PLAIN_NAMES = ("tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks")
"""Folders that many wheels ship at their root by mistake."""


def main(
    *,
    python: str,
    wheels: list[tuple[str, str]],
    smoke: list[str],
    modules: list[str],
    about: dict[str, object],
    out: str,
) -> None:
    """Lay the environment at `out`, then import from it what will be imported."""
    root = Path(out)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    site = root / "lib" / f"python{version}" / "site-packages"
    site.mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "site").symlink_to(f"lib/python{version}/site-packages")
    lay_python(root, python)
    paths = {name: Path(path) for name, path in wheels}
    merge(site, list(paths.values()), skip=HIDDEN)
    merge_prefix(root, [path / ".prefix" for path in paths.values()])
    for path in paths.values():
        lay_scripts(root / "bin", path)
    write_json(root / "sealift.json", about)
    check(root, modules + [name for wheel in smoke for name in tops(paths[wheel])])


def lay_python(root: Path, python: str) -> None:
    """Make `root` a virtual environment of the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    for name in ("python", "python3", f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        (root / "bin" / name).symlink_to(f"{python}/bin/python3")
    text = f"home = {python}/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    (root / "pyvenv.cfg").write_text(text, encoding="utf-8")


def merge(target: Path, folders: list[Path], *, skip: tuple[str, ...] = ()) -> None:
    """Link at `target` what the folders hold; of two files with one name the first stays."""
    owners: dict[str, list[Path]] = {}
    for folder in folders:
        for entry in names_in(folder):
            if entry not in skip:
                owners.setdefault(entry, []).append(folder / entry)
    for entry, sources in sorted(owners.items()):
        join(target / entry, sources)


def join(place: Path, sources: list[Path]) -> None:
    """Link one name that one or several folders have."""
    if len(sources) == 1:
        place.symlink_to(sources[0])
    elif all(source.is_dir() for source in sources):
        place.mkdir()
        merge(place, sources)
    else:
        place.symlink_to(sources[0])
        report_clash(place, sources)


def report_clash(place: Path, sources: list[Path]) -> None:
    """Say which file wins, unless they are equal."""
    contents = {source.read_bytes() if source.is_file() else b"" for source in sources}
    if len(contents) > 1:
        others = ", ".join(str(source) for source in sources[1:])
        say(f"warning: {place.name} is taken from {sources[0]}, not from {others}")


def merge_prefix(root: Path, prefixes: list[Path]) -> None:
    """Link scripts, data and headers of the wheels beside what the environment has itself."""
    folders = [prefix for prefix in prefixes if prefix.is_dir()]
    names = sorted({name for folder in folders for name in names_in(folder)})
    for name in names:
        sources = [folder / name for folder in folders if (folder / name).exists()]
        if name == "bin":
            for source in sources:
                lay_plain_scripts(root / "bin", source)
        elif (root / name).is_dir() and all(source.is_dir() for source in sources):
            lay_data(root / name, sources)
        else:
            join(root / name, sources)


def lay_data(target: Path, sources: list[Path]) -> None:
    """Link data into a folder that is there already, such as `lib`."""
    for entry in sorted({name for source in sources for name in names_in(source)}):
        inner = [source / entry for source in sources if (source / entry).exists()]
        if not (target / entry).exists():
            join(target / entry, inner)
        elif (target / entry).is_dir():
            lay_data(target / entry, [path for path in inner if path.is_dir()])


def lay_plain_scripts(folder: Path, source: Path) -> None:
    """Copy scripts that wheels bring, with `#!python` made good; others are linked."""
    for name in names_in(source):
        data = (source / name).read_bytes()
        first, _, rest = data.partition(b"\n")
        if first.startswith(b"#!python"):
            write_script(folder / name, TRAMPOLINE.encode() + rest)
        elif not (folder / name).exists():
            (folder / name).symlink_to(source / name)


def lay_scripts(folder: Path, wheel: Path) -> None:
    """Write the console scripts of a wheel; they find the interpreter beside themselves."""
    for name, target in console_scripts(wheel).items():
        module, _, attribute = target.partition("[")[0].strip().partition(":")
        top = attribute.split(".")[0].strip()
        text = LAUNCHER.format(module=module.strip(), top=top, attribute=attribute.strip())
        write_script(folder / name, (TRAMPOLINE + text).encode())


def console_scripts(wheel: Path) -> dict[str, str]:
    """Return name → `module:attribute` of a wheel's console scripts."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    for file in wheel.glob("*.dist-info/entry_points.txt"):
        parser.read_string(file.read_text(encoding="utf-8"))
    if not parser.has_section("console_scripts"):
        return {}
    found = dict(parser.items("console_scripts"))
    return {name: found[name] for name in sorted(found) if "/" not in name}


def write_script(path: Path, data: bytes) -> None:
    """Write an executable, in place of one that is there."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o755)


def tops(wheel: Path) -> list[str]:
    """Return the public modules at a wheel's root."""
    names = set()
    for entry in names_in(wheel):
        path = wheel / entry
        stem = entry.split(".")[0]
        is_package = path.is_dir() and (path / "__init__.py").is_file()
        is_module = path.is_file() and entry.endswith((".py", ".so"))
        if (is_package or is_module) and stem.isidentifier():
            names.add(stem)
    return sorted(n for n in names if not n.startswith("_") and n not in PLAIN_NAMES)


def check(root: Path, modules: list[str]) -> None:
    """Import the modules in one fresh process of the environment."""
    if not modules:
        return
    argv = [str(root / "bin" / "python3"), "-I", "-B", "-c", SMOKE, *modules]
    done = subprocess.run(argv, check=False)
    if done.returncode != 0:
        sys.exit("smoke run: the environment does not hold what its packages import")


SMOKE = """\
import importlib, sys
failed = False
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as fault:
        print(f"smoke: import {name}: the module {fault.name!r} is missing; add the package that"
              " has it to the requirements", file=sys.stderr)
        failed = True
    except ImportError as fault:
        print(f"smoke: import {name}: {fault}", file=sys.stderr)
        failed = True
    except Exception as fault:
        # Such a module wants more than to be there: a display, a setting, a service.
        print(f"smoke: import {name}: {type(fault).__name__}: {fault} (let pass)", file=sys.stderr)
sys.stderr.flush()
import os
os._exit(failed)
"""
"""Leaves without running what modules want done at exit."""


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def write_json(path: Path, value: object) -> None:
    """Write one JSON value as every `sealift.json` is written."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """Put one line in the build log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
