"""Files of a phase in /etc: links to what it laid, and what was there before kept aside.

A link leads over the phase's profile into the store, or into memory where the file has secrets or
an owner of its own. What is in /etc and not ours is copied aside before the link takes its place by
one rename, so a kill leaves it in the one place or in both. dpkg is told that the path is diverted
to where it was kept: packages that come or change later write there, and never through a link of
ours into the store.
"""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import durable
from deploy.errors import HeadError
from deploy.install import dpkg, memory, records
from deploy.install.copying import copy, make_folders, same, sweep
from deploy.phases import configuration_file
from deploy.phases.state import FileState, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deploy.install.machine import Machine
    from deploy.install.memory import Text
    from deploy.phases.configuration import Configuration, File

MISSING, CHANGED, FOREIGN, GONE = "missing", "changed", "foreign", "gone"
LOCAL = ":"
LONGEST_DIFF = 64 * 1024
IN_THE_WAY, DIVERTED, TWICE = "path-in-use", "path-diverted", "file-of-two-phases"


def look(
    machine: Machine,
    wanted: Configuration,
    laid: Configuration | None,
    texts: Mapping[Path, Text] | None,
) -> tuple[FileState, ...]:
    """Return the files that are not as they are wanted.

    `laid` is the configuration that is. Without `texts`, as secrets are missing, those in memory
    count as changed.
    """
    there = [_look(machine, wanted, laid, each, texts) for each in wanted.files]
    gone = [FileState(str(each), GONE) for each in leaving(machine, wanted.phase, wanted)]
    return (*filter(None, there), *gone)


def refusals(machine: Machine, wanted: Configuration) -> tuple[Refusal, ...]:
    """Return what stands in a file's way."""
    known = dpkg.diversions(machine)
    return tuple(
        refusal for each in wanted.files if (refusal := _refusal(machine, wanted, each, known))
    )


def leaving(machine: Machine, phase: str, wanted: Configuration | None) -> tuple[Path, ...]:
    """Return the paths that a phase has in /etc, or keeps something of, and does not want."""
    keep = set() if wanted is None else {each.path for each in wanted.files}
    found = {*_diverted(machine, phase), *_linked(machine, phase)}
    return tuple(sorted(found - keep))


def ready(machine: Machine, wanted: Configuration) -> None:
    """Do all that comes before the links: folders, copies of what is not ours, diversions.

    Raises:
        HeadError: something is in the way, or dpkg does not divert.
    """
    found = refusals(machine, wanted)
    if found:
        raise HeadError(found[0].reason, hint=found[0].hint)
    known = dpkg.diversions(machine)
    for file in wanted.files:
        place = machine.at(file.path)
        _make_noted(machine, wanted.phase, place.parent)
        if _is_foreign(machine, place):
            _keep(machine, wanted.phase, file.path)
        kept = kept_at(machine, wanted.phase, file.path)
        if str(file.path) not in known:
            make_folders(kept.parent)
            _divert(machine, "--add", file.path, kept)


def place(machine: Machine, wanted: Configuration) -> None:
    """Lay the links; each takes the place of what was there at once."""
    for file in wanted.files:
        link, target = machine.at(file.path), _target(machine, wanted, file)
        sweep(link, kept_at(machine, wanted.phase, file.path))
        if not link.is_symlink() or os.readlink(link) != target:  # noqa: PTH115 (text)
            if _is_foreign(machine, link):
                _keep(machine, wanted.phase, file.path)
            durable.link(link, target)


def give_back(machine: Machine, phase: str, path: Path) -> None:
    """Take a phase's link away, and put back what was there before. Nothing is done twice.

    What somebody laid over our link meanwhile stays, and what was there before stays aside.

    Raises:
        HeadError: dpkg does not let go of the diversion.
    """
    link, kept = machine.at(path), kept_at(machine, phase, path)
    sweep(link, kept)
    if not os.path.lexists(link) or _phase_of(machine, link) == phase:
        if os.path.lexists(kept):
            make_folders(link.parent)
            copy(kept, link)
        else:
            durable.remove(link)
    if same(link, kept):
        durable.remove(kept)
    # Last: by it whoever comes after a kill finds what is left to do.
    if dpkg.diversions(machine).get(str(path)) == (str(kept), LOCAL):
        _divert(machine, "--remove", path, kept)


def tidy(machine: Machine, phase: str) -> None:
    """Remove the folders in /etc that the phase made and nothing is in any more."""
    noted = records.noted(machine, records.FOLDERS)
    mine = sorted((each for each, whose in noted.items() if whose == phase), reverse=True)
    for each in mine:
        folder = machine.at(each)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        if not folder.is_dir():
            del noted[each]
    if mine:
        records.note(machine, records.FOLDERS, noted)


def still_kept(machine: Machine, phase: str) -> tuple[str, ...]:
    """Return what lies aside of a phase, sorted; empty folders are removed."""
    found = []
    for parent, _, files in os.walk(machine.aside(phase), topdown=False):
        here = Path(parent)
        links = [each for each in here.iterdir() if each.is_symlink() and each.is_dir()]
        found += [*(str(here / name) for name in files), *(str(each) for each in links)]
        if not any(here.iterdir()):
            here.rmdir()
    return tuple(sorted(found))


def kept_at(machine: Machine, phase: str, path: Path) -> Path:
    """Return where what was at `path` before a phase is kept."""
    return machine.aside(phase) / path.relative_to("/")


def _look(
    machine: Machine,
    wanted: Configuration,
    laid: Configuration | None,
    file: File,
    texts: Mapping[Path, Text] | None,
) -> FileState | None:
    link = machine.at(file.path)
    if not os.path.lexists(link):
        what, aside = MISSING, ""
    elif _phase_of(machine, link) == wanted.phase:
        if _as_wanted(machine, wanted, file, link, texts):
            return None
        what, aside = CHANGED, ""
    else:
        what, aside = FOREIGN, str(_free(machine, wanted.phase, file.path))
    return FileState(str(file.path), what, aside, _diff(wanted, laid, file, link))


def _as_wanted(
    machine: Machine,
    wanted: Configuration,
    file: File,
    link: Path,
    texts: Mapping[Path, Text] | None,
) -> bool:
    if os.readlink(link) != _target(machine, wanted, file):  # noqa: PTH115 (text)
        return False
    if not file.plain:
        return texts is not None and memory.as_wanted(machine, link, texts[file.path])
    try:
        return link.read_bytes() == wanted.text(file)
    except OSError:
        return False


def _diff(wanted: Configuration, laid: Configuration | None, file: File, link: Path) -> str:
    """Return how a text changes; no value of a secret comes near it."""
    if file.secret is not None:
        return ""
    if file.markers:
        old = None if laid is None else _template(laid, file.path)
    else:
        old = _readable(link)
    if old is None:
        return ""
    text = _compared(str(file.path), old, wanted.text(file))
    return text if len(text) <= LONGEST_DIFF else text[:LONGEST_DIFF] + "\n[…]"


def _compared(name: str, old: bytes, new: bytes) -> str:
    left, right = (each.decode("utf-8", "replace").splitlines() for each in (old, new))
    return "\n".join(difflib.unified_diff(left, right, name, name, lineterm=""))


def _template(laid: Configuration, path: Path) -> bytes | None:
    """Return a text as the store has it, with its markers."""
    found = [each for each in laid.files if each.path == path and each.secret is None]
    return laid.text(found[0]) if found else None


def _readable(link: Path) -> bytes | None:
    """Return a text that everybody may read; nothing of one that is not there."""
    try:
        if not stat.S_ISREG(link.stat().st_mode) or not link.stat().st_mode & stat.S_IROTH:
            return None
        return link.read_bytes()
    except OSError:
        return b""


def _refusal(
    machine: Machine, wanted: Configuration, file: File, known: Mapping[str, tuple[str, str]]
) -> Refusal | None:
    link, path = machine.at(file.path), file.path
    other = _phase_of(machine, link)
    if other not in (None, wanted.phase):
        reason = f"{path} is of the phase {other}, and {wanted.phase} wants it as well"
        return Refusal(TWICE, reason, "let one of the two have it")
    mine = (str(kept_at(machine, wanted.phase, path)), LOCAL)
    if known.get(str(path), mine) != mine:
        reason = f"{path} is diverted already, to {known[str(path)][0]}"
        return Refusal(DIVERTED, reason, f"dpkg-divert --rename --remove {path}")
    if os.path.lexists(link) and not link.is_symlink() and not link.is_file():
        reason = f"{path} is wanted as a file, and is something else"
        return Refusal(IN_THE_WAY, reason, f"ls -ld {path}")
    for parent in list(link.parents)[: len(path.parts) - 2]:
        if os.path.lexists(parent) and not parent.is_dir():
            reason = f"{path} is wanted as a file, and {parent} is no folder"
            return Refusal(IN_THE_WAY, reason, f"ls -ld {parent}")
    return None


def _target(machine: Machine, wanted: Configuration, file: File) -> str:
    if file.plain:
        return f"{machine.profile(wanted.phase)}/{file.source}"
    return f"{machine.memory}/{wanted.phase}{file.path}"


def _phase_of(machine: Machine, link: Path) -> str | None:
    """Return the phase that a link in /etc is of; None for what is not ours."""
    if not link.is_symlink():
        return None
    target = os.readlink(link)  # noqa: PTH115 (text)
    for start in (f"{machine.memory}/", str(machine.profile(""))):
        if target.startswith(start):
            return target.removeprefix(start).split("/", 1)[0]
    return None


def _is_foreign(machine: Machine, link: Path) -> bool:
    return os.path.lexists(link) and _phase_of(machine, link) is None


def _keep(machine: Machine, phase: str, path: Path) -> None:
    """Copy what is at `path` aside; what lies there already is never written over."""
    place, kept = machine.at(path), _free(machine, phase, path)
    if not same(place, kept):
        make_folders(kept.parent)
        copy(place, kept)


def _free(machine: Machine, phase: str, path: Path) -> Path:
    """Return where a copy of what is at `path` lies, or may come to lie."""
    place, first = machine.at(path), kept_at(machine, phase, path)
    kept, number = first, 0
    while os.path.lexists(kept) and not same(place, kept):
        number += 1
        kept = first.with_name(f"{first.name}.{number}")
    return kept


def _make_noted(machine: Machine, phase: str, folder: Path) -> None:
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    if missing:
        noted = records.noted(machine, records.FOLDERS)
        paths = [f"/{each.relative_to(machine.root)}" for each in missing]
        records.note(machine, records.FOLDERS, noted | dict.fromkeys(paths, phase))
        make_folders(folder)


def _diverted(machine: Machine, phase: str) -> Iterator[Path]:
    """Yield the paths that are diverted for a phase."""
    start = f"{machine.aside(phase)}/"
    for path, (kept, who) in dpkg.diversions(machine).items():
        if who == LOCAL and kept.startswith(start):
            yield Path(path)


def _linked(machine: Machine, phase: str) -> Iterator[Path]:
    """Yield the paths of a phase's configurations that are links of its own."""
    for link in (machine.profile(phase), machine.before(phase)):
        if link.is_symlink():
            for file in configuration_file.load(link.resolve()).files:
                if _phase_of(machine, machine.at(file.path)) == phase:
                    yield file.path


def _divert(machine: Machine, verb: str, path: Path, kept: Path) -> None:
    argv = ("dpkg-divert", "--local", "--no-rename", "--divert", str(kept), verb, str(path))
    done = machine.run(argv)
    if done.status:
        got = (done.stderr.strip() or done.stdout.decode("utf-8", "replace").strip())[-400:]
        raise HeadError("dpkg does not divert a file", where=str(path), got=got)
