"""The secrets of a site, as they lie on the transfer host: one sealed file each.

They are encrypted to the pinned SSH host keys of the heads, and to keys that the site keeps for
recovery if it has any. The transfer host writes them and cannot read them back. Files of the vault
may be seen by anybody, and go well with a site's settings under version control.

Decisions are pure functions of what is in the files' heads; keys come from the inventory and our
known_hosts. What a head does with what it gets is for `deploy.secrets_head`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy import durable, seal
from deploy.errors import SecretMissingError, SecretUnreadableError
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

FOLDER = "secrets"
"""Name of the vault's folder, beside the settings file."""


class NoRecipientError(InputError):
    """A secret that nobody could read, or a host without a key that secrets can be sealed to."""

    slug = "no-recipient"


@dataclass(frozen=True, slots=True)
class Recipients:
    """For whom secrets are sealed: one SSH public key per host, and the site's recovery keys."""

    hosts: Mapping[str, str]
    recovery: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All public keys, each once, in a fixed order."""
        return tuple(
            dict.fromkeys((*(self.hosts[name] for name in sorted(self.hosts)), *self.recovery))
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """Who can read one secret, of those who should.

    `strangers` counts readers that are no recipient now: keys that were replaced, hosts that are
    gone. `unrecovered` counts the site's recovery keys that cannot read it.
    """

    name: str
    hosts: tuple[str, ...]
    lacking: tuple[str, ...]
    strangers: int
    recovery: bool
    unrecovered: int = 0

    @property
    def right(self) -> bool:
        """Whether just the recipients can read it."""
        return not (self.lacking or self.strangers or self.unrecovered)


@dataclass(frozen=True, slots=True)
class Vault:
    """The folder of sealed secrets; each write replaces one file whole, or leaves it as it was."""

    folder: Path

    def names(self) -> tuple[str, ...]:
        """Return the names of all secrets, sorted."""
        files = self.folder.glob(f"*{seal.SUFFIX}") if self.folder.is_dir() else ()
        found = (file.name.removesuffix(seal.SUFFIX) for file in files)
        return tuple(sorted(name for name in found if seal.NAME.fullmatch(name)))

    def put(self, name: str, value: bytes, recipients: Recipients) -> None:
        """Seal a value and keep it; one that was there is replaced.

        Raises:
            BadSecretError: the name or value cannot be a secret.
            NoRecipientError: there is nobody to seal it for.
        """
        if not recipients.hosts:
            raise NoRecipientError(
                "no host of the inventory could read this secret",
                hint="add hosts reached by SSH to sealift.yaml, then: sealift trust HOST",
            )
        self.keep(name, seal.seal(value, recipients.keys))

    def keep(self, name: str, sealed: bytes) -> None:
        """Keep a secret that is sealed already; one that was there is replaced.

        Raises:
            BadSecretError: the name cannot be a secret's.
        """
        file = self.file(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        durable.write(file, sealed)

    def read(self, name: str) -> bytes:
        """Return a sealed secret.

        Raises:
            SecretMissingError: there is none of this name.
        """
        try:
            return self.file(name).read_bytes()
        except FileNotFoundError:
            raise SecretMissingError(
                f"the vault has no secret {name}",
                where=str(self.folder),
                hint=f"sealift secret set {name}, or sealift secret generate {name}",
            ) from None

    def remove(self, name: str) -> None:
        """Remove a secret.

        Raises:
            SecretMissingError: there is none of this name.
        """
        self.check(name)
        durable.remove(self.file(name))

    def check(self, name: str) -> None:
        """Refuse a name of which there is no secret.

        Raises:
            SecretMissingError: there is none of this name.
        """
        if not self.file(name).is_file():
            raise SecretMissingError(
                f"the vault has no secret {name}",
                where=str(self.folder),
                hint="what there is: sealift secret list",
            )

    def rekey(self, name: str, recipients: Recipients, identities: Sequence[Any]) -> None:
        """Seal a secret again, for those who should read it now.

        Raises:
            SecretMissingError: there is none of this name.
            SecretUnreadableError: none of the identities reads it.
            NoRecipientError: there is nobody to seal it for.
        """
        self.put(name, seal.unseal(name, self.read(name), identities), recipients)

    def standing(self, name: str, recipients: Recipients) -> Standing:
        """Compare who can read a secret with who should.

        Raises:
            SecretMissingError: there is none of this name.
            SecretUnreadableError: its file is no sealed secret.
        """
        return stand(name, seal.readers(name, self.read(name)), recipients)

    def for_host(self, names: Iterable[str], host: str, recipients: Recipients) -> dict[str, bytes]:
        """Return those of the sealed secrets that the vault has, for a host to be sent.

        One that the vault has not may be on the host already, which says so itself.

        Raises:
            SecretUnreadableError: the host could not read one of them.
        """
        wanted = sorted(set(names) & set(self.names()))
        closed = [n for n in wanted if host in self.standing(n, recipients).lacking]
        if closed:
            raise SecretUnreadableError(
                f"{host} could not read {_some(closed)}: sealed for other keys",
                where=str(self.folder),
                hint=f"sealift secret rekey {closed[0]}, or sealift secret set {closed[0]}",
            )
        return {name: self.read(name) for name in wanted}

    def file(self, name: str) -> Path:
        """Return where a secret lies.

        Raises:
            BadSecretError: it cannot be a secret's name.
        """
        return self.folder / f"{seal.check_name(name)}{seal.SUFFIX}"


def stand(name: str, readers: seal.Readers, recipients: Recipients) -> Standing:
    """Decide who of the recipients can read a file with these readers.

    Keys of age's own leave no name in a file; that there are as many as the site has must do.
    """
    tags = {host: seal.tag(key) for host, key in recipients.hosts.items()}
    native = [key for key in recipients.recovery if key.startswith("age1")]
    known = {seal.tag(key) for key in recipients.recovery if key not in native}
    unrecovered = len(known - readers.tags) + max(0, len(native) - readers.native)
    return Standing(
        name=name,
        hosts=tuple(sorted(host for host in tags if tags[host] in readers.tags)),
        lacking=tuple(sorted(host for host in tags if tags[host] not in readers.tags)),
        strangers=len(readers.tags - known - set(tags.values()))
        + max(0, readers.native - len(native)),
        recovery=bool(recipients.recovery) and not unrecovered,
        unrecovered=unrecovered,
    )


def choose(pinned: Mapping[str, Collection[str]], recovery: Sequence[str] = ()) -> Recipients:
    """Choose for each host, of its pinned public keys, the one to seal to.

    Raises:
        NoRecipientError: a host has none that age encrypts to.
        BadSecretError: a recovery key is no public key.
    """
    hosts = {}
    for host, keys in sorted(pinned.items()):
        fit = [key for kind in seal.SSH for key in keys if key.split()[0] == kind]
        if not fit:
            kinds = sorted({key.split()[0] for key in keys})
            raise NoRecipientError(
                f"secrets cannot be sealed for {host}",
                where=host,
                expected=f"a pinned host key of kind {' or '.join(seal.SSH)}",
                got=", ".join(kinds) or "no pinned key",
                hint=f"sealift trust {host}",
            )
        hosts[host] = seal.check_recipient(fit[0])
    return Recipients(hosts, tuple(seal.check_recipient(key) for key in recovery))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"  # noqa: PLR2004
