"""Sign bytes, and verify who signed them: the one door to `ssh-keygen -Y`.

What is verified is handed over in memory: nothing is written, and what was read is what was
verified. Whether a signature is good, ssh-keygen alone says; why one is not, is said here.
"""

from __future__ import annotations

import datetime as dt
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy import public_key, signers, sshsig
from deploy.command import ask
from deploy.errors import HeadError
from deploy.openssh import ssh_keygen
from store.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from deploy.command import Answer
    from deploy.public_key import PublicKey
    from deploy.signers import Allowed

RELEASE = "sealift-release"
RECEIPT = "sealift-receipt"
PROOF = "sealift-proof"
"""Namespaces: what is signed as one of these is good for nothing else."""
MOST = 16
"""Signatures that are looked at."""
SIGN_SECONDS = 300.0
"""In which a passphrase is typed, or a token touched."""
VERIFY_SECONDS = 60.0

# Of the environment, what leads to an agent, to a token, and to who asks for a passphrase.
_LETS_THROUGH = (
    "PATH",
    "HOME",
    "TERM",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "SSH_SK_PROVIDER",
)


class SignatureError(IntegrityError):
    """Bytes that nobody signed whom this site trusts."""

    slug = "bad-signature"


class OldOpenSshError(HeadError):
    """An ssh-keygen that knows no signatures."""

    slug = "old-openssh"


class SigningError(HeadError):
    """Bytes that cannot be signed: no key, a wrong passphrase, a token that is not there."""

    slug = "cannot-sign"


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose signatures count: the files that say so, how many it takes, and for what.

    `threshold` are different identities, which have different keys: one with two keys counts once.
    With `identities` only these count. `revoked` may be None: then no key is revoked.
    """

    signers: Path
    revoked: Path | None
    threshold: int = 1
    namespace: str = RELEASE
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who made a good signature."""

    identity: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.identity} ({self.fingerprint})"


@dataclass(frozen=True, slots=True)
class _Trusted:
    """What the files of a policy said when they were read."""

    policy: Policy
    allowed: tuple[Allowed, ...]
    revoked: bytes | None


def sign(data: bytes, key: Path, *, namespace: str) -> bytes:
    """Return the armoured signature of `data`.

    `key` is a private key, one that a FIDO token holds, or a public key whose private half is in
    the agent of this session.

    Raises:
        SigningError: that key cannot sign now.
    """
    argv = (ssh_keygen(), "-Y", "sign", "-f", str(key.absolute()), "-n", namespace)
    done = _run(argv, data, environment(), SIGN_SECONDS)
    if done.status != 0 or sshsig.parse(done.stdout) is None:
        raise SigningError(
            f"nothing was signed: {words(done)}", where=str(key), hint=_cure(key, done)
        )
    return done.stdout


def environment() -> dict[str, str]:
    """Return what of the environment ssh-keygen sees when it uses a private key."""
    return {name: os.environ[name] for name in _LETS_THROUGH if name in os.environ}


def public(key: Path) -> PublicKey:
    """Return the public half of a key that `sign` takes.

    Raises:
        InputError: it has no public key beside it, or that is none.
    """
    file = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    return public_key.parse(read(file).decode("utf-8", "replace"), str(file))[0]


def verify(data: bytes, signatures: Sequence[bytes], policy: Policy) -> tuple[Signer, ...]:
    """Return who signed `data`, as many different signers as the policy wants or more.

    A signature that is not good is passed over if enough others are.

    Raises:
        SignatureError: there are too few; says of each signature why it does not count.
        InputError: a file of the policy cannot be used.
    """
    trusted = _load(policy)
    found: dict[str, Signer] = {}
    faults = []
    for number, armoured in enumerate(signatures[:MOST], start=1):
        verdict = _verify(data, armoured, trusted)
        if isinstance(verdict, Signer):
            found.setdefault(verdict.identity, verdict)
        else:
            faults.append(f"signature {number}: {verdict}" if signatures[1:] else verdict)
    if len(found) < max(policy.threshold, 1):
        raise _too_few(tuple(found.values()), faults, policy)
    return tuple(found.values())


def able(policy: Policy, allowed: Iterable[Allowed], revoked: bytes) -> frozenset[str]:
    """Return the identities that may sign now for what the policy is about."""
    now = dt.datetime.now(dt.UTC)
    return frozenset(
        each.identity
        for each in allowed
        if each.fits(policy.namespace)
        and each.state(now) == "good"
        and not is_revoked(each.key, revoked)
    )


def _load(policy: Policy) -> _Trusted:
    """Read the files of a policy, once: what is decided on is what is handed to ssh-keygen."""
    if not policy.signers.exists():
        raise InputError(
            "nobody is trusted here yet",
            where=str(policy.signers),
            hint="sealift key init makes a key; sealift key add IDENTITY FILE.pub trusts one",
        )
    allowed = signers.parse(read(policy.signers), str(policy.signers))
    if policy.revoked is None:
        return _Trusted(policy, allowed, None)
    revoked = read_revoked(policy.revoked)
    signers.parse_revoked(revoked, str(policy.revoked))
    return _Trusted(policy, allowed, revoked)


def read_revoked(file: Path) -> bytes:
    """Read a list of revoked keys, which must be there even if it is empty.

    Raises:
        InputError: it is not, or cannot be read.
    """
    if not file.exists():
        raise InputError(
            "the list of revoked keys is gone",
            where=str(file),
            hint="bring it from the builder; if no key was ever revoked, an empty file will do",
        )
    return read(file)


def read(file: Path) -> bytes:
    """Read a small file of a policy, or a public key.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(signers.LARGEST + 1)
    except OSError as fault:
        raise InputError(f"it cannot be read: {fault.strerror}", where=str(file)) from fault


def _verify(data: bytes, armoured: bytes, trusted: _Trusted) -> Signer | str:
    """Return who made a signature; or why it does not count."""
    envelope = sshsig.parse(armoured)
    if envelope is None:
        return "this is no SSH signature"
    policy, key = trusted.policy, envelope.key
    identity = signers.owner(trusted.allowed, key)
    if identity is None:
        revoked = trusted.revoked is not None and is_revoked(key, trusted.revoked)
        said = "is revoked" if revoked else f"is not in {policy.signers}"
        return f"the key {key.fingerprint} {said}"
    signer = Signer(identity, key.fingerprint)
    done = _ask(data, armoured, identity, trusted)
    if done.status != 0 or not _good(done, signer, policy):
        return _why(done, envelope, trusted)
    if policy.identities and identity not in policy.identities:
        return f"it is by {signer}, and must be by {' or '.join(policy.identities)}"
    return signer


def _ask(data: bytes, armoured: bytes, identity: str, trusted: _Trusted) -> Answer:
    """Let ssh-keygen verify one signature of `identity`."""
    # In UTC and without a zone: versions before 9.1 do not know the letter Z.
    rules = "".join(f"{each.rule(zone='')}\n" for each in trusted.allowed)
    with ExitStack() as stack:
        argv = ["-Y", "verify", "-n", trusted.policy.namespace, "-I", identity]
        contents = {"-f": rules.encode(), "-s": armoured, "-r": trusted.revoked}
        held = [
            (word, stack.enter_context(_in_memory(content)))
            for word, content in contents.items()
            if content is not None
        ]
        argv += [part for word, descriptor in held for part in (word, _path(descriptor))]
        return _keygen(argv, data, [descriptor for _, descriptor in held])


def _good(done: Answer, signer: Signer, policy: Policy) -> bool:
    """Tell whether ssh-keygen found good just what it was asked for."""
    line = done.stdout.decode("utf-8", "replace").strip()
    start = f'Good "{policy.namespace}" signature for {signer.identity} with '
    return line.startswith(start) and line.endswith(f" key {signer.fingerprint}")


def _why(done: Answer, envelope: sshsig.Envelope, trusted: _Trusted) -> str:
    """Say why ssh-keygen does not take a signature of a known key."""
    namespace = trusted.policy.namespace
    lines = [each for each in trusted.allowed if each.key == envelope.key]
    who = f"{lines[0].identity} ({envelope.key.fingerprint})"
    if envelope.namespace != namespace:
        return f"{who} signed for {envelope.namespace[:100]!r}, not for {namespace!r}"
    if "incorrect signature" in done.stderr:
        return f"the signature of {who} is over other contents"
    if trusted.revoked is not None and is_revoked(envelope.key, trusted.revoked):
        return f"the key of {who} is revoked"
    fit = [each for each in lines if each.fits(namespace)]
    if not fit:
        return f"{who} may not sign for {namespace!r}"
    return _out_of_time(who, fit) or f"the signature of {who} is not good: {words(done)}"


def _out_of_time(who: str, lines: Sequence[Allowed]) -> str | None:
    """Say that none of these lines holds now, if so."""
    now = dt.datetime.now(dt.UTC)
    clock = f"(this machine's clock says {now:%Y-%m-%d %H:%M} UTC)"
    ended = [each.before for each in lines if each.before and each.before < now]
    begins = [each.after for each in lines if each.after and each.after > now]
    if ended and len(ended) + len(begins) >= len(lines):
        return f"the key of {who} expired on {max(ended):%Y-%m-%d %H:%M} UTC {clock}"
    if begins and len(begins) >= len(lines):
        return f"the key of {who} is valid from {min(begins):%Y-%m-%d %H:%M} UTC on {clock}"
    return None


def is_revoked(key: PublicKey, content: bytes) -> bool:
    """Tell whether a revocation list names a key."""
    listed = signers.parse_revoked(content, "")
    if not listed.krl:
        return any(each == key for each, _ in listed.keys)
    with _in_memory(content) as krl, _in_memory(f"{key}\n".encode()) as file:
        argv = ("-Q", "-f", _path(krl), _path(file))
        return "REVOKED" in _keygen(argv, b"", (krl, file)).stdout.decode("utf-8", "replace")


def _too_few(found: Sequence[Signer], faults: Sequence[str], policy: Policy) -> SignatureError:
    reason = "nobody signed this whom this site trusts" if not found else "too few signed this"
    if not faults and not found:
        reason = "it bears no signature"
    wanted = f"signatures of {policy.threshold} different signers for {policy.namespace!r}"
    if policy.threshold <= 1:
        wanted = f"a signature for {policy.namespace!r} by a key of {policy.signers}"
    got = "\n".join([*(f"good: {each}" for each in found), *faults])
    hint = "who may sign here: sealift key list"
    if any("is not in" in each for each in faults):
        hint += "; where the signer has a new key since, receive first what was signed before"
    return SignatureError(reason, expected=wanted, got=got or None, hint=hint)


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """Hold bytes in a file that has no place on any disk."""
    descriptor = os.memfd_create("sealift")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield descriptor
    finally:
        os.close(descriptor)


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _keygen(argv: Sequence[str], data: bytes, descriptors: Sequence[int]) -> Answer:
    env = {"TZ": "UTC", "LC_ALL": "C"}
    return _run((ssh_keygen(), *argv), data, env, VERIFY_SECONDS, descriptors)


def _run(
    argv: Sequence[str],
    data: bytes,
    env: Mapping[str, str],
    timeout: float,
    descriptors: Sequence[int] = (),
) -> Answer:
    """Run ssh-keygen.

    Raises:
        OldOpenSshError: it does not know what is asked of it.
    """
    done = ask(argv, input=data, env=env, timeout=timeout, descriptors=descriptors)
    if done.status != 0 and "unknown option" in done.stderr:
        raise OldOpenSshError(
            "this ssh-keygen knows no signatures",
            where=argv[0],
            expected="OpenSSH 8.9 or later",
            hint="install a later openssh-client, or take the one-file sealift to a machine that "
            "has none",
        )
    return done


def words(done: Answer) -> str:
    """Return the last thing that ssh-keygen said."""
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return said[-1][:300] if said else f"ssh-keygen ended with status {done.status}"


def _cure(key: Path, done: Answer) -> str:
    if "incorrect passphrase" in done.stderr:
        return f"ssh-add {key}, or run this on a terminal, which asks for the passphrase"
    if "too open" in done.stderr:
        return f"chmod 600 {key}"
    if not key.exists():
        return "make one: sealift key init; or name another: --sign-key FILE"
    return "ssh-add -l says which keys the agent holds; a token must be plugged in"
