"""Keys that sign, made by OpenSSH, and the two files that say whose signatures count."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.signing import Policy, sign
from tests.deploy.sshd import keygen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Trusted:
    """A folder with keys by name, `allowed_signers` and `revoked_keys`."""

    folder: Path

    @property
    def policy(self) -> Policy:
        return Policy(self.folder / "allowed_signers", self.folder / "revoked_keys")

    def key(self, name: str, kind: str = "ed25519") -> Path:
        """Return the private key of that name; it is made if it is not there."""
        file = self.folder / name
        return file if file.exists() else keygen(file, kind)

    def public(self, name: str, kind: str = "ed25519") -> str:
        """Return `type key` of the key of that name."""
        return " ".join(self.key(name, kind).with_suffix(".pub").read_text().split()[:2])

    def allow(self, *lines: str) -> None:
        """Write allowed_signers; each word `=NAME` stands for that key."""
        (self.folder / "allowed_signers").write_text("".join(f"{self._line(x)}\n" for x in lines))

    def revoke(self, *names: str) -> None:
        """Write the revocation list."""
        (self.folder / "revoked_keys").write_text("".join(f"{self.public(x)}\n" for x in names))

    def sign(self, data: bytes, *names: str, namespace: str = "sealift-release") -> list[bytes]:
        return [sign(data, self.key(name), namespace=namespace) for name in names]

    def _line(self, line: str) -> str:
        words = line.split(" ")
        return " ".join(self.public(w[1:]) if w.startswith("=") else w for w in words)


def trusted(folder: Path) -> Trusted:
    """Return a folder in which alice may sign, and nobody is revoked."""
    made = Trusted(folder)
    made.allow("alice =alice")
    made.revoke()
    return made


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[str]:
    """Run an ssh-agent that holds these keys; give its socket."""
    socket = folder / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        try:
            env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
            for key in keys:
                # It takes a moment to begin; ssh-add itself does not wait for it.
                argv = ["sh", "-c", 'until [ -S "$0" ]; do sleep 0.02; done; ssh-add -q "$1"']
                subprocess.run([*argv, socket, key], env=env, check=True, timeout=30)
            yield str(socket)
        finally:
            process.terminate()
