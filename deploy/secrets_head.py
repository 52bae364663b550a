"""Secrets of a head with systemd: kept encrypted, laid open in memory for those that use them.

The disk holds what came with a deploy, encrypted to the head's own SSH host keys, as sets: one that
holds, and during a change the one that is to come. A set is a folder that is never written to, and
a link says which it is, so that a power cut leaves the one or the other. What a change brought
counts from `settle` on; `drop` forgets it.

Laying them open (`lay`) is for `/run`, which is never on a disk: per user a folder, which is
replaced whole. What systemd hands to units (`LoadCredential=`) it copies when they start, so what
runs does not notice. `deploy.seal` knows age; when which step is taken is for the rollout.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets as random
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import certificates, durable, laying, seal
from deploy.errors import BadSecretError, CertificateError, SecretMissingError
from deploy.events import Observe, ignore
from deploy.release import WEB_SERVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from deploy.layout import Layout
    from deploy.release import Release

CREDENTIALS = Path("/run/sealift/credentials")
HOST_KEYS = Path("/etc/ssh")
CURRENT, NEXT = "current", "next"
KEY = ".key"
PRIVATE = 0o700


def keep(layout: Layout, secrets: Mapping[str, bytes]) -> None:
    """Keep these sealed secrets for the change that begins; those not among them stay.

    Raises:
        BadSecretError: a name cannot be one.
        SecretUnreadableError: what came is no age file.
    """
    for name, sealed in secrets.items():
        _check(name, sealed)
    layout.sealed_dir.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    _sweep(layout)
    values = _set(layout, CURRENT) | dict(secrets)
    folder = layout.sealed_dir / _name(values)
    if not folder.is_dir():
        _write(folder, values)
    durable.link(layout.sealed_dir / NEXT, folder.name)


def settle(layout: Layout) -> None:
    """Let what the change brought be what holds. Nothing is done twice."""
    link = layout.sealed_dir / NEXT
    if link.is_symlink():
        durable.link(layout.sealed_dir / CURRENT, os.readlink(link))  # noqa: PTH115 (text)
        durable.remove(link)
        _sweep(layout)


def drop(layout: Layout) -> None:
    """Forget what an unfinished change brought, if there is anything. Nothing is done twice."""
    durable.remove(layout.sealed_dir / NEXT)
    if layout.sealed_dir.is_dir():
        _sweep(layout)


def missing(layout: Layout, release: Release) -> tuple[str, ...]:
    """Return the names of secrets that the release needs and the head does not have, sorted."""
    wanted = {name for names in needs(release).values() for name in names}
    return tuple(sorted(wanted - set(_upcoming(layout))))


def needs(release: Release) -> dict[str, tuple[str, ...]]:
    """Return per service the names of its secrets, sorted; the web server's are among them."""
    found = {each.name: tuple(sorted(each.secrets)) for each in release.services.values()}
    if release.systemd is not None:
        web = (release.systemd.certificate, release.systemd.key)
        found[WEB_SERVER] = tuple(sorted(name for name in web if name is not None))
    return {service: names for service, names in found.items() if names}


def digests(
    layout: Layout, release: Release, *, identities: Iterable[Path] | None = None
) -> dict[str, str]:
    """Decrypt what the release needs, lay nothing open, and return what `lay` would.

    Raises:
        SecretMissingError: one is not there.
        SecretUnreadableError: one cannot be decrypted here.
    """
    return _digests(_key(layout), release, _open(layout, release, identities))


def check(
    layout: Layout,
    release: Release,
    *,
    identities: Iterable[Path] | None = None,
    place: Path = CREDENTIALS,
    observe: Observe = ignore,
) -> None:
    """Refuse what `lay` would refuse of the services' secrets, and leave nothing open.

    The web server's certificate is for the web server's own test, and `check_web`.

    Raises:
        SecretMissingError: one is not there.
        SecretUnreadableError: one cannot be decrypted here.
        CertificateError: a certificate cannot be used, or is not its key's.
        HeadError: `place` is on a disk.
    """
    key = _key(layout)
    opened = _open(layout, release, identities)
    folders = [
        laying.Folder(name, _digest(key, opened[name]), opened[name])
        for name, service in release.services.items()
        if service.certificates
    ]
    laying.try_out(place, folders, lambda folder, one: _look(folder, one, release, observe))


def check_web(place: Path, release: Release) -> None:
    """Refuse a pair of the web server that is none; it lies open below `place`.

    A web server's own test finds nothing wrong with two of different algorithms. A release of
    earlier times may have no openssl; that test must do for it.

    Raises:
        CertificateError: one of the two cannot be read, or they do not belong together.
    """
    web = release.systemd
    if web is None or web.certificate is None or web.key is None:
        return
    if certificates.TOOL not in release.tools:
        return
    with _named(WEB_SERVER, web.certificate):
        certificates.match(place / WEB_SERVER, release, web.certificate, web.key)


def lay(
    layout: Layout,
    release: Release,
    *,
    before: Release | None = None,
    identities: Iterable[Path] | None = None,
    place: Path = CREDENTIALS,
    observe: Observe = ignore,
) -> dict[str, str]:
    """Lay all that the release needs open below `place`, and remove what it does not need.

    What `before`, which still runs, needs stays. Returns per service a keyed digest of its
    secrets: another one means that it must be restarted.

    Raises:
        SecretMissingError: one is not there.
        SecretUnreadableError: one cannot be decrypted here.
        CertificateError: a certificate cannot be used, or is not its key's.
        HeadError: `place` is on a disk.
    """
    key = _key(layout)
    opened = _open(layout, release, identities, before)
    folders = [
        laying.Folder(service, _digest(key, values), values, _group(release, service))
        for service, values in opened.items()
    ]
    laying.lay(place, folders, lambda folder, one: _look(folder, one, release, observe))
    laying.collect(place, keep={*opened, *(needs(before) if before else ())})
    return _digests(key, release, opened)


def _open(
    layout: Layout,
    release: Release,
    identities: Iterable[Path] | None,
    before: Release | None = None,
) -> dict[str, dict[str, bytes]]:
    """Decrypt what each service needs, and what it needed before if that is still there."""
    wanted, earlier = needs(release), needs(before) if before else {}
    if not wanted:
        return {}
    sealed = _upcoming(layout)
    lacking = missing(layout, release)
    if lacking:
        raise SecretMissingError(
            f"this head has not got the secret {', '.join(lacking)}",
            where=str(layout.sealed_dir),
            hint=f"sealift secret set {lacking[0]}, or sealift secret generate, and deploy again",
        )
    keys = seal.load_identities(host_keys() if identities is None else identities)
    names = {
        service: {*of, *(name for name in earlier.get(service, ()) if name in sealed)}
        for service, of in wanted.items()
    }
    every = sorted({name for of in names.values() for name in of})
    values = {name: seal.unseal(name, sealed[name], keys) for name in every}
    return {service: {name: values[name] for name in sorted(of)} for service, of in names.items()}


def _digests(
    key: bytes, release: Release, opened: Mapping[str, Mapping[str, bytes]]
) -> dict[str, str]:
    return {
        service: _digest(key, {name: opened[service][name] for name in names})
        for service, names in needs(release).items()
    }


def _upcoming(layout: Layout) -> dict[str, bytes]:
    """Read what will hold when the change under way is done; what holds, if there is none."""
    return _set(layout, NEXT) or _set(layout, CURRENT)


def host_keys() -> list[Path]:
    """Return the head's SSH host keys, the fastest kind first."""
    return sorted(HOST_KEYS.glob("ssh_host_*_key"), key=lambda file: "ed25519" not in file.name)


def _group(release: Release, service: str) -> str | None:
    """Name the user whose group reads the folder itself.

    The web server does, when it is reloaded; to all others systemd hands copies.
    """
    if service != WEB_SERVER or release.systemd is None:
        return None
    return release.systemd.user_nginx


def _look(folder: Path, one: laying.Folder, release: Release, observe: Observe) -> None:
    """Look over the certificates in a service's folder before anybody reads them."""
    service = release.services.get(one.service)
    for wanted in service.certificates if service else ():
        with _named(one.service, wanted.certificate):
            certificates.look_over(folder, release, wanted, observe)


@contextmanager
def _named(service: str, certificate: str) -> Iterator[None]:
    """Say of a certificate that is refused whose it is, and how another one comes."""
    try:
        yield
    except CertificateError as error:
        raise CertificateError(
            error.reason,
            where=f"the secrets of {service}",
            expected=error.expected,
            got=error.got,
            hint=f"sealift secret set {certificate}; its key likewise",
        ) from error


def _digest(key: bytes, values: Mapping[str, bytes]) -> str:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for name, value in values.items():
        mac.update(f"{name}:{len(value)}:".encode() + value)
    return mac.hexdigest()[:24]


def _key(layout: Layout) -> bytes:
    """Return the key of the digests; what loses it restarts its services once."""
    file = layout.sealed_dir / KEY
    layout.sealed_dir.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    if not file.exists():
        durable.write(file, random.token_bytes(32), mode=0o600)
    return file.read_bytes()


def _check(name: str, sealed: bytes) -> None:
    seal.check_name(name)
    if len(sealed) > seal.SEALED_LONGEST:
        reason = f"the secret {name} is too long"
        raise BadSecretError(reason, expected=f"at most {seal.SEALED_LONGEST} bytes, sealed")
    seal.readers(name, sealed)


def _set(layout: Layout, link: str) -> dict[str, bytes]:
    """Read the sealed secrets of a set; none if there is no such set."""
    folder = layout.sealed_dir / link
    if not folder.is_dir():
        return {}
    return {file.stem: file.read_bytes() for file in sorted(folder.glob(f"*{seal.SUFFIX}"))}


def _name(values: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, sealed in sorted(values.items()):
        whole.update(f"{name}:{len(sealed)}:".encode() + sealed)
    return whole.hexdigest()[:32]


def _write(folder: Path, values: Mapping[str, bytes]) -> None:
    unfinished = folder.with_name(f"{durable.TEMPORARY}{random.token_hex(6)}")
    unfinished.mkdir(mode=PRIVATE)
    for name, sealed in values.items():
        durable.write(unfinished / f"{name}{seal.SUFFIX}", sealed, mode=0o600)
    unfinished.rename(folder)
    durable.sync_folder(folder.parent)


def _sweep(layout: Layout) -> None:
    """Remove sets that no link names, and what killed writers left."""
    links = (layout.sealed_dir / name for name in (CURRENT, NEXT))
    named = {os.readlink(link) for link in links if link.is_symlink()}  # noqa: PTH115 (text)
    for each in layout.sealed_dir.iterdir():
        if each.is_symlink() or each.name in named or each.name == KEY:
            continue
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name.startswith(durable.TEMPORARY):
            each.unlink()
