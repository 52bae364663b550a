"""Where things stand on a head: one value from which every path follows.

Names only; `deploy.local_head` makes the folders.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

# sun_path holds 108 bytes with its final zero, and supervisord first binds `<name>.<pid>`.
SOCKET_LIMIT = 107 - len(".4194304")


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one head. All of it outlives deploys; none of it is in the store."""

    var_dir: Path
    state_dir: Path

    @property
    def head_dir(self) -> Path:
        """The head's own folder."""
        return self.var_dir / "head"

    @property
    def run_dir(self) -> Path:
        """Rendered configuration, pid files and sockets."""
        return self.head_dir / "run"

    @property
    def log_dir(self) -> Path:
        """What services print, the web server's logs and the service manager's."""
        return self.head_dir / "log"

    @property
    def secrets_dir(self) -> Path:
        """One file per secret, for the owner alone."""
        return self.head_dir / "secrets"

    @property
    def sealed_dir(self) -> Path:
        """The secrets of a head with systemd, encrypted to its host keys."""
        return self.head_dir / "secrets.age"

    @property
    def known_dir(self) -> Path:
        """One empty file per secret that the head has had; says nothing of its value."""
        return self.head_dir / "known-secrets"

    @property
    def credentials_dir(self) -> Path:
        """Per service, copies of just the secrets that it may read."""
        return self.head_dir / "credentials"

    @property
    def records_dir(self) -> Path:
        """One JSON record per generation."""
        return self.head_dir / "generations"

    @property
    def lock(self) -> Path:
        """The lock that every change of the head is made under."""
        return self.head_dir / "lock"

    @property
    def journal(self) -> Path:
        """The intent of a change under way."""
        return self.head_dir / "journal.json"

    @property
    def profiles_dir(self) -> Path:
        """The folder of generations; the store's collector takes its links for roots."""
        return self.var_dir / "profiles"

    @property
    def profile(self) -> Path:
        """The link that one rename moves from release to release."""
        return self.profiles_dir / "system"

    @property
    def profile_before(self) -> Path:
        """The link to what was current before the last switch."""
        return self.profiles_dir / "system-before"

    @property
    def audit(self) -> Path:
        """Every change of the head, one JSON record a line."""
        return self.head_dir / "audit.jsonl"

    @property
    def head_settings(self) -> Path:
        """What the inventory says of a head that is reached over SSH."""
        return self.head_dir / "settings.json"

    def unit_record(self, number: int) -> Path:
        """Return the file that says how well a generation's units are closed in."""
        return self.head_dir / "units" / f"{number}.json"

    @property
    def nginx_conf(self) -> Path:
        """The web server's configuration."""
        return self.run_dir / "nginx.conf"

    @property
    def supervisor_conf(self) -> Path:
        """The service manager's configuration."""
        return self.run_dir / "supervisord.conf"

    @property
    def supervisor_pid(self) -> Path:
        """The service manager's pid; it removes the file when it is shut down."""
        return self.run_dir / "supervisord.pid"

    @property
    def supervisor_socket(self) -> Path:
        """The service manager's socket; in a short private folder where ours is too long."""
        plain = self.run_dir / "supervisor.sock"
        if len(os.fsencode(plain)) <= SOCKET_LIMIT:
            return plain
        key = hashlib.sha256(os.fsencode(self.head_dir)).hexdigest()[:16]
        user = os.getuid()
        runtime = Path(f"/run/user/{user}")
        base = runtime if runtime.is_dir() else Path("/tmp")  # noqa: S108 (owner is checked)
        return base / f"sealift-{user}-{key}" / "supervisor.sock"

    def log(self, name: str) -> Path:
        """Return the file into which the service `name` prints."""
        return self.log_dir / f"{name}.log"

    def state(self, service: str) -> Path:
        """Return the folder that holds the state of `service`."""
        return self.state_dir / service
