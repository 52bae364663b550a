"""A lab with the small platform on it, and releases to change it to and back."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.faults.whole import Made, Versions, current, look
from tests.lab.operator import Operator, operator
from tests.lab.platform import HEADS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from tests.lab.head import LabHead
    from tests.lab.lab import Lab
    from tests.lab.platform import Site

DEADLINE = "6"
"""Seconds after which a head that hears nothing goes back by itself."""
BLOBS, BLOB = 300, 65_536
"""Files of a release with ballast, and bytes of each; no two are alike, and none compresses."""
PLACES = {"pages": ("public/index.html", "data-version=")}
"""Where a version stands, other than in a service's code."""


@dataclass(slots=True)
class Bench:
    """Heads that run one of two releases, and the site that puts them there."""

    site: Site
    lab: Lab
    old: Made
    new: Made
    spare: list[Made] = field(default_factory=list)

    @classmethod
    def make(cls, site: Site, lab: Lab) -> Bench:
        """Build both releases and deploy the old one to all heads."""
        old = Made(site.build(), Versions("1", "1", "1"))
        turn(site, alpha="2", pages="2")
        new = Made(site.build(), Versions("2", "1", "2"))
        site.prepare(lab)
        site.deploy("--release", old.path)
        return cls(site, lab, old, new)

    def put(self, made: Made, heads: str = HEADS) -> None:
        """Deploy a release and see that it runs; what a fault left is to be no hindrance."""
        self.site.deploy("--release", made.path, heads=heads)
        self.rest(lambda _: (made,), heads)

    def restore(self) -> None:
        """Let all heads run the old release, if they do not anyway."""
        if any(self.runs(head) != self.old for head in self.lab.heads):
            self.put(self.old)
        else:
            self.rest(lambda _: (self.old,))

    def rest(
        self, allowed: Callable[[LabHead], Collection[Made]], heads: str = HEADS
    ) -> list[Made]:
        """Look at all heads at once; each runs one of what is allowed for it.

        Raises:
            NotWholeError: one does not.
        """
        asked = [head for head in self.lab.heads if heads in (HEADS, head.name)]
        return on_each(asked, lambda head: [look(self.site, head, allowed(head))])

    def runs(self, head: LabHead) -> Made:
        """Tell which of the releases a head has."""
        path = current(self.site, head)
        return next(each for each in (self.old, self.new, *self.spare) if each.path == path)

    def other(self, head: LabHead) -> Made:
        """Tell which one is to come next."""
        return self.new if self.runs(head) == self.old else self.old

    def trial(
        self,
        head: LabHead,
        after: Made,
        fault: Callable[[Operator], None],
        mend: Callable[[], None] = lambda: None,
    ) -> Made:
        """Deploy to one head with a fault on the way; say what it ran when it was at rest.

        It must be the release before or the one after, whole; and the same command again, with
        nothing done by hand in between, must bring the one after.

        Raises:
            NotWholeError: the head is neither.
        """
        before = self.runs(head)
        with operator(self.site, *self.words(head.name, after)) as running:
            fault(running)
        mend()
        found = look(self.site, head, (before, after))
        self.put(after, head.name)
        return found

    def words(self, heads: str, made: Made, *, deadline: str = DEADLINE) -> tuple[str, ...]:
        """Spell the command that is cut off."""
        return (
            *("deploy", "--host", heads, "--yes", "--release", made.path),
            *("--deadline", deadline),
        )

    def crippled(self, edits: Mapping[str, tuple[str, str]]) -> Made:
        """Build the new release with an agent that lacks something: by file, what is replaced."""
        files = {name: self.site.root / name for name in edits}
        texts = {name: file.read_text() for name, file in files.items()}
        turn(self.site, alpha="2", pages="2")
        try:
            for name, (before, after) in edits.items():
                assert before in texts[name], f"{name} does not say {before!r}"
                files[name].write_text(texts[name].replace(before, after))
            made = Made(self.site.build(), self.new.versions)
        finally:
            for name, file in files.items():
                file.write_text(texts[name])
        assert made.path != self.new.path
        self.spare.append(made)
        return made

    def ballasted(self) -> Made:
        """Build a release that no head has, with much to push."""
        number = len(self.spare) + 1
        folder = self.site.source("pages") / "public" / "assets" / "ballast"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for place in range(BLOBS):
            (folder / f"{place}.bin").write_bytes(os.urandom(BLOB))
        turn(self.site, alpha="2", pages=f"b{number}")
        made = Made(self.site.build(), replace(self.new.versions, pages=f"b{number}"))
        self.spare.append(made)
        return made


def turn(site: Site, **versions: str) -> None:
    """Make parts of the platform tell other versions of themselves."""
    for name, version in versions.items():
        file, mark = (
            ("public/index.html", "data-version=") if name == "pages" else ("app.py", "VERSION = ")
        )
        path = site.source(name) / file
        before, _, rest = path.read_text().partition(f'{mark}"')
        path.write_text(f'{before}{mark}"{version}"{rest.partition(chr(34))[2]}')


def on_each(heads: Iterable[LabHead], work: Callable[[LabHead], list[Made]]) -> list[Made]:
    """Do the same to all heads at once; each has an operator of its own. Join what they give."""
    with ThreadPoolExecutor() as pool:
        return [made for found in pool.map(work, heads) for made in found]


def shares(count: int, among: int) -> Iterator[int]:
    """Deal a count out as evenly as it goes."""
    for place in range(among):
        yield count // among + (place < count % among)
