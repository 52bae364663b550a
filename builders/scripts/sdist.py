"""Build an sdist by its own backend, then make its wheel whole, in stages.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `stage` and what
that stage takes. `requires` and `wheel` let the backend run, in a process of the environment
`env`; its working directory is `source`, and what it leaves goes to `made`. `repair` runs in a
fresh sandbox, where nothing of the backend is left but its wheel.

Everything that could differ from build to build and says nothing is made equal: times, order and
modes of the wheel's members, debugging symbols, names of folders in what is compiled.
"""

from __future__ import annotations

import base64
import csv
import email.parser
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable

# What lies beside this script must stay as it was laid: that shows who else wrote there.
sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).resolve().with_name("lib")))

# Laid in the sandbox with this script, and run from there by another interpreter.
import builders.scripts.backend  # noqa: E402
from builders.scripts.wheel import (  # noqa: E402
    check_members,
    find_metadata,
    normalise,
    open_archive,
)

LEGACY = "setuptools.build_meta:__legacy__"
LIBRARIES = "/usr/lib/x86_64-linux-gnu:/usr/lib"
"""Where the loader would find libraries, had the sandbox an ld.so.conf."""
OPTIMISED = "-O2 -DNDEBUG -fwrapv -fstack-protector-strong"
"""As the interpreter itself was compiled; said here, since CFLAGS stand for its own with some
backends and join them with others."""
GRAFTED = re.compile(r"(.+)-[0-9a-f]{8}(\.so(?:\..*)?)\Z")
"""The name that auditwheel gives a library; without the middle it is the package's own."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
FILE, PROGRAM = 0o100644 << 16, 0o100755 << 16


def requires(source: str, env: str, made: str) -> None:
    """Ask the backend what it needs besides what it says without being run."""
    answer = Path(made) / "requires.json"
    call("get_requires_for_build_wheel", [], source, env, answer)


def wheel(source: str, env: str, made: str) -> None:
    """Have the wheel built."""
    folder = Path(made) / "wheel"
    folder.mkdir()
    call("build_wheel", [str(folder)], source, env, Path(made) / "wheel.json")


def call(hook: str, arguments: list[str], source: str, env: str, answer: Path) -> None:
    """Call one hook of the source's backend."""
    name, path = backend_of(Path(source))
    request = answer.with_suffix(".request")
    said = {
        "hook": hook,
        "backend": name,
        "path": [str(Path(source) / folder) for folder in path],
        "arguments": arguments,
        "answer": str(answer),
    }
    request.write_text(json.dumps(said), encoding="utf-8")
    script = str(builders.scripts.backend.__file__)
    # Not isolated: PYTHONHASHSEED must count, in the processes of the backend too.
    argv = [f"{env}/bin/python3", "-P", "-s", script, str(request)]
    done = subprocess.run(argv, cwd=source, env=environment(source, env), check=False)
    if done.returncode != 0:
        sys.exit(f"the backend {name} failed in {hook}")


def backend_of(source: Path) -> tuple[str, list[str]]:
    """Return a source's backend, and the folders it lies in."""
    file = source / "pyproject.toml"
    if not file.is_file():
        return LEGACY, []
    table = tomllib.loads(file.read_text(encoding="utf-8")).get("build-system", {})
    path = table.get("backend-path", [])
    for folder in path:
        if not (source / folder).resolve().is_relative_to(source.resolve()):
            sys.exit(f"`backend-path` leads out of the source: {folder!r}")
    return table.get("build-backend", LEGACY), path


def environment(source: str, env: str) -> dict[str, str]:
    """Return what a build's processes see; what a compiler leaves must not tell where it ran."""
    headers = f"/usr/include/python{sys.version_info.major}.{sys.version_info.minor}"
    flags = f"{OPTIMISED} -g0 -ffile-prefix-map={source}=."
    return {
        **os.environ,
        "PATH": f"{env}/bin:{os.environ['PATH']}",
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        # The interpreter's own headers: it looks for them beside itself, where only it lies.
        "CPATH": headers,
        "LDFLAGS": "-Wl,--strip-all",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }


def repair(
    *, wheel: str, distribution: str, version: str, tools: str, root: str, work: str, out: str
) -> None:
    """Put the libraries in that the wheel links to; leave it at `out`, a folder of its own."""
    folder, target = Path(work), Path(out)
    folder.mkdir()
    target.mkdir()
    built = folder / Path(wheel).name
    check(Path(wheel), distribution, version)
    pack(Path(wheel), built)
    if not is_platform(built.name):
        built.rename(target / built.name)
        return
    whole = folder / "whole"
    graft(built, whole, tools)
    names = sorted(path.name for path in whole.iterdir()) if whole.is_dir() else []
    if len(names) != 1:
        sys.exit(f"auditwheel made {len(names)} wheels of {built.name}")
    origins = Path(root) / "sealift.json"
    pack(whole / names[0], target / names[0], json.loads(origins.read_text(encoding="utf-8")))


def check(file: Path, distribution: str, version: str) -> None:
    """Refuse a wheel that says it is of another package, or that could write elsewhere."""
    with open_archive(str(file)) as archive:
        stem = find_metadata(check_members(archive), distribution, version)
        text = archive.read(f"{stem}.dist-info/METADATA").decode()
    said = email.parser.Parser().parsestr(text, headersonly=True)
    if normalise(said.get("Name", "")) != normalise(distribution):
        sys.exit(f"the wheel's METADATA is of {said.get('Name')!r}, not of {distribution!r}")


def is_platform(name: str) -> bool:
    """Tell whether a wheel is for one platform only."""
    return not name.removesuffix(".whl").endswith("-any")


def graft(wheel: Path, out: Path, tools: str) -> None:
    """Run auditwheel; without a name for the platform it takes the oldest that holds."""
    temporary = wheel.parent / "tmp"
    temporary.mkdir()
    ours = {
        "PATH": f"{tools}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": LIBRARIES,
        "TMPDIR": str(temporary),
    }
    argv = [f"{tools}/bin/python3", "-P", "-s", "-B", "-m", "auditwheel", "repair"]
    argv += ["--wheel-dir", str(out), str(wheel)]
    done = subprocess.run(argv, env={**os.environ, **ours}, check=False)
    if done.returncode != 0:
        sys.exit(f"auditwheel cannot make {wheel.name} whole")


def pack(file: Path, target: Path, origins: dict[str, dict[str, str]] | None = None) -> None:
    """Write a wheel again, all that does not matter made equal.

    `origins` says which library is of which package, in which version: of those that were put
    in, the wheel then tells (PEP 770).
    """
    with open_archive(str(file)) as archive:
        members = {info.filename: info for info in check_members(archive) if not info.is_dir()}
        contents = {name: (archive.read(name), mode_of(members[name])) for name in members}
    if origins is not None:
        add_bill(contents, origins)
    with zipfile.ZipFile(target, "x") as packed:
        for name in sorted(contents, key=order):
            info = zipfile.ZipInfo(name, EARLIEST)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            data, info.external_attr = contents[name]
            packed.writestr(info, sorted_record(data) if is_record(name) else data)


def add_bill(contents: dict[str, tuple[bytes, int]], origins: dict[str, dict[str, str]]) -> None:
    """Add a CycloneDX document that names the packages of the libraries that were put in."""
    record = next(name for name in contents if is_record(name))
    packages = {os.path.basename(name): owner for name, owner in origins["libraries"].items()}  # noqa: PTH119
    plain = {GRAFTED.sub(r"\1\2", name.rpartition("/")[2]) for name in contents}
    used = sorted({packages[name] for name in plain if name in packages})
    if not used:
        return
    components = [component(name, origins["packages"][name]) for name in used]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}
    data = (json.dumps(bill, indent=2, sort_keys=True) + "\n").encode()
    place = record.replace("RECORD", "sboms/sealift.cdx.json")
    contents[place] = (data, FILE)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    row = f"{place},sha256={digest},{len(data)}\n".encode()
    contents[record] = (contents[record][0] + row, FILE)


def component(name: str, version: str) -> dict[str, str]:
    """Describe a Debian package, as CycloneDX does."""
    purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch=amd64"
    return {
        "bom-ref": purl,
        "name": name,
        "purl": purl,
        "type": "library",
        "version": version,
    }


def order(name: str) -> tuple[bool, bool, str]:
    """Give a member's rank: what tells of the wheel stands at its end, as PEP 427 recommends."""
    return ".dist-info/" in name, is_record(name), name


def mode_of(info: zipfile.ZipInfo) -> int:
    """Return a member's attributes: a file, that can be run or not."""
    return PROGRAM if info.external_attr >> 16 & 0o111 else FILE


def is_record(name: str) -> bool:
    """Tell whether a member is the list of all members."""
    return name.endswith(".dist-info/RECORD")


def sorted_record(data: bytes) -> bytes:
    """Put the list of members in order."""
    rows = sorted(csv.reader(io.StringIO(data.decode("utf-8"))))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


STAGES: dict[str, Callable[..., None]] = {"requires": requires, "wheel": wheel, "repair": repair}


def main(stage: str, **arguments: str) -> None:
    """Run one stage."""
    STAGES[stage](**arguments)


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
