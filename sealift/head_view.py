"""How a head looks: its status, its generations, what differs between two of them.

Everything is drawn from the JSON records that the commands give, so what this machine's head says
and what another one answers looks alike. Of several heads, equal answers stand once. What a head
says steers no terminal.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from builders.logs import plain
from sealift.fold import grouped, line, sheet
from sealift.shown import bare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from store.errors import Error

    Record = Mapping[str, Any]


SECONDS = -len(":59")
"""Where in a moment the seconds begin."""


WELL = "verified"
"""What a phase is that nothing is to be done for."""
NUMBER = "\0"
"""Stands for a generation's number in what heads can have in common."""


def status(found: Record) -> list[str]:
    """Spell the status of one head."""
    found = bare(found)
    cut = [] if found["interrupted"] is None else [_cut(found, found["interrupted"])]
    if found["generation"] is None:
        name = found["head"]
        return cut or [f"{name}: nothing is deployed; sealift deploy --host {name}"]
    of = f"generation {found['generation']} of {moment(found['created'])}"
    lines = [f"{found['head']}  {found['url']}  {of}"]
    if found["changing"] is not None:
        lines.append(f"is being changed by {found['changing']}")
    lines += [*cut, *_certificates(found), *_phases(found)]
    width = max((len(each["name"]) for each in found["services"]), default=0)
    return lines + [_service(each, width) for each in found["services"]]


def statuses(found: Mapping[str, Record], lost: Mapping[str, Error]) -> Iterator[str]:
    """Spell the status of several heads: what they share once, then how they differ."""
    found = {head: bare(each) for head, each in found.items()}
    numbers = {head: str(each["generation"] or "none") for head, each in found.items()}
    # Heads number their generations themselves, so equal releases may have unequal numbers.
    for heads, text in grouped({head: _shared(each) for head, each in found.items()}):
        number = line({head: numbers[head] for head in heads})
        yield from sheet(heads, text.replace(NUMBER, number))
    for head, error in lost.items():
        yield plain(f"{head}: {error.reason}" + (f"; {error.hint}" if error.hint else ""))
    releases = {head: _short(each) for head, each in found.items()}
    if len(set(releases.values())) > 1:
        yield f"skew: {line(releases)}"
        yield f"to bring them together: sealift deploy --host {_spell([*found, *lost])}"


def healthy(found: Mapping[str, Record], lost: Mapping[str, Error]) -> bool:
    """Tell whether all heads run the same release, and all of it well."""
    releases = {each.get("release") for each in found.values()}
    return not lost and len(releases) == 1 and all(each["healthy"] for each in found.values())


def generations(found: Record, *, several: bool = False) -> list[str]:
    """Spell the generations of a head, oldest first; those of several made together look alike."""
    rows = []
    for each in bare(found)["generations"]:
        mark = "→" if each["current"] else " "
        made = moment(each["created"])[: SECONDS if several else None]
        row = f"{mark} {each['number']:>4}  {made}  {each['status']:<12}"
        name = each["path"].rpartition("/")[2]
        rows.append(f"{row} {each['by']:<24} {name}")
    return rows


def changes(found: Record) -> list[str]:
    """Draw the log of changes: when, who, from where, what, and what became of it."""
    return [
        f"{moment(each['time'])}  {each['who']:<24} {each['source'] or '-':<15} "
        f"{each['action']:<10} {each['result']:<16} {each['what']}  {each['detail']}".rstrip()
        for each in bare(found)["changes"]
    ]


def moment(seconds: float) -> str:
    """Spell seconds since the epoch as local date and time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _cut(found: Record, cut: Record) -> str:
    """Say what was cut off, and by which command it is put right."""
    name = found["head"]
    of = f"{cut['action']} of generation {cut['generation']}"
    what = f"{of} by {cut['by']} at {moment(cut['since'])}"
    begin = "" if cut["before"] is None else f"sealift start --host {name}, or "
    return f"interrupted: {what}; to put it right: {begin}sealift deploy --host {name}"


def _certificates(found: Record) -> list[str]:
    return [
        f"certificate {each['name']} {'expired' if each['expired'] else 'expires'} "
        f"{datetime.fromtimestamp(each['end']).astimezone():%Y-%m-%d}"
        for each in found["certificates"]
    ]


def _phases(found: Record) -> list[str]:
    """Say which phases of the release the head is behind with; heads of old tell of none."""
    told = [f"{name} {state}" for name, state in found.get("phases", {}).items() if state != WELL]
    return [f"phases: {', '.join(told)}; to bring them on: sealift phase run"] if told else []


def _service(each: Record, width: int) -> str:
    since = moment(each["since"]) if each["since"] else ""
    pid = str(each["pid"] or "-")
    name = each["path"].rpartition("/")[2]
    return (
        f"{each['name']:<{width}}  {each['phase']:<8} {pid:>7}  {each['health'] or '-':<10} "
        f"{since:<19}  {name}"
    )


def _shared(found: Record) -> str:
    """Spell what heads can have in common: no times, no pids, no names of heads."""
    if found["generation"] is None:
        return "nothing is deployed"
    well = "healthy" if found["healthy"] else "not well"
    lines = [f"{_short(found)}  {well}  generation {NUMBER}"]
    if found["changing"] is not None:
        lines.append(f"is being changed by {found['changing']}")
    if found["interrupted"] is not None:
        lines.append(f"{found['interrupted']['action']} was interrupted")
    lines += [*_certificates(found), *_phases(found)]
    width = max((len(each["name"]) for each in found["services"]), default=0)
    for each in found["services"]:
        name = each["path"].rpartition("/")[2]
        about = f"{each['phase']:<8} {each['health'] or '-':<10}"
        lines.append(f"{each['name']:<{width}}  {about} {name}")
    return "\n".join(lines)


def _short(found: Record) -> str:
    from deploy.preflight import short

    return short(found["release"]) if found.get("release") else "nothing"


def _spell(heads: list[str]) -> str:
    from deploy.node_sets import fold

    return fold(heads)
