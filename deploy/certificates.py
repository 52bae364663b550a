"""Certificates among the secrets of a head: made once, as a pair with their key, or brought.

A pair appears whole or not at all: it is made in a folder of its own, whose renaming is the moment
from which it counts; what a cut leaves after that is finished by whoever comes next. What a site
puts in its place is kept, once it is seen to be a pair. Keys stay in files: openssl is told where
they are, and says nothing of them.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy import durable
from deploy.command import run
from deploy.errors import BadReleaseError, CertificateError, HeadError, SecretMissingError
from deploy.events import Event, Observe, What, ignore
from deploy.release import Certificate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deploy.layout import Layout
    from deploy.release import Release

TOOL = "openssl"
DAYS = 3650
KEY = "rsa:3072"
"""RSA, since that is what those sign with who sign XML; 3072 bits are good beyond 2030 (NIST)."""
LEAST = 2048
"""Bits of a key that a site brings (NIST SP 800-131A)."""
WARN = dt.timedelta(days=30)
PATIENCE = 120.0
"""Seconds; a machine that has just begun may have to wait for random numbers."""
PENDING = ".pair-"
PRIVATE = 0o700

# One block and nothing beside it: the file goes as it is to services that must not see a key, and
# readers of PEM differ in which of several blocks they take.
_ALONE = re.compile(rb"\s*-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----\s*")
_RSA = re.compile(r"Public Key Algorithm: rsaEncryption\s+(?:RSA )?Public-Key: \((\d+) bit\)")
_KEY_ALONE = ",".join(
    f"no_{part}"
    for part in (
        *("header", "version", "serial", "signame", "validity", "subject", "issuer"),
        *("sigdump", "aux", "extensions"),
    )
)

# Given in full, so that nothing of the machine's own openssl.cnf counts.
CONFIG = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
utf8 = yes
string_mask = utf8only
[name]
[extensions]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
"""


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a certificate runs out."""

    name: str
    end: dt.datetime

    @property
    def past(self) -> bool:
        """Whether it has run out."""
        return self.end <= dt.datetime.now(dt.UTC)

    @property
    def near(self) -> bool:
        """Whether it has run out, or will before long."""
        return self.end - dt.datetime.now(dt.UTC) < WARN


def expiring(layout: Layout, release: Release) -> tuple[Expiry, ...]:
    """Return which of the release's certificates have run out or soon will; only look.

    One that is missing or cannot be read is refused by whatever next hands it to a service.
    """
    services = release.services.values()
    names = sorted({each.certificate for one in services for each in one.certificates})
    return ending(release, {name: layout.secrets_dir / name for name in names})


def ending(release: Release, files: Mapping[str, Path]) -> tuple[Expiry, ...]:
    """Return which of these certificates, by name, have run out or soon will; only look."""
    if TOOL not in release.tools:
        return ()
    openssl = release.tools[TOOL].executable
    found = []
    for name, file in files.items():
        with suppress(HeadError):
            found.append(Expiry(name, _end(openssl, file)))
    return tuple(each for each in found if each.near)


def provide(layout: Layout, release: Release, observe: Observe) -> None:
    """Make each pair that the head never had, and look over all certificates of the release.

    Raises:
        CertificateError: one without its key or the other way round, or two that do not belong
            together, that cannot be read, or that nobody can sign with by RSA.
        SecretMissingError: a pair that the head had is gone, or one that somebody must bring.
        BadReleaseError: the release has no openssl.
    """
    _finish(layout.secrets_dir)
    every = [each for service in release.services.values() for each in service.certificates]
    pairs = [each for each in every if each.key is not None]
    # One that is made here is looked over once, as the pair that it is.
    for wanted in {each.certificate: each for each in (*every, *pairs)}.values():
        openssl = _tool(release, wanted)
        _Keeper(layout.secrets_dir, layout.known_dir, wanted, openssl, observe).provide()


def look_over(folder: Path, release: Release, wanted: Certificate, observe: Observe) -> None:
    """Look over a certificate, with its key where it is a pair, that lies in `folder`.

    Raises:
        CertificateError: it cannot be read or used, or the two are not a pair.
        BadReleaseError: the release has no openssl.
    """
    _Keeper(folder, folder, wanted, _tool(release, wanted), observe).look_over()


def match(folder: Path, release: Release, certificate: str, key: str) -> None:
    """Refuse a certificate and a key in `folder`, of any algorithm, that do not belong together.

    Raises:
        CertificateError: one cannot be read, or the two are not a pair.
        BadReleaseError: the release has no openssl.
    """
    wanted = Certificate(certificate, key)
    _Keeper(folder, folder, wanted, _tool(release, wanted), ignore).match()


def _tool(release: Release, needed: Certificate) -> Path:
    if TOOL not in release.tools:
        raise BadReleaseError(
            f"the release has no {TOOL}, which {needed.certificate} asks for",
            where=str(release.path),
            hint="build it anew",
        )
    return release.tools[TOOL].executable


class _Keeper:
    """Provides one certificate of a head, with its key where it is the head's own."""

    def __init__(
        self, folder: Path, known_dir: Path, wanted: Certificate, openssl: Path, observe: Observe
    ) -> None:
        self._folder = folder
        self._openssl = openssl
        self._observe = observe
        self._subject = _subject(wanted.subject or wanted.certificate)
        self._whole = wanted.key is not None
        names = (wanted.certificate, wanted.key or "")[: 1 + self._whole]
        self._called = " and ".join(names)
        self._files = [folder / name for name in names]
        self._records = [known_dir / name for name in names]

    def provide(self) -> None:
        """Make it, or look it over."""
        there = [file for file in self._files if file.exists()]
        if not there:
            self._begin()
        elif len(there) < len(self._files):
            missing = next(file for file in self._files if file not in there)
            raise CertificateError(
                f"of a certificate and its key only {there[0].name} is there",
                where=str(missing),
                hint=f"put the other one there; {self._renewal()}",
            )
        else:
            self.look_over()
            return
        self._check_time()

    def look_over(self) -> None:
        """Refuse what services cannot use; tell of what runs out."""
        self._check_form()
        if self._whole:
            self._check_pair(*self._files)
            self._check_algorithm(self._files[0])
        self._check_time()

    def match(self) -> None:
        """Refuse two that are no pair."""
        self._check_pair(*self._files)

    def _begin(self) -> None:
        """Make a pair, unless the head had one, or it is not the head's to make."""
        if any(record.exists() for record in self._records):
            raise SecretMissingError(
                f"the certificate {self._called}, which this head had, is gone",
                where=str(self._files[0]),
                hint=f"put it back there; {self._renewal()}",
            )
        if not self._whole:
            raise SecretMissingError(
                f"the certificate {self._called} is not there, and this release does not make it",
                where=str(self._files[0]),
                hint="put it there, in PEM",
            )
        self._make()
        self._observe(Event(What.GENERATED, self._called, str(self._folder)))

    def _renewal(self) -> str:
        """Say how to make the head forget the pair; one certificate is not the head's to make."""
        files = " ".join(str(file) for file in (*self._files, *self._records))
        return f"to have a new pair made: rm -f {files}" if self._whole else "in PEM"

    def _make(self) -> None:
        """Make a pair and let it appear at once."""
        token = secrets.token_hex(6)
        unfinished = self._folder / f"{durable.TEMPORARY}{token}"
        unfinished.mkdir(mode=PRIVATE)
        try:
            self._write_pair(*(unfinished / file.name for file in self._files))
            unfinished.rename(self._folder / f"{PENDING}{token}")
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        durable.sync_folder(self._folder)
        _finish(self._folder)

    def _write_pair(self, certificate: Path, key: Path) -> None:
        config = certificate.with_name("openssl.cnf")
        config.write_text(CONFIG, "utf-8")
        words = ("-x509", "-newkey", KEY, "-nodes", "-sha256", "-days", str(DAYS), "-utf8")
        places = ("-keyout", str(key), "-out", str(certificate))
        self._run(
            ("req", *words, "-config", str(config), "-subj", self._subject, *places),
            reason=f"{TOOL} cannot make the certificate {certificate.name}",
        )
        config.unlink()
        for file in (certificate, key):
            durable.write(file, file.read_bytes(), mode=0o600)

    def _check_form(self) -> None:
        """Refuse what is empty, and a certificate that is not alone in its file, in PEM."""
        for file, what in zip(self._files, ("certificate", "key"), strict=False):
            if not file.read_bytes().strip():
                raise CertificateError(
                    f"the {what} {file.name} is empty",
                    where=str(file),
                    hint=f"put it there, in PEM{f'; {self._renewal()}' if self._whole else ''}",
                )
        file = self._files[0]
        if not _ALONE.fullmatch(file.read_bytes()):
            raise CertificateError(
                f"the certificate {file.name} cannot be read, or there is more in its file",
                where=str(file),
                expected="one block BEGIN CERTIFICATE … END CERTIFICATE (PEM), no key, no text",
                hint=f"to take it out of FILE: openssl x509 -in FILE -out {file}",
            )

    def _check_pair(self, certificate: Path, key: Path) -> None:
        read = ("x509", "-noout", "-pubkey", "-inform", "PEM", "-in", str(certificate))
        # An empty passphrase, so that an encrypted key is refused and nobody is asked.
        derive = ("pkey", "-pubout", "-passin", "pass:", "-inform", "PEM", "-in", str(key))
        public = self._run(read, reason=f"the certificate {certificate.name} cannot be read")
        mine = self._run(derive, reason=f"the key {key.name} cannot be read without a passphrase")
        if public != mine:
            raise CertificateError(
                f"the certificate {certificate.name} and the key {key.name} are not a pair",
                where=str(certificate),
                hint=f"put the right ones there; {self._renewal()}",
            )

    def _check_algorithm(self, certificate: Path) -> None:
        """Refuse a pair with which a service that signs by RSA would sign nothing."""
        words = ("x509", "-noout", "-text", "-certopt", _KEY_ALONE, "-inform", "PEM")
        reason = f"the certificate {certificate.name} cannot be read"
        said = self._run((*words, "-in", str(certificate)), reason=reason)
        found = _RSA.search(said)
        if found is None or int(found[1]) < LEAST:
            algorithm = re.search(r"Public Key Algorithm: (\S+)", said)
            raise CertificateError(
                f"the pair {self._called} has no RSA key of at least {LEAST} bits",
                where=str(certificate),
                expected=f"rsaEncryption, {LEAST} bits or more: services sign with RSA and SHA-256",
                got=f"{found[1]} bits" if found else algorithm and algorithm[1],
                hint=f"put another pair there; {self._renewal()}",
            )

    def _check_time(self) -> None:
        """Tell of a certificate that has run out or soon will; who uses it decides what follows."""
        file = self._files[0]
        found = Expiry(file.name, _end(self._openssl, file))
        if found.near:
            what = What.EXPIRED if found.past else What.EXPIRES
            self._observe(
                Event(what, file.name, f"{found.end:%Y-%m-%d}; put another there: {file}")
            )

    def _run(self, words: Sequence[str], *, reason: str) -> str:
        return _ask(self._openssl, words, reason=reason)


def _end(openssl: Path, file: Path) -> dt.datetime:
    words = ("x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-inform", "PEM")
    reason = f"the certificate {file.name} cannot be read"
    said = _ask(openssl, (*words, "-in", str(file)), reason=reason)
    return dt.datetime.fromisoformat(said.strip().rpartition("=")[2])


def _ask(openssl: Path, words: Sequence[str], *, reason: str) -> str:
    # Without this it would read the machine's own configuration.
    env = {"OPENSSL_CONF": os.devnull}
    ended = run((str(openssl), *words), env=env, timeout=PATIENCE)
    if ended.status != 0:
        raise CertificateError(reason, where=words[-1], got=ended.output.strip()[-300:])
    return ended.output


def _finish(home: Path) -> None:
    """Put pairs that are complete in their place, and remove what never became one."""
    for folder in home.glob(f"{PENDING}*"):
        for file in sorted(folder.iterdir()):
            if not (home / file.name).exists():
                os.link(file, home / file.name)
        durable.sync_folder(home)
        shutil.rmtree(folder)
    for folder in home.glob(f"{durable.TEMPORARY}*"):
        if folder.is_dir():
            shutil.rmtree(folder)


def _subject(name: str) -> str:
    """Spell a common name as `openssl req -subj` reads it."""
    return "/CN=" + "".join(f"\\{sign}" if sign in "\\/+=" else sign for sign in name)
