"""Who may sign, and which keys are revoked: two files in OpenSSH's formats, read strictly.

ssh-keygen passes over lines that it does not understand, knows patterns of identities, and takes
certificates. Here each line names one identity and one key, or the file is refused: what a person
reads in it is what holds. Which file, and what follows, is for `deploy.signing`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deploy import public_key
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.public_key import PublicKey

LARGEST = 1 << 20
"""Bytes of either file."""
KRL = b"SSHKRL\n\0"
"""How a key revocation list in ssh-keygen's binary format begins."""
IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,99}\Z")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9@._-]{0,99}\Z")
_OPTIONS = re.compile(r'[a-z-]+="[^"]*"(?:,[a-z-]+="[^"]*")*\Z')
_OPTION = re.compile(r'([a-z-]+)="([^"]*)"')
_EXPECTED = "identity [options] type key [comment]"
_WORDS = 2
"""Words that spell a key."""
_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True, slots=True)
class Allowed:
    """One line of allowed_signers: an identity, its key, for what, and from when until when.

    Without `namespaces` the key signs for anything. Times are in UTC.
    """

    identity: str
    key: PublicKey
    namespaces: tuple[str, ...] = ()
    after: dt.datetime | None = None
    before: dt.datetime | None = None
    comment: str = ""

    def fits(self, namespace: str) -> bool:
        """Tell whether the key may sign for this."""
        return not self.namespaces or namespace in self.namespaces

    def meets(self, other: Allowed) -> bool:
        """Tell whether there is something that both lines are for."""
        both = self.namespaces and other.namespaces
        return not both or not set(self.namespaces).isdisjoint(other.namespaces)

    def covers(self, other: Allowed) -> bool:
        """Tell whether this line is for all that the other one is for; times are not compared."""
        return all(map(self.fits, other.namespaces)) if other.namespaces else not self.namespaces

    @property
    def ends(self) -> bool:
        """Whether the line holds for a time only."""
        return self.after is not None or self.before is not None

    @property
    def scope(self) -> str:
        """Say for what the key may sign, and from when until when."""
        words = ["for", ", ".join(self.namespaces) or "anything"]
        if self.after:
            words += ["from", f"{self.after:%Y-%m-%d %H:%M} UTC"]
        if self.before:
            words += ["until", f"{self.before:%Y-%m-%d %H:%M} UTC"]
        return " ".join(words)

    def state(self, now: dt.datetime) -> str:
        """Say how the line stands to a moment: good, expired or not yet."""
        if self.before is not None and self.before <= now:
            return "expired"
        return "not yet" if self.after is not None and self.after > now else "good"

    def bare(self) -> Allowed:
        """Return the line without its comment."""
        return replace(self, comment="")

    def rule(self, *, zone: str = "Z") -> str:
        """Spell the line without its comment; `zone` is what stands behind times."""
        said = {
            "namespaces": ",".join(self.namespaces),
            "valid-after": _spell(self.after, zone),
            "valid-before": _spell(self.before, zone),
        }
        options = ",".join(f'{name}="{value}"' for name, value in said.items() if value)
        return " ".join(filter(None, (self.identity, options, str(self.key))))

    def __str__(self) -> str:
        return f"{self.rule()} {self.comment}".rstrip()


@dataclass(frozen=True, slots=True)
class Revoked:
    """The keys of a revocation list with their comments; of a binary one its bytes alone."""

    keys: tuple[tuple[PublicKey, str], ...] = ()
    krl: bytes = b""


def parse(content: bytes, where: str) -> tuple[Allowed, ...]:
    """Read an allowed_signers file.

    Raises:
        InputError: it has a line that is not taken, or gives one key to two identities.
    """
    found = tuple(_allowed(line, f"{where}:{number}") for number, line in _lines(content, where))
    owners: dict[PublicKey, str] = {}
    for each in found:
        if owners.setdefault(each.key, each.identity) != each.identity:
            raise InputError(
                f"one key is {owners[each.key]}'s and {each.identity}'s",
                where=where,
                got=each.key.fingerprint,
                hint="a key has one owner: else one of them could sign for both",
            )
    return found


def parse_revoked(content: bytes, where: str) -> Revoked:
    """Read a revocation list: a public key a line, or ssh-keygen's binary format.

    Raises:
        InputError: it has a line that is no public key.
    """
    if content.startswith(KRL):
        return Revoked(krl=content)
    return Revoked(
        tuple(public_key.parse(line, f"{where}:{n}") for n, line in _lines(content, where))
    )


def check_identity(text: str) -> str:
    """Return an identity that is one.

    Raises:
        InputError: it is none.
    """
    if not IDENTITY.match(text):
        raise InputError(
            f"{text[:100]!r} is no identity", expected="for example release@builder.example"
        )
    return text


def parse_time(text: str, where: str) -> dt.datetime:
    """Read a time as allowed_signers spells it; without a Z it is this machine's zone.

    Raises:
        InputError: it is none.
    """
    digits = text.removesuffix("Z")
    try:
        # Digits alone: strptime would take other signs for some of them.
        form = _FORMATS[len(digits) if re.fullmatch("[0-9]+", digits) else 0]
        found = dt.datetime.strptime(digits, form)  # noqa: DTZ007 - see below
    except (KeyError, ValueError):
        raise InputError(
            f"{text[:40]!r} is no time", where=where, expected="YYYYMMDD[HHMM[SS]][Z]"
        ) from None
    return found.replace(tzinfo=dt.UTC) if text.endswith("Z") else found.astimezone(dt.UTC)


def _spell(time: dt.datetime | None, zone: str) -> str:
    return "" if time is None else f"{time:%Y%m%d%H%M%S}{zone}"


def _lines(content: bytes, where: str) -> Iterator[tuple[int, str]]:
    """Give the lines that say something, with their numbers."""
    if len(content) > LARGEST:
        raise InputError(f"it has more than {LARGEST:,} bytes", where=where)
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise InputError("it has other characters than those of ASCII", where=where) from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            if not line.replace("\t", " ").isprintable():
                raise InputError("it has a control character", where=f"{where}:{number}")
            yield number, line


def _allowed(line: str, where: str) -> Allowed:
    identity, _, rest = line.partition(" ")
    if not IDENTITY.match(identity):
        raise InputError(
            f"{identity[:100]!r} is no single identity",
            where=where,
            expected=f"{_EXPECTED}: no patterns, no lists",
        )
    options, namespaces = _split(rest, where)
    spelled = options.pop("key")
    if len(spelled.split()) < _WORDS:
        raise InputError("this names no key", where=where, expected=_EXPECTED)
    key, comment = public_key.parse(spelled, where)
    times = {name: parse_time(text, where) for name, text in options.items()}
    after, before = times.get("valid-after"), times.get("valid-before")
    return Allowed(identity, key, namespaces, after, before, comment)


def _split(rest: str, where: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return times and, as `key`, what follows the options; and the namespaces."""
    words = rest.split(maxsplit=1)
    if not words or words[0] in public_key.TYPES or "=" not in words[0]:
        return {"key": rest}, ()
    if not _OPTIONS.match(words[0]):
        raise _bad_options(words[0], where)
    pairs = _OPTION.findall(words[0])
    options = dict(pairs)
    if len(options) != len(pairs) or options.keys() - {"namespaces", "valid-after", "valid-before"}:
        raise _bad_options(words[0], where)
    listed = options.pop("namespaces", None)
    namespaces = () if listed is None else tuple(listed.split(","))
    if not all(map(_NAMESPACE.match, namespaces)):
        raise _bad_options(words[0], where)
    return {**options, "key": words[1] if len(words) > 1 else ""}, namespaces


def _bad_options(got: str, where: str) -> InputError:
    return InputError(
        "options that are not taken",
        where=where,
        got=got[:200],
        expected='namespaces="…", valid-after="…", valid-before="…"; each once, joined by commas',
    )


def owner(allowed: Sequence[Allowed], key: PublicKey) -> str | None:
    """Return whose a key is; None if nobody's."""
    return next((each.identity for each in allowed if each.key == key), None)
