"""Keys as heads and sites have them, made by OpenSSH and age's library."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyrage

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A private key in a file, and its public key as known_hosts has it."""

    file: Path
    public: str


def ssh_key(folder: Path, name: str, kind: str = "ed25519", *, passphrase: str = "") -> Pair:
    file = folder / name
    words = ("-q", "-t", kind, "-N", passphrase, "-C", "root@head", "-f", file)
    subprocess.run(["ssh-keygen", *words], check=True)
    return Pair(file, " ".join(file.with_suffix(".pub").read_text().split()[:2]))


def age_key(folder: Path, name: str) -> Pair:
    key = pyrage.x25519.Identity.generate()
    file = folder / name
    file.write_text(f"# created: today\n# public key: {key.to_public()}\n{key}\n")
    return Pair(file, str(key.to_public()))
