"""The builder's numbers: which bundle of which site was the how manieth, and when it was made.

The same contents for the same site keep their number and their time, so making a bundle again
gives the same bytes; what is new gets the next number. A number is taken before a bundle is
written, and never given out again for something else.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from deploy.durable import write
from store.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FOLDER = "bundles"
HIGHEST = 2**53 - 1
"""The last number that a bundle can have."""
MOST = 1000
"""Bundles of a site that are remembered."""
_FORMAT = 1


class IssuedError(IntegrityError):
    """A record of numbers that cannot be read."""

    slug = "bundle-record"


@dataclass(frozen=True, slots=True)
class Issue:
    """One bundle: its number, seconds since the epoch, the release, and a hash of what it is of."""

    number: int
    created: int
    top: str
    contents: str


class Issued:
    """The bundles of one site, while nobody else makes one."""

    def __init__(self, file: Path, site: str, issues: Sequence[Issue]) -> None:
        self._file = file
        self._site = site
        self._issues = tuple(issues)

    @property
    def highest(self) -> int:
        """The highest number that was given out, or 0."""
        return max((each.number for each in self._issues), default=0)

    def issue(
        self, top: str, contents: str, *, number: int | None, now: float, received: int = 0
    ) -> Issue:
        """Return the number of these contents, a new one if they are; that is written down.

        `number` is the one that it shall have, `received` the last one that the site told of.
        That may be above all of this record, if it is younger than the site's; or a lie, so it
        raises no number: somebody must name one then.

        Raises:
            InputError: that one is too low, or too high; or it has to be named.
        """
        same = [each for each in self._issues if each.contents == contents]
        found = next((each for each in same if number in {None, each.number}), None)
        # Something newer may have come since: to a site that has that, the old one is too old.
        if found is not None and (found.number == self.highest or number is not None):
            return found
        highest = max(self.highest, received)
        if number is None and received > self.highest:
            raise InputError(
                "the site has received a bundle that is not in the record here",
                where=self._site,
                expected=f"at most number {self.highest}",
                got=str(received),
                hint=f"if the record was lost, or another builder made it: --number {highest + 1}",
            )
        wanted = highest + 1 if number is None else number
        if wanted > HIGHEST:
            raise InputError("no bundle has so high a number", where=self._site, got=str(wanted))
        if wanted <= highest:
            raise InputError(
                "numbers of bundles only rise",
                where=self._site,
                expected=f"a number above {highest}",
                got=str(number),
                hint="without --number it is the next one",
            )
        issue = Issue(wanted, int(now), top, contents)
        self._issues = (*self._issues, issue)[-MOST:]
        self._save()
        return issue

    def _save(self) -> None:
        log = [asdict(each) for each in self._issues]
        data = {"format": _FORMAT, "site": self._site, "highest": self.highest, "log": log}
        write(self._file, json.dumps(data, indent=1).encode() + b"\n")


@contextmanager
def opened(var_dir: Path, site: str) -> Iterator[Issued]:
    """Read the numbers of a site, and keep others from giving any out during the block.

    Raises:
        IssuedError: the record is damaged.
    """
    folder = var_dir / FOLDER
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / f"{site}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        file = folder / f"{site}.json"
        yield Issued(file, site, _read(file, site))
    finally:
        os.close(descriptor)


def contents(*values: object) -> str:
    """Hash what makes a bundle what it is: JSON values, in a fixed order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _read(file: Path, site: str) -> tuple[Issue, ...]:
    try:
        data = json.loads(file.read_bytes())
        return _issues(data, site)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IssuedError(
            f"the record of bundles cannot be read: {error}",
            where=str(file),
            hint="bring it back from a backup; without it, give a number above the site's last "
            "one: --number N",
        ) from error


def _issues(data: Mapping[str, Any], site: str) -> tuple[Issue, ...]:
    if data["format"] != _FORMAT or data["site"] != site:
        raise ValueError("another format, or another site")
    found = tuple(Issue(**each) for each in data["log"])
    if not all(type(each.number) is type(each.created) is int for each in found):
        raise ValueError("a number is none")
    return found
