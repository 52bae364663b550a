"""Whether heads can take a release: one row per question, and refusals that say what to do. Pure.

The facts are `deploy.facts`'s. What needs the release on the head (its closure, nginx's view of
its configuration, systemd's of its units, secrets) is checked there, when the head prepares.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deploy import fit
from deploy.errors import HeadError, PortTakenError
from deploy.phases.standing import behind, standings
from deploy.profile import Status, before
from store.amounts import MEGABYTE
from store.errors import Error
from store.receive import SPARE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from deploy.facts import Facts
    from deploy.planning import Load
    from deploy.profile import Generation
    from deploy.release import Release

MACHINE = "x86_64"
MARGIN = 2
"""The disk must have room for so many times what comes: for unpacking, and for the state."""
SPARE_INODES = 1000
SKEW = 30.0
"""Seconds; heads that differ by more mistake fresh sign-ins for stale ones."""
SYSTEMD = 247
"""The first version with LoadCredential=: that of Debian 11."""
LEVEL = frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})
"""x86-64-v2, which wheels of manylinux_2_34 and newer are compiled for."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What is asked of a head: of a rollback nothing but that it stands by."""

    release: Release | None
    store_dir: str
    ports: Mapping[int, str]
    """Port → service."""
    load: Load


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a head cannot take the release, and the one thing to do.

    `slug` is that of the error which its agent would raise for it.
    """

    reason: str
    hint: str
    slug: str = HeadError.slug


@dataclass(frozen=True, slots=True)
class Row:
    """The answer to one question about one head."""

    question: str
    answer: str
    refusal: Refusal | None = None


def examine(
    head: str, facts: Facts, needs: Needs, questions: Iterable[str] | None = None
) -> tuple[Row, ...]:
    """Return the answers to `questions`, by default to all, in a fixed order."""
    wanted = QUESTIONS if questions is None else questions
    return tuple(replace(QUESTIONS[each](head, facts, needs), question=each) for each in wanted)


def secrets(facts: Facts, needed: Collection[str], coming: Mapping[str, bytes]) -> Row:
    """Answer whether a head will have the secrets that its part of a release needs.

    `coming` are those that the vault has for it, sealed. A change that was cut off may have brought
    others, which its agent knows of when that is put right.
    """
    lacking = sorted(set(needed) - set(coming) - set(facts.sealed))
    if not lacking or facts.unfinished is not None:
        told = f"{len(set(needed))} needed, {len(fresh(facts, coming))} come anew"
        return Row("secrets", told if needed else "none needed")
    some = ", ".join(lacking)
    refusal = Refusal(
        f"neither the head nor the vault has {some}",
        f"sealift secret generate, or sealift secret set {lacking[0]}",
    )
    return Row("secrets", f"{len(lacking)} missing", refusal)


def phases(head: str, facts: Facts, release: Release) -> Row | None:
    """Answer where a head stands with the release's phases; None where it brings none.

    Nothing is refused: a release runs beside phases that are behind.
    """
    if not release.phases:
        return None
    found = standings(release, head, facts.phases)
    left = [f"{name} {found[name].value}" for name in behind(found)]
    return Row("phases", ", ".join(left) or ("all verified" if found else "none of them here"))


def fresh(facts: Facts, coming: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the names of the secrets that a head has not got just so, sorted."""
    found = {name: hashlib.sha256(sealed).hexdigest() for name, sealed in coming.items()}
    return tuple(sorted(name for name in found if facts.sealed.get(name) != found[name]))


def target(head: str, facts: Facts, to: int | None) -> tuple[Generation | None, Row]:
    """Return the generation that a head goes back to, and the answer to whether it can."""
    every = {each.number: each for each in facts.made}
    hint = f"sealift history --host {head}"
    if to is None:
        found = before(facts.made, facts.current)
        reason = "there is no good generation to go back to"
    else:
        found = every.get(to)
        reason = f"there is no generation {to}"
    if found is None:
        return None, Row("target", "none", Refusal(reason, hint))
    told = f"{found.number}, {short(str(found.path))}"
    if found.status in (Status.GOOD, Status.UNKNOWN):
        return found, Row("target", told)
    hint = f"to try it again: sealift deploy --release {found.path} --host {head}"
    reason = f"generation {found.number} was never healthy: {found.status.value}"
    return found, Row("target", told, Refusal(reason, hint))


def refusals(rows: tuple[Row, ...]) -> tuple[Refusal, ...]:
    """Return what speaks against it."""
    return tuple(row.refusal for row in rows if row.refusal is not None)


def _row(answer: str, reason: str = "", hint: str = "", slug: str = HeadError.slug) -> Row:
    return Row("", answer, Refusal(reason, hint, slug) if reason else None)


def _system(_head: str, facts: Facts, _needs: Needs) -> Row:
    if facts.systemd is None:
        return _row(facts.system, "systemd does not run there", "install Debian 11 or later")
    answer = f"{facts.system}, systemd {facts.systemd}"
    if facts.systemd < SYSTEMD:
        hint = f"bring the head to systemd {SYSTEMD} or later"
        return _row(answer, f"its systemd, {facts.systemd}, hands over no credentials", hint)
    if facts.lacks:
        missing = ", ".join(facts.lacks)
        return _row(answer, f"it has no {missing}", "install coreutils and tar there")
    return _row(answer)


def _glibc(head: str, facts: Facts, needs: Needs) -> Row:
    there = facts.glibc or fit.UNTOLD
    answer = facts.glibc or "unknown"
    if needs.release is None:
        return _row(answer)
    try:
        fit.check(needs.release, there, where=head)
    except Error as error:
        return _row(answer, f"{error.reason}: it needs {error.expected}", error.hint or "")
    return _row(answer)


def _processor(_head: str, facts: Facts, _needs: Needs) -> Row:
    if facts.machine != MACHINE:
        hint = f"releases are built for {MACHINE} alone"
        return _row(facts.machine, f"its processor is {facts.machine}", hint)
    late = sorted(LEVEL - facts.flags)
    if late:
        reason = f"its processor is older than x86-64-v2: no {', '.join(late)}"
        return _row(facts.machine, reason, "in a virtual machine, pass the host's processor on")
    return _row(f"{facts.machine}-v2 or later")


def _login(_head: str, facts: Facts, _needs: Needs) -> Row:
    if facts.uid == 0:
        return _row("root")
    return _row(
        f"uid {facts.uid}",
        "commands do not run as root there",
        "user: root, or passwordless sudo for the user, in sealift.yaml",
    )


def _disk(head: str, facts: Facts, needs: Needs) -> Row:
    wanted = MARGIN * needs.load.size + SPARE
    answer = f"{_amount(facts.disk)} free, {_amount(wanted)} needed"
    if facts.readonly:
        hint = "mount it writable, or set another store_dir"
        return _row(answer, f"{facts.readonly} cannot be written to", hint)
    if facts.disk < wanted:
        return _row(answer, f"{_amount(wanted - facts.disk)} are missing", _room(head, needs))
    return _row(answer)


def _inodes(head: str, facts: Facts, needs: Needs) -> Row:
    if facts.inodes is None:
        return _row("as many as needed")
    wanted = MARGIN * needs.load.files + SPARE_INODES
    answer = f"{facts.inodes:,} free" if facts.inodes < 10 * wanted else "plenty"
    if facts.inodes < wanted:
        return _row(answer, f"{wanted - facts.inodes:,} inodes are missing", _room(head, needs))
    return _row(answer)


def _room(head: str, needs: Needs) -> str:
    return f"make room below {needs.store_dir}: sealift gc --keep 2 --host {head}"


def _clock(_head: str, facts: Facts, _needs: Needs) -> Row:
    if abs(facts.skew) < 1:
        return _row("right")
    answer = f"{abs(facts.skew):.0f} s {'ahead' if facts.skew > 0 else 'behind'}"
    if abs(facts.skew) > SKEW:
        return _row(answer, f"its clock is {answer}", "set it, as by date --set")
    return _row(answer)


def _ports(_head: str, facts: Facts, needs: Needs) -> Row:
    if not facts.taken:
        return _row("free or ours")
    told = [f"{port} ({needs.ports.get(port, 'web')}) by {who}" for port, who in facts.taken]
    reason, hint = f"ports are taken: {'; '.join(told)}", "stop that, or set another port"
    return _row("taken", reason, hint, PortTakenError.slug)


def _lock(_head: str, facts: Facts, _needs: Needs) -> Row:
    if facts.holder is not None:
        # The head's own agent decides: the lock may be free by then, and it can name the holder.
        return _row(f"held: it is being changed by {facts.holder}")
    if facts.unfinished is not None:
        return _row("a change was cut off; it is put right first")
    return _row("free")


def _generation(_head: str, facts: Facts, needs: Needs) -> Row:
    if facts.current is None or facts.path is None:
        return _row("none")
    wanted = None if needs.release is None else str(needs.release.path)
    same = " (this release)" if facts.path == wanted else ""
    return _row(f"{facts.current}, {short(facts.path)}{same}")


def machines(identities: Mapping[str, str]) -> Mapping[str, tuple[Row, ...]]:
    """Return what speaks against heads, by name, of which two are one machine; else nothing."""
    known = {name: identity for name, identity in identities.items() if identity}
    others = {
        name: [other for other in known if other != name and known[other] == known.get(name)]
        for name in identities
    }
    if not any(others.values()):
        return {}
    hint = "give each head its own address in sealift.yaml"
    rows = {
        name: _row(f"that of {', '.join(same)}", f"it is the same machine as {same[0]}", hint)
        if same
        else _row("its own")
        for name, same in others.items()
    }
    return {name: (replace(row, question="machine"),) for name, row in rows.items()}


def short(path: str) -> str:
    """Return a release's path as people tell it apart from others."""
    name = path.rpartition("/")[2]
    digest, _, rest = name.partition("-")
    return f"{digest[:8]}-{rest}"


def _amount(size: int) -> str:
    if size >= 1000 * MEGABYTE:
        return f"{size / MEGABYTE / 1000:.1f} GB"
    return f"{size / MEGABYTE:.0f} MB"


QUESTIONS: Mapping[str, Callable[[str, Facts, Needs], Row]] = {
    "system": _system,
    "login": _login,
    "glibc": _glibc,
    "processor": _processor,
    "disk": _disk,
    "inodes": _inodes,
    "clock": _clock,
    "ports": _ports,
    "lock": _lock,
    "generation": _generation,
}
