"""Whom a site trusts, as it travels in a bundle: what would change, and putting it in place.

A bundle brings the builder's files. They hold here only after the whole bundle was verified under
the files that were here before, and after somebody agreed. Those of a bundle that is older than
one received already are never put in place: they would bring back keys that were revoked since.

A builder may not have heard of a key that was revoked at the site. So bundles add to the list of
revoked keys and take nothing from it, and bring none of these keys; that is done by hand alone.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy import durable, signers, signing
from store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from deploy.public_key import PublicKey
    from deploy.signers import Allowed
    from deploy.signing import Policy


class TrustError(IntegrityError):
    """Files that say whom to trust, and that would leave a site unable to receive anything."""

    slug = "trust-refused"


@dataclass(frozen=True, slots=True)
class Trust:
    """The bytes of allowed_signers and of the revocation list."""

    signers: bytes
    revoked: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What another pair of files would change, a line each for whoever decides; none if nothing."""

    lines: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.lines)


def installed(policy: Policy) -> Trust | None:
    """Return the files of a policy; None if nobody was trusted yet.

    Raises:
        InputError: one of the files cannot be read, or the revocation list alone is missing.
    """
    if policy.revoked is None or not policy.signers.exists():
        return None
    return Trust(signing.read(policy.signers), signing.read(policy.revoked))


def change(policy: Policy, carried: Trust) -> Change:
    """Return what would change if the files of a bundle were put in place of those of a policy.

    Raises:
        InputError: a file of either pair is not taken.
        TrustError: with them nobody could sign a release, or too few could; or one of the lists
            of revoked keys is a binary one, and not all keys that are revoked here would be then.
    """
    before = _before(policy)
    fresh = merged(policy, carried)
    old = _rules(signers.parse(before.signers, str(policy.signers)))
    old = {key: lines for key, lines in old.items() if not signing.is_revoked(key, before.revoked)}
    allowed = signers.parse(fresh.signers, "allowed_signers of the bundle")
    new = _rules(allowed)
    revoked = _revocations(before.revoked, fresh.revoked, str(policy.revoked))
    _check_usable(allowed, fresh.revoked, policy)
    return Change(
        (
            *(f"no longer: {_names(key, old)}" for key in old if key not in new),
            *(f"new: {_told(key, new)}" for key in new if key not in old),
            *(
                f"changed: {_told(key, new)}"
                for key in new
                if key in old and set(old[key]) != set(new[key])
            ),
            *revoked,
        )
    )


def merged(policy: Policy, carried: Trust) -> Trust:
    """Return the files of a bundle with what is revoked here: no key comes back by a bundle.

    Raises:
        InputError, TrustError: as `change`.
    """
    before = _before(policy).revoked
    where = "allowed_signers of the bundle"
    allowed = signers.parse(carried.signers, where)
    gone = {each.key for each in allowed if signing.is_revoked(each.key, before)}
    kept = [
        line
        for line in carried.signers.split(b"\n")
        if all(each.key not in gone for each in signers.parse(line, where))
    ]
    revoked = _union(before, carried.revoked, policy, allowed)
    return Trust(b"\n".join(kept), revoked)


def _before(policy: Policy) -> Trust:
    there = (policy.signers, policy.revoked)
    return Trust(*(signing.read(file) if file and file.exists() else b"" for file in there))


def _union(before: bytes, after: bytes, policy: Policy, carried: Iterable[Allowed]) -> bytes:
    """Return what revokes all that either list revokes.

    Raises:
        TrustError: there is no such list, as a binary one is not added to here.
    """
    old = signers.parse_revoked(before, str(policy.revoked))
    new = signers.parse_revoked(after, "revocation list of the bundle")
    if not old.krl and not new.krl:
        listed = dict(new.keys)
        more = [f"{key} {note}".rstrip() for key, note in old.keys if key not in listed]
        glue = b"\n" if more and after and not after.endswith(b"\n") else b""
        return after + glue + "".join(f"{line}\n" for line in more).encode()
    if old.krl and not new.krl and all(signing.is_revoked(key, before) for key, _ in new.keys):
        return before
    if not new.krl:
        raise _not_added(policy, [key for key, _ in new.keys])
    here = signers.parse(_before(policy).signers, str(policy.signers))
    known = {*(key for key, _ in old.keys), *(each.key for each in (*here, *carried))}
    lost = [x for x in known if signing.is_revoked(x, before) and not signing.is_revoked(x, after)]
    if lost:
        raise _not_added(policy, lost)
    return after


def _not_added(policy: Policy, keys: Iterable[PublicKey]) -> TrustError:
    return TrustError(
        "two lists of revoked keys cannot be added up, as one is in ssh-keygen's binary format",
        where=str(policy.revoked),
        got="only one of them has " + ", ".join(sorted(each.fingerprint for each in keys)),
        hint="revoke these keys on the other side too: ssh-keygen -k -u, or sealift key revoke",
    )


def install(policy: Policy, carried: Trust, *, now: dt.datetime | None = None) -> tuple[Path, ...]:
    """Put the files of a bundle in place, `merged`; return where those before them are kept.

    Revocations first: whoever is cut off between the two trusts too few rather than too many.
    """
    kept = []
    fresh = merged(policy, carried)
    stamp = f"{now or dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}"
    files = ((policy.revoked, fresh.revoked), (policy.signers, fresh.signers))
    for file, content in files:
        if file is None:
            continue
        before = file.read_bytes() if file.exists() else None
        if before == content:
            continue
        if before is not None:
            kept.append(file.with_name(f"{file.name}.{stamp}"))
            durable.write(kept[-1], before)
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.write(file, content)
    return tuple(kept)


def _rules(allowed: Iterable[Allowed]) -> dict[PublicKey, list[Allowed]]:
    """Return the lines of each key, without their comments."""
    found: dict[PublicKey, list[Allowed]] = {}
    for each in allowed:
        found.setdefault(each.key, []).append(each.bare())
    return found


def _names(key: PublicKey, rules: dict[PublicKey, list[Allowed]]) -> str:
    return f"{rules[key][0].identity} {key.fingerprint}"


def _told(key: PublicKey, rules: dict[PublicKey, list[Allowed]]) -> str:
    return f"{_names(key, rules)} {' or '.join(each.scope for each in rules[key])}"


def _revocations(before: bytes, after: bytes, where: str) -> tuple[str, ...]:
    """Say what differs between two revocation lists; of binary ones only that they do."""
    old = signers.parse_revoked(before, where)
    new = signers.parse_revoked(after, "revocation list of the bundle")
    if old.krl or new.krl:
        return () if before == after else ("the revocation list is another one",)
    was, now = dict(old.keys), dict(new.keys)
    return tuple(
        f"revoked: {key.fingerprint} {note}".rstrip() for key, note in now.items() if key not in was
    )


def _check_usable(allowed: Iterable[Allowed], revoked: bytes, policy: Policy) -> None:
    able = signing.able(policy, allowed, revoked)
    if len(able) < max(policy.threshold, 1):
        raise TrustError(
            "with the signers of this bundle no further one could be received",
            expected=f"{policy.threshold} who may sign for {policy.namespace!r}",
            got=", ".join(sorted(able)) or "nobody",
            hint="on the builder: sealift key list; add who is missing, and bundle again",
        )
