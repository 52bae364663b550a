"""Two sides of a gap on one machine: the builder's site, and a transfer host beside it.

A store path holds the store's folder, so both sides have theirs at one place. The transfer host
runs in a mount namespace in which a folder of its own lies there; that costs a few milliseconds,
and needs root.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figure import run
from benchmarks.memory import peak
from benchmarks.place import made
from tests.e2e.platform import SEALIFT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab.platform import Site

NAME = "bench"
"""Of the site, as bundles name it."""
_THERE = 'mount --bind "$0" "$1"; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Keys:
    """A key that signs bundles and receipts, and who may."""

    key: Path
    signers: Path
    revoked: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        """Make a key without a passphrase."""
        key = made(folder) / "key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", key])
        signers = folder / "allowed_signers"
        words = key.with_suffix(".pub").read_text().split()
        namespaces = "sealift-release,sealift-receipt"
        signers.write_text(f'{NAME} namespaces="{namespaces}" {words[0]} {words[1]}\n')
        revoked = folder / "revoked_keys"
        revoked.touch()
        return cls(key, signers, revoked)

    @property
    def settings(self) -> Mapping[str, object]:
        """The keys of `sealift.yaml`."""
        files = {"key": self.key, "signers": self.signers, "revoked": self.revoked}
        signing = {name: str(file) for name, file in files.items()}
        return {"site": NAME, "signing": {"identity": NAME, **signing}}


@dataclass(frozen=True, slots=True)
class Builder:
    """The side that builds: a site with the whole platform."""

    site: Site

    def sealift(self, *words: str | Path) -> float:
        """Run a command; seconds."""
        return run([SEALIFT, *words], cwd=self.site.root, env=self._environment)

    def peak(self, *words: str | Path) -> int:
        """Run a command; the bytes of memory it takes."""
        return peak([SEALIFT, *words], cwd=self.site.root, env=self._environment)

    @property
    def _environment(self) -> Mapping[str, str]:
        """Run the site's own copy of sealift, which nobody edits meanwhile."""
        return {**os.environ, "PYTHONPATH": str(self.site.root)}


@dataclass(frozen=True, slots=True)
class TransferHost:
    """The side that receives: settings without recipes, and a store that is empty at first."""

    root: Path
    builder: Site

    @classmethod
    def make(cls, root: Path, builder: Site, keys: Keys) -> TransferHost:
        """Lay it out on the disk of `root`."""
        made(root / "site")
        said = {
            "store_dir": str(builder.store_dir),
            "state_dir": "/var/lib/sealift",
            **keys.settings,
        }
        (root / "site" / "sealift.yaml").write_text(json.dumps(said))
        host = cls(root, builder)
        host.empty()
        return host

    @property
    def _place(self) -> Path:
        """What lies where the builder has its store and `var`."""
        return max(self.root.glob("disk-*"))

    def empty(self) -> None:
        """Begin with a store that has received nothing; the one before is left alone.

        A file system that has just removed a tree makes files more slowly for a while, three
        times here.
        """
        made(self.root / f"disk-{len(list(self.root.glob('disk-*'))):03}")

    def sealift(self, *words: str | Path) -> float:
        """Run a command there; seconds."""
        return run(self._argv(words), cwd=self.root / "site", env=self._environment)

    def peak(self, *words: str | Path) -> int:
        """Run a command there; the bytes of memory it takes."""
        return peak(self._argv(words), cwd=self.root / "site", env=self._environment)

    def _argv(self, words: tuple[str | Path, ...]) -> list[str | Path]:
        place = self.builder.store_dir.parent
        return ["unshare", "--mount", "sh", "-ec", _THERE, self._place, place, SEALIFT, *words]

    @property
    def _environment(self) -> Mapping[str, str]:
        # Named, as here the bundles may lie on the site's own file system.
        settings = str(self.root / "site" / "sealift.yaml")
        return {
            **os.environ,
            "PYTHONPATH": str(self.builder.root),
            "SEALIFT_CONFIG": settings,
        }
