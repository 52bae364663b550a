"""A command that runs on several heads: who is asked, and how their answers stand side by side.

Each head runs the same command of its own release with --json; nothing is worked out here that a
head could not tell alone.
"""

from __future__ import annotations

import json
import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from sealift.shown import bare, say
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from deploy.remote import RemoteHead
    from sealift.site import Site

    Record = Mapping[str, Any]


@contextmanager
def there(site: Site, host: str | None) -> Iterator[tuple[RemoteHead, ...]]:
    """Give the heads that are meant and are other machines; none means this one."""
    from sealift import fleet

    hosts = fleet.chosen(site, host)
    if hosts is None:
        yield ()
        return
    with fleet.reaching(site.settings, hosts) as heads:
        yield heads


def everywhere(
    site: Site, heads: Sequence[RemoteHead], words: Sequence[str], *, as_json: bool
) -> None:
    """Run a command on heads, and show what each did.

    Raises:
        Error: of the first head that failed; what the others did is shown before.
    """
    from sealift import fleet

    told, lost = fleet.gather(heads, lambda head: head.ask(*words), site.settings.parallel)
    for name, records in told.items():
        for record in records:
            show_event(name, record, as_json=as_json)
    raise_lost(lost, heads)


def in_turn(
    site: Site, heads: Sequence[RemoteHead], words: Sequence[str], *, as_json: bool
) -> None:
    """Run a command on one head after the other, and on none after one that failed.

    Raises:
        Error: of the head that failed; which were not asked any more is said before.
    """
    for number, head in enumerate(heads, start=1):
        try:
            everywhere(site, [head], words, as_json=as_json)
        except Error:
            for each in heads[number:]:
                _show_skipped(each.name, words[0], as_json=as_json)
            raise


def _show_skipped(head: str, action: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"head": head, "event": "skipped"}))
    else:
        say(f"{head}: no {action}, because the one before failed", err=True)


def show_event(head: str, record: dict[str, Any], *, as_json: bool) -> None:
    """Show one thing that happened on a head."""
    if as_json:
        click.echo(json.dumps({"head": head, **record}))
    elif "event" in record:
        line = f"{head:<10} {record['event']:<10} {record.get('name', ''):<26}"
        say(f"{line} {record.get('detail', '')}", err=True)


def show_lost(lost: Mapping[str, Error]) -> None:
    """Give what was wrong on heads as records."""
    from sealift.errors import record

    for name, error in lost.items():
        click.echo(json.dumps({"head": name, **record(error)}))


def raise_lost(lost: Mapping[str, Error], heads: Sequence[RemoteHead]) -> None:
    """Say what was wrong on each head but the first, and raise that.

    Raises:
        Error: what was wrong there.
    """
    order = [head.name for head in heads if head.name in lost]
    for name in order[1:]:
        say(f"{name}: {lost[name].reason}", err=True)
    if order:
        raise lost[order[0]]


def show(
    site: Site,
    heads: Sequence[RemoteHead],
    words: Sequence[str],
    draw: Callable[[Record], Iterable[str]],
    *,
    as_json: bool,
) -> None:
    """Ask heads for one record each, and draw those that are equal once.

    Raises:
        Error: of the first head that failed.
    """
    from sealift import fleet
    from sealift.fold import sheets

    told, lost = fleet.gather(heads, lambda head: head.ask(*words)[-1], site.settings.parallel)
    found = {head.name: told[head.name] for head in heads if head.name in told}
    if as_json:
        for name, record in found.items():
            click.echo(json.dumps({"head": name, **record}))
    elif len(heads) == 1:
        for record in found.values():
            click.echo("\n".join(draw(bare(record))))
    else:
        texts = {name: "\n".join(draw(bare(record))) for name, record in found.items()}
        for line in sheets(texts):
            click.echo(line)
    raise_lost(lost, heads)


def logs(heads: Sequence[RemoteHead], words: Sequence[str], *, as_json: bool) -> None:
    """Show what heads write as it comes, each line with its head's name.

    Raises:
        Error: of the first head that failed.
    """
    said: queue.Queue[tuple[str, Record | BaseException | None]] = queue.Queue()
    for head in heads:
        threading.Thread(target=_listen, args=(head, words, said), daemon=True).start()
    left, lost = len(heads), dict[str, Error]()
    while left:
        name, record = said.get()
        if isinstance(record, Error):
            lost[name] = record
        elif isinstance(record, BaseException):
            raise record
        elif record is not None:
            show_line(None if len(heads) == 1 else name, record, as_json=as_json)
            continue
        left -= 1
    raise_lost(lost, heads)


def _listen(
    head: RemoteHead,
    words: Sequence[str],
    said: queue.Queue[tuple[str, Record | BaseException | None]],
) -> None:
    try:
        for record in head.follow(*words):
            said.put((head.name, record))
    except BaseException as error:  # noqa: BLE001 (told to whoever waits)
        said.put((head.name, error))
    else:
        said.put((head.name, None))


def show_line(head: str | None, record: Record, *, as_json: bool) -> None:
    """Show one line of a log; what would steer a terminal is left out, but not of JSON."""
    if as_json:
        click.echo(json.dumps({**({} if head is None else {"head": head}), **record}))
    else:
        say(f"{'' if head is None else f'{head}: '}{record.get('file')}: {record.get('text')}")
