"""apt's own solver: which packages must be there, beside a stated system, for others to work.

apt runs in a folder of its own, made for one question: it reads none of this machine's
configuration, keys, lists or packages, and has no network. The indexes are fetched and believed
by `builders.deb_index`, and believed by apt once more. What a lock says is for
`builders.deb_pins`.
"""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from builders.command import capture
from builders.deb_index import read_index
from builders.deb_pins import Asked, DebLock, LockError, Pinned, moment
from builders.debian import BadIndexError, parse_packages
from builders.dpkg_status import StatusError, installed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from builders.command import Completed
    from builders.deb_index import Index
    from builders.deb_sources import Source
    from builders.debian import Stanza, Version
    from store.errors import Error

SOURCE = "Source"
TIMEOUT = 600.0
"""Seconds that apt may think."""
_INSTALL = re.compile(r"Inst (?P<name>\S+)(?: \[(?P<old>[^\]]+)\])? \((?P<version>\S+) ")
_REMOVE = re.compile(r"Remv (\S+)")
_PROVIDED = re.compile(r"^Provides: (.+)$", re.MULTILINE)
_NAMED = re.compile(r"^Package: (\S+)$", re.MULTILINE)
_ARCHITECTURE = re.compile(r"^Architecture: (\S+)$", re.MULTILINE)
_SHOWN = 8
"""How many providers of a virtual package are named."""
_UNMET = "The following packages have unmet dependencies:"


class NoPackageError(LockError):
    """A package that is in no suite, or a name that several packages provide."""

    slug = "no-such-package"


class ClosureError(LockError):
    """Packages that cannot all be there together, on the system that was stated."""

    slug = "no-closure"


@dataclass(frozen=True, slots=True)
class _Choice:
    """What apt would install; `old` is the version that it would replace, if any."""

    name: str
    version: str
    old: str | None


def solve(
    packages: Sequence[str],
    sources: Sequence[Source],
    *,
    status: str = "",
    architecture: str = "amd64",
    fields: Collection[str] = (SOURCE,),
    where: str,
    status_file: str | None = None,
) -> DebLock:
    """Pin the packages and all that they need beside what is installed already.

    `status` is the text of a dpkg status file; empty, nothing is installed. What the system has
    in a version that does is kept, and not pinned. Recommends are not followed. `fields` are
    those of the index that the lock keeps; `where` is what errors point at, `status_file` what do
    those of the status.

    Raises:
        ClosureError: if apt finds no way, or only one that removes something.
        NoPackageError: if a package is in no suite, or is virtual and has several providers.
        LockError: if apt-get is not installed.
        StatusError: if the status makes no sense.
        BadIndexError: if a mirror's index is not what it should be, or not signed.
        FetchError: if a mirror does not answer.
    """
    indexes = {source: read(source, architecture) for source in dict.fromkeys(sources)}
    texts = [text for index in indexes.values() for text in index.texts.values()]
    _check_names(packages, (*texts, status), where)
    with tempfile.TemporaryDirectory(prefix="sealift-apt-") as folder:
        root = Path(folder)
        _lay(root, indexes, status, architecture)
        update = _apt(root, "update", where=where)
        if update.code:
            raise _disbelief(update, root, where, status_file)
        done = _apt(root, "install", "-s", "-y", "--", *packages, where=where)
        if done.code:
            raise _virtual(packages, texts, where) or _refusal(done, where)
    choices = tuple(_choices(done.stdout.decode(errors="replace"), where))
    present = _present(packages, choices, status, texts, where)
    named = {each.name for each in choices} | present.keys()
    there = {each.name for each in installed(status, where=where)} | named
    provided = {
        name: min(there & providers)
        for name, providers in _providers(set(packages) - named, (*texts, status)).items()
        if there & providers
    }
    asked = replace(Asked.of(packages, sources), present=present, provided=provided)
    return _pin(choices, indexes, asked, fields, where)


def read(source: Source, architecture: str = "amd64") -> Index:
    """Read the signed indexes of a source.

    Raises:
        BadIndexError: if an index is not what it should be, or not signed.
        FetchError: if the mirror does not answer.
    """
    return read_index(
        source.mirror.rstrip("/"),
        source.suite,
        keyring=source.keyring,
        components=source.components,
        architecture=architecture,
    )


def _lay(root: Path, indexes: Mapping[Source, Index], status: str, architecture: str) -> None:
    """Lay a private apt: its configuration, its only sources as files, and what is installed."""
    for folder in (
        "etc/apt.conf.d",
        "etc/preferences.d",
        "state/lists/partial",
        "cache/archives/partial",
        "log",
    ):
        (root / folder).mkdir(parents=True)
    (root / "status").write_text(status, encoding="utf-8")
    foreign = sorted({*_ARCHITECTURE.findall(status)} - {architecture, "all"})
    (root / "apt.conf").write_text(_configuration(root, architecture, foreign), encoding="utf-8")
    lines = [
        _lay_source(root, number, source, index, architecture)
        for number, (source, index) in enumerate(indexes.items())
    ]
    (root / "etc" / "sources.list").write_text("".join(lines), encoding="utf-8")


def _lay_source(root: Path, number: int, source: Source, index: Index, architecture: str) -> str:
    mirror, keyring = root / f"mirror-{number}", root / f"keyring-{number}.gpg"
    shutil.copyfile(source.keyring, keyring)
    folder = mirror / "dists" / source.suite
    folder.mkdir(parents=True)
    (folder / "InRelease").write_bytes(index.signed)
    for path, data in index.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    options = f"arch={architecture} signed-by={keyring}"
    words = ["deb", f"[{options}]", f"file:{quote(str(mirror))}", source.suite]
    return " ".join((*words, *source.components)) + "\n"


def _configuration(root: Path, architecture: str, foreign: Iterable[str]) -> str:
    architectures = " ".join(f'"{name}";' for name in (architecture, *foreign))
    settings = {
        "Dir": f"{root}/",
        "Dir::Etc": f"{root}/etc/",
        "Dir::State": f"{root}/state/",
        "Dir::State::status": f"{root}/status",
        "Dir::Cache": f"{root}/cache/",
        "Dir::Log": f"{root}/log/",
        "APT::Architecture": architecture,
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        "APT::Sandbox::User": "root",
        # Ubuntu gives new versions to some machines first, by their id: the same answer for all.
        "APT::Get::Always-Include-Phased-Updates": "true",
        "Acquire::Languages": "none",
        # The indexes lie under their plain names.
        "Acquire::By-Hash": "no",
        # Otherwise an index that apt does not believe is but a warning, and the one before holds.
        "APT::Update::Error-Mode": "any",
    }
    lines = [f'{key} "{value}";\n' for key, value in settings.items()]
    return "".join((*lines, f"APT::Architectures {{ {architectures} }};\n"))


def _apt(root: Path, *arguments: str, where: str) -> Completed:
    environment = {
        "APT_CONFIG": str(root / "apt.conf"),
        "DEBIAN_FRONTEND": "noninteractive",
        "HOME": str(root),
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": str(root),
    }
    program = shutil.which("apt-get")
    if program is None:
        raise LockError(
            "apt-get is not installed, which finds out what packages need",
            where=where,
            hint="lock on a Debian or Ubuntu machine",
        )
    try:
        return capture([program, "-q", *arguments], env=environment, cwd=root, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ClosureError(f"apt thought for more than {TIMEOUT:.0f} s", where=where) from None


def _disbelief(done: Completed, root: Path, where: str, status_file: str | None) -> Error:
    """Say what apt could not read: the status, or an index that we took to be right."""
    said, status = _said(done), str(root / "status")
    if status not in said:
        return BadIndexError("apt does not believe the indexes", where=where, got=said)
    return StatusError(
        "apt does not understand the status file of the base system",
        where=status_file or where,
        got=said.replace(status, "status"),
        hint="capture it again",
    )


def _refusal(done: Completed, where: str) -> ClosureError:
    """Say what apt said, without its preliminaries."""
    _, _, unmet = done.stdout.decode(errors="replace").partition(_UNMET)
    reasons = [" ".join(line.split()) for line in unmet.splitlines() if line.startswith(" ")]
    return ClosureError(
        "apt finds no way to install the packages",
        where=where,
        got="; ".join(reasons) or _said(done),
        hint="correct `packages:`, `suites:`, or the base system",
    )


def _said(done: Completed) -> str:
    lines = done.stderr.decode(errors="replace").splitlines()
    complaints = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return "; ".join(complaints) or f"exit code {done.code}"


def _choices(text: str, where: str) -> Iterator[_Choice]:
    removed = [found[1] for line in text.splitlines() if (found := _REMOVE.match(line))]
    if removed:
        raise ClosureError(
            f"the packages conflict with what the base system has: {', '.join(removed)}",
            where=where,
            hint="leave out what conflicts, or remove these from the head and capture it again",
        )
    for line in text.splitlines():
        if found := _INSTALL.match(line):
            yield _Choice(found["name"], found["version"], found["old"])


def _check_names(packages: Sequence[str], texts: Iterable[str], where: str) -> None:
    """Make sure that each name is one: apt would take some others for patterns, or for options."""
    known: set[str] = set()
    for text in texts:
        known.update(_NAMED.findall(text))
        for line in _PROVIDED.findall(text):
            known.update(word.split()[0] for word in line.split(","))
    for name in packages:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise NoPackageError(
                f"no suite has a package {name!r}",
                where=where,
                hint=f"did you mean {near[0]!r}?" if near else "correct the name",
            )


def _providers(names: Collection[str], texts: Iterable[str]) -> dict[str, set[str]]:
    """Give the packages that provide some virtual ones."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for block in (block for text in texts for block in text.split("\n\n") if found):
        said = _PROVIDED.search(block)
        words = {word.split()[0] for word in said[1].split(",")} if said else set()
        for name in found.keys() & words:
            found[name].update(_NAMED.findall(block))
    return found


def _virtual(packages: Sequence[str], texts: Sequence[str], where: str) -> NoPackageError | None:
    """Name an asked package that is none, and of which apt could not choose a provider."""
    real = {name for text in texts for name in _NAMED.findall(text)}
    for name, providers in sorted(_providers(set(packages) - real, texts).items()):
        if len(providers) > 1:
            named = sorted(providers)
            return NoPackageError(
                f"{name} is a virtual package",
                where=where,
                expected=f"one of {', '.join(named[:_SHOWN])}{' …' if named[_SHOWN:] else ''}",
                hint="name one of those that provide it",
            )
    return None


def _present(
    packages: Sequence[str],
    choices: Sequence[_Choice],
    status: str,
    texts: Iterable[str],
    where: str,
) -> dict[str, str]:
    """Give what was asked for and is there already, with its version.

    Raises:
        ClosureError: if that is newer than any suite: it would not be what the recipe means.
    """
    kept = frozenset(packages) - {choice.name for choice in choices}
    there = {each.name: each.version for each in installed(status, where=where)}
    newest: dict[str, Version] = {}
    for text in texts if kept else ():
        for stanza in parse_packages(text, kept, where=where):
            newest[stanza.name] = max(stanza.version, newest.get(stanza.name, stanza.version))
    present = {name: there[name] for name in sorted(kept & there.keys())}
    for name, version in present.items():
        if name in newest and version > newest[name]:
            raise ClosureError(
                f"the base system has {name} {version}, newer than any suite",
                where=where,
                expected=f"at most {newest[name]}",
                hint="leave it out of `packages:`, or name the suite that it came from",
            )
    return {name: str(version) for name, version in present.items()}


def _pin(
    choices: Sequence[_Choice],
    indexes: Mapping[Source, Index],
    asked: Asked,
    fields: Collection[str],
    where: str,
) -> DebLock:
    wanted = frozenset(choice.name for choice in choices)
    found: dict[tuple[str, str], tuple[Stanza, Source]] = {}
    for source, index in indexes.items():
        for text in index.texts.values():
            for stanza in parse_packages(text, wanted, where=f"{source.mirror} {source.suite}"):
                # The first of equals: a source named earlier is the better known one.
                found.setdefault((stanza.name, str(stanza.version)), (stanza, source))
    packages, used = {}, {}
    for choice in sorted(choices, key=lambda each: each.name):
        if (choice.name, choice.version) not in found:
            reason = f"apt chose {choice.name} {choice.version}, which no suite has"
            raise ClosureError(reason, where=where)
        stanza, source = found[choice.name, choice.version]
        packages[choice.name] = pinned(stanza, source.name, fields)
        used[source.name] = source
    return DebLock(
        suites={name: moment(indexes[source].release.date) for name, source in used.items()},
        packages=packages,
        mirrors={name: source.mirror for name, source in used.items() if not source.label},
        asked=asked,
    )


def pinned(stanza: Stanza, suite: str, fields: Collection[str] = ()) -> Pinned:
    """Pin what a stanza says, with some of its fields."""
    kept = {name: stanza.fields[name] for name in sorted(fields) if name in stanza.fields}
    return Pinned(
        version=str(stanza.version),
        architecture=stanza.architecture,
        suite=suite,
        filename=stanza.filename,
        sha256=stanza.sha256,
        size=stanza.size,
        control={name: " ".join(value.split()) for name, value in kept.items()},
    )
