"""Which bundles a site has received: numbers only rise, and what was let through is written down.

A bundle says for which site it was made, and the how manieth it is. An older one would take a
site back to faults that were mended since, and one of another site has numbers that mean nothing
here. The record lies beside the store, one file for each site.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from deploy.durable import write
from store.errors import Error, IntegrityError
from store.names import is_site

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "received"
MOST = 1000
"""Arrivals that are remembered, besides that of the highest number."""

_FORMAT = 1


class RefusedBundleError(Error):
    """A bundle that is in order, and not for this site now; nothing was touched."""

    slug = "bundle-refused"
    exit_code = 6


class OlderBundleError(RefusedBundleError):
    """A bundle with a number that is not higher than those that came before."""

    slug = "bundle-older"


class ForeignBundleError(RefusedBundleError):
    """A bundle that was made for another site."""

    slug = "bundle-other-site"


class NumbersError(IntegrityError):
    """A record of received bundles that cannot be read."""

    slug = "bundle-record"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One bundle that was received whole.

    `when` is in seconds since the epoch, `digest` the SHA-256 of the signed bytes; `root` is the
    name under which `deploy` finds the release. `allowed` says what the operator let through,
    `trust` how the keys of the site changed.
    """

    number: int
    when: float
    who: str
    digest: str
    top: str
    root: str
    allowed: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a site has received, oldest first."""

    site: str
    arrivals: tuple[Arrival, ...] = ()

    @property
    def highest(self) -> int:
        """The highest number that came for this very site, or 0."""
        ours = (each.number for each in self.arrivals if "foreign" not in each.allowed)
        return max(ours, default=0)

    def check(
        self, *, site: str, number: int, digest: str, allow_older: bool = False
    ) -> tuple[str, ...]:
        """Say what has to be allowed of a bundle, which is nothing of one that may come next.

        The newest one may come again: that is how an interrupted one is finished.

        Raises:
            ForeignBundleError: it is for another site, and that is not allowed.
            OlderBundleError: its number was there before, and that is not allowed.
        """
        found = []
        if site != self.site:
            found.append("foreign")
            if not allow_older:
                raise _foreign(self.site, site)
        elif not self._is_next(number, digest):
            found.append("older")
            if not allow_older:
                raise self._older(number)
        return tuple(found)

    def _is_next(self, number: int, digest: str) -> bool:
        newest = [each.digest for each in self.arrivals if each.number == self.highest]
        return number > self.highest or (number == self.highest and digest in newest)

    def _older(self, number: int) -> OlderBundleError:
        same = number == self.highest
        return OlderBundleError(
            f"another bundle {number} was received before" if same else "the bundle is too old",
            where=self.site,
            expected=f"a number above {self.highest}",
            got=str(number),
            hint="take the newest one; to go back on purpose: --allow-older, which is written down",
        )

    def and_then(self, arrival: Arrival) -> Numbers:
        """Return the record with one more arrival; one that says nothing new is left out.

        Old ones are forgotten, but not the highest number: what is too old stays too old.
        """
        last = self.arrivals[-1] if self.arrivals else None
        if last and (last.digest, last.root) == (arrival.digest, arrival.root):
            return self
        both = (*self.arrivals, arrival)
        rest, kept = both[:-MOST], both[-MOST:]
        highest = [each for each in rest if each.number == Numbers(self.site, both).highest]
        return Numbers(self.site, (*highest[-1:], *kept))


def check_site(var_dir: Path, site: str | None, theirs: str) -> None:
    """See that what has no number of its own is for this site; `site` is its name, if it has one.

    Raises:
        RefusedBundleError: it is for another one.
    """
    ours = site or only_site(var_dir) or theirs
    if ours != theirs:
        raise _foreign(ours, theirs)


def load(var_dir: Path, site: str) -> Numbers:
    """Read what a site has received; nothing, if nothing was written down.

    Raises:
        NumbersError: the record is damaged: to go on would forget which bundles are too old.
    """
    file = place(var_dir, site)
    try:
        return _parse(json.loads(file.read_bytes()), site)
    except FileNotFoundError:
        return Numbers(site)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NumbersError(
            f"the record of received bundles cannot be read: {error}",
            where=str(file),
            hint="bring it back from a backup; without it every bundle would be new",
        ) from error


def save(var_dir: Path, numbers: Numbers) -> None:
    """Write down what a site has received, so that it survives a power cut."""
    file = place(var_dir, numbers.site)
    file.parent.mkdir(mode=0o755, exist_ok=True)
    log = [asdict(each) for each in numbers.arrivals]
    data = {"format": _FORMAT, "site": numbers.site, "highest": numbers.highest, "log": log}
    write(file, json.dumps(data, indent=1).encode() + b"\n")


def newest(var_dir: Path) -> Arrival | None:
    """Return what was received last, for whichever site; None if nothing was.

    Raises:
        NumbersError: a record is damaged.
    """
    found = [
        arrival
        for file in sorted((var_dir / FOLDER).glob("*.json"))
        for arrival in load(var_dir, file.stem).arrivals[-1:]
    ]
    return max(found, key=lambda each: each.when, default=None)


def only_site(var_dir: Path) -> str | None:
    """Return the site whose bundles were received here; None if none were.

    Raises:
        RefusedBundleError: they were of several, so nothing says which of them this is.
    """
    found = sorted(file.stem for file in (var_dir / FOLDER).glob("*.json"))
    if len(found) > 1:
        raise RefusedBundleError(
            "bundles of several sites were received here, and this one has no name",
            got=", ".join(found),
            hint="say in sealift.yaml which it is: `site: NAME`",
        )
    return found[0] if found else None


def place(var_dir: Path, site: str) -> Path:
    """Return where the record of a site lies.

    Raises:
        ForeignBundleError: the name cannot be a site's.
    """
    if not is_site(site):
        raise ForeignBundleError("this cannot be the name of a site", got=repr(site))
    return var_dir / FOLDER / f"{site}.json"


def _parse(data: dict[str, Any], site: str) -> Numbers:
    if data["format"] != _FORMAT or data["site"] != site:
        raise ValueError("another format, or another site")
    return Numbers(site, tuple(_arrival(each) for each in data["log"]))


def _arrival(data: dict[str, Any]) -> Arrival:
    said = {**data, "allowed": tuple(data["allowed"]), "trust": tuple(data["trust"])}
    arrival = Arrival(**said)
    if type(arrival.number) is not int or not isinstance(arrival.when, int | float):
        raise ValueError("a number is none")
    return arrival


def _foreign(ours: str, theirs: str) -> ForeignBundleError:
    return ForeignBundleError(
        "the bundle was made for another site",
        expected=ours,
        got=theirs,
        hint="sealift bundle --site NAME; to take it on purpose: --allow-older",
    )
