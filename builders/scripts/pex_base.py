"""Make a loose PEX of locked wheels with pex itself, then share what the wheels' own paths hold.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `python` and
`tools` (store paths; `tools` is an environment that has pex), `files` (file name → path of a
fetched wheel), `wheels` (file name → store path of the same wheel, unpacked), `requirements`
(lines), `work` (a folder to work in) and `out`.

pex accepts tampered wheels: their hashes were checked when they were fetched. It says nothing
and makes an empty PEX when it is given no requirements, so what it took is compared with the lock.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))  # noqa: PTH100, PTH118, PTH120

from builders.scripts.run_pex import run_pex


def main(
    *,
    python: str,
    tools: str,
    files: dict[str, str],
    wheels: dict[str, str],
    requirements: list[str],
    work: str,
    out: str,
) -> None:
    """Make the PEX at `out`; `work` is an empty folder, in memory where that can be."""
    place = Path(work)
    make_pex(place, python=python, tools=tools, files=files, requirements=requirements)
    pex = place / "out"
    dists = pex / ".deps"
    if (names_in(dists) if dists.is_dir() else []) != sorted(wheels):
        sys.exit(f"pex took other wheels than the lock names: {names_in(dists)}")
    for name in sorted(wheels):
        share(dists / name, Path(wheels[name]))
    compile_bootstrap(pex / ".bootstrap")
    for path in pex.rglob("__pycache__"):
        if path.parent == pex:
            shutil.rmtree(path)
    shutil.copytree(pex, out, symlinks=True)


def make_pex(
    work: Path,
    *,
    python: str,
    tools: str,
    files: dict[str, str],
    requirements: list[str],
) -> None:
    """Run pex on nothing but the wheels."""
    folder = work / "wheels"
    folder.mkdir()
    for name, path in sorted(files.items()):
        # A copy: pex follows links, and would call the wheel by its store path's name.
        shutil.copyfile(path, folder / name)
    (work / "top.in").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    words = ["--layout", "loose", "-o", str(work / "out")]
    if requirements:
        words += ["--pre-resolved-dists", str(folder), "-r", str(work / "top.in")]
    run_pex(words, tools=tools, python=python, root=work / "root")


def share(ours: Path, theirs: Path) -> bool:
    """Replace what is equal in the wheel's own path by links to it; say whether all was.

    Bytecode is the wheel's alone: where a folder stays real, it is linked in instead of
    what the wheel was published with.
    """
    shutil.rmtree(ours / "__pycache__", ignore_errors=True)
    names = names_in(ours)
    kept = [name for name in names if not replace(ours / name, theirs / name)]
    bytecode = theirs / "__pycache__"
    if kept and bytecode.is_dir():
        (ours / "__pycache__").symlink_to(bytecode)
    extra = set(names_in(theirs)) - set(names) - {"__pycache__"} if theirs.is_dir() else set()
    return not kept and not extra


def replace(ours: Path, theirs: Path) -> bool:
    """Replace one entry by a link if the wheel's path has the same."""
    if ours.is_dir():
        equal = theirs.is_dir() and share(ours, theirs)
    else:
        equal = theirs.is_file() and same(ours, theirs)
    if equal and ours.is_dir():
        shutil.rmtree(ours)
    elif equal:
        ours.unlink()
    if equal:
        ours.symlink_to(theirs)
    return equal


def same(ours: Path, theirs: Path) -> bool:
    """Compare two files; whole, since `filecmp` goes by 8 KiB and takes four times as long."""
    if ours.stat().st_size != theirs.stat().st_size:
        return False
    return ours.read_bytes() == theirs.read_bytes()


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def compile_bootstrap(folder: Path) -> None:
    """Compile PEX's own runtime; what it carries for older Pythons does not compile."""
    compile_dir(
        folder,
        ddir=".bootstrap",
        quiet=2,
        force=True,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
