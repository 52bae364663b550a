"""SSH keys of labs: the operator's, and each head's own host keys. Made once, worth nothing."""

from __future__ import annotations

import fcntl
from pathlib import Path

from tests.lab.root import cache
from tests.lab.shell import run

KINDS = {"ed25519": ("-t", "ed25519"), "rsa": ("-t", "rsa", "-b", "3072")}


def user_key() -> Path:
    """Hand back the private key that root and `operator` of every head admit."""
    return _key("user", "ed25519")


def host_keys(head: int) -> dict[str, Path]:
    """Hand back a head's private host keys by the name that sshd looks for."""
    return {f"ssh_host_{kind}_key": _key(f"head{head}", kind) for kind in KINDS}


def public(key: Path) -> str:
    """Read a key's public half: kind and base64, without the comment."""
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


def _key(name: str, kind: str) -> Path:
    folder = cache() / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / f"{name}-{kind}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path(f"{key}.pub").is_file():
            key.unlink(missing_ok=True)
            run("ssh-keygen", "-q", *KINDS[kind], "-N", "", "-C", f"lab {name}", "-f", str(key))
    return key
