"""Secrets of phases on a head's disk: encrypted to its own SSH host keys, one file each.

They come with a session, and are kept when a phase that needs them is laid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy import durable, seal
from deploy.errors import BadSecretError, SecretMissingError
from deploy.install.copying import make_folders

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from deploy.install.machine import Machine

PRIVATE = 0o700


def kept(machine: Machine) -> dict[str, bytes]:
    """Return all that are kept, sealed, by name."""
    files = sorted(machine.sealed.glob(f"*{seal.SUFFIX}"))
    return {each.name.removesuffix(seal.SUFFIX): each.read_bytes() for each in files}


def keep(machine: Machine, secrets: Mapping[str, bytes]) -> None:
    """Keep sealed secrets; those that are the same are not written again."""
    make_folders(machine.sealed)
    machine.sealed.chmod(PRIVATE)
    durable.sweep(machine.sealed)
    before = kept(machine)
    for name, each in secrets.items():
        if before.get(name) != each:
            durable.write(machine.sealed / f"{name}{seal.SUFFIX}", each, mode=0o600)


def drop(machine: Machine, keep: Collection[str]) -> None:
    """Forget all but those in `keep`."""
    for name in kept(machine).keys() - set(keep):
        durable.remove(machine.sealed / f"{name}{seal.SUFFIX}")


def check(secrets: Mapping[str, bytes]) -> None:
    """Refuse what cannot be sealed secrets.

    Raises:
        BadSecretError: a name cannot be one, or what came is too long.
        SecretUnreadableError: what came is no age file.
    """
    for name, each in secrets.items():
        seal.check_name(name)
        if len(each) > seal.SEALED_LONGEST:
            reason = f"the secret {name} is too long"
            raise BadSecretError(reason, expected=f"at most {seal.SEALED_LONGEST} bytes, sealed")
        seal.readers(name, each)


def unseal(machine: Machine, sealed: Mapping[str, bytes], names: Iterable[str]) -> dict[str, bytes]:
    """Open secrets by name.

    Raises:
        SecretMissingError: one is not there.
        SecretUnreadableError: one cannot be decrypted here.
    """
    wanted = sorted(set(names))
    lacking = [each for each in wanted if each not in sealed]
    if lacking:
        one = f"sealift secret generate {lacking[0]}, or sealift secret set {lacking[0]}"
        raise SecretMissingError(
            f"this head has not got the secret {', '.join(lacking)}",
            where=str(machine.sealed),
            hint=one if len(lacking) == 1 else "sealift secret generate --all",
        )
    if not wanted:
        return {}
    keys = seal.load_identities(machine.identities())
    return {name: seal.unseal(name, sealed[name], keys) for name in wanted}
