"""Edit who may sign: make keys, add them, revoke them, put one in place of another.

Each edit leaves all other lines of the two files as they stand. Nothing here decides; commands
show what they are about to do, and ask.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import durable, signers, signing
from deploy.command import ask
from deploy.openssh import ssh_keygen
from store.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deploy.public_key import PublicKey
    from deploy.signers import Allowed
    from deploy.signing import Policy

KINDS = ("ed25519", "ed25519-sk", "ecdsa-sk", "ecdsa", "rsa")
_MAKE_SECONDS = 300.0
_HEADER = {
    "signers": b"# Who may sign for this site, a line each: identity [options] type key. "
    b"See docs/security.md.\n",
    "revoked": b"# Keys that are revoked, one a line; they count nowhere any more.\n",
}


def make_key(file: Path, identity: str, *, kind: str = KINDS[0], passphrase: bool = True) -> None:
    """Make a key pair; its passphrase is asked for on the terminal, a token wants to be touched.

    Raises:
        InputError: there is a file already.
        SigningError: ssh-keygen made none.
    """
    signers.check_identity(identity)
    for each in (file, public_file(file)):
        if each.exists():
            raise InputError(
                "there is a key already",
                where=str(each),
                hint="to put another in its place: sealift key rotate",
            )
    make_folder(file.parent)
    words = ["-q", "-t", kind, "-C", identity, "-f", str(file)]
    argv = (ssh_keygen(), *words, *(() if passphrase else ("-N", "")))
    done = ask(argv, input=b"", env=signing.environment(), timeout=_MAKE_SECONDS)
    if done.status != 0 or not file.exists():
        file.unlink(missing_ok=True)
        raise signing.SigningError(f"no key was made: {signing.words(done)}", where=str(file))
    durable.sync_folder(file.parent)


def make_folder(folder: Path) -> None:
    """Make a folder of which version control takes only public keys, if it is not there."""
    if folder.exists():
        return
    folder.mkdir(parents=True, mode=0o700)
    durable.write(folder / ".gitignore", b"*\n!*.pub\n!.gitignore\n")


def public_file(key: Path) -> Path:
    """Return where the public half of a key lies."""
    return key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")


def next_file(key: Path) -> Path:
    """Return where the key lies that is to take another's place."""
    base = key.with_suffix("") if key.suffix == ".pub" else key
    return base.with_name(f"{base.name}.next")


def add(policy: Policy, line: Allowed) -> tuple[Allowed, ...]:
    """Let a key sign; return the lines for the same that were there, which it takes the place of.

    Raises:
        InputError: it is another's, is revoked, or may do just that already, or more.
    """
    with _alone(policy):
        allowed = signers.parse(_content(policy.signers), str(policy.signers))
        whose = signers.owner(allowed, line.key)
        if whose not in (None, line.identity):
            raise InputError(f"this key is {whose}'s", where=str(policy.signers))
        if line.bare() in [each.bare() for each in allowed]:
            raise InputError(f"{line.identity} has this key already", where=str(policy.signers))
        revoked = _revoked(policy)
        if signing.is_revoked(line.key, _content(revoked)):
            raise InputError("this key is revoked", where=str(revoked), got=line.key.fingerprint)
        old = tuple(each for each in allowed if each.key == line.key and each.meets(line))
        _check_wider(line, old, policy.signers)
        _append(revoked, "", _HEADER["revoked"])
        kept = _without(policy.signers, lambda each: each in old)
        _append(policy.signers, str(line), _HEADER["signers"], kept)
    return old


def _check_wider(line: Allowed, old: Sequence[Allowed], file: Path) -> None:
    """Refuse a line that would leave another one for the same key that allows more.

    Raises:
        InputError: there is one.
    """
    wider = [each for each in old if not line.covers(each)]
    if wider:
        raise InputError(
            f"{line.identity} may sign {wider[0].scope} with this key already",
            where=str(file),
            hint="name all that it may sign from now on, each with --for; or edit that line",
        )


def find(policy: Policy, which: str) -> dict[PublicKey, str]:
    """Return the keys that an identity, a fingerprint or a `FILE.pub` means, and whose they are.

    Raises:
        InputError: there is none.
    """
    allowed = signers.parse(_content(policy.signers), str(policy.signers))
    found = {
        each.key: each.identity
        for each in allowed
        if which in (each.identity, each.key.fingerprint)
    }
    file = Path(which)
    if not found and file.suffix == ".pub" and file.exists():
        key = signing.public(file)
        found = {key: signers.owner(allowed, key) or file.stem}
    if not found:
        raise InputError(
            f"nobody here is {which!r}", where=str(policy.signers), hint="sealift key list"
        )
    return found


def revoke(policy: Policy, key: PublicKey, note: str) -> None:
    """Revoke a key, and let it sign no more; done already, it is left so.

    `note` says why, when and whose it was.

    Raises:
        InputError: the revocation list is in ssh-keygen's binary format.
    """
    with _alone(policy):
        file = _revoked(policy)
        content = _content(file)
        if content.startswith(signers.KRL):
            raise InputError(
                "a binary revocation list is not edited here",
                where=str(file),
                hint=f"ssh-keygen -k -u -f {file} KEY.pub; then take its line out of "
                f"{policy.signers}",
            )
        if not signing.is_revoked(key, content):
            _append(file, f"{key} {note}".rstrip(), _HEADER["revoked"])
        _drop(policy.signers, key)


def owner(policy: Policy, key: PublicKey) -> str:
    """Return whose a key is.

    Raises:
        InputError: nobody's.
    """
    return _lines_of(policy, key)[0].identity


def bring(file: Path, to: Path) -> None:
    """Put a public key that others made where the next one lies.

    Raises:
        InputError: it is none, or another one lies there.
    """
    fresh = signing.public(file)
    if to.exists() and signing.public(to) != fresh:
        raise InputError("another key is to come already", where=str(to))
    durable.write(to, f"{fresh}\n".encode())


def begin_rotation(policy: Policy, key: Path, fresh: PublicKey) -> tuple[Allowed, ...]:
    """Let the key that is to come sign beside the one that signs now, for the same; return how.

    Raises:
        InputError: the key that signs now is not in the file, or the other is somebody's.
    """
    lines = [
        signers.Allowed(each.identity, fresh, each.namespaces, comment=f"added {_day()}")
        for each in _lines_of(policy, signing.public(key))
    ]
    for line in dict.fromkeys(lines):
        allowed = signers.parse(signing.read(policy.signers), str(policy.signers))
        own = [each for each in allowed if each.key == fresh]
        if not any(each.covers(line) and not each.ends for each in own):
            add(policy, line)
    return tuple(lines)


def finish_rotation(policy: Policy, key: Path, *, now: dt.datetime | None = None) -> PublicKey:
    """Revoke the key that signs, put the next in its place, and return the old one.

    The old files stay beside it under the date. Whoever was cut off calls it again.

    Raises:
        InputError: there is no next key, or it may not sign.
    """
    fresh = next_file(key)
    if not public_file(fresh).exists():
        raise InputError("there is no next key", where=str(fresh), hint="sealift key rotate")
    identity = owner(policy, signing.public(fresh))
    old = signing.public(key)
    revoke(policy, old, f"{identity}, replaced {_day(now)}")
    stamp = f"{now or dt.datetime.now(dt.UTC):%Y%m%d}"
    # The public half last: until it is the new one, the next call begins where this one stopped.
    base = key.with_suffix("") if key.suffix == ".pub" else key
    for name, to in ((fresh, base), (public_file(fresh), public_file(base))):
        if name.exists():
            if to.exists():
                os.link(to, _free(to, stamp))
            name.replace(to)
    durable.sync_folder(base.parent)
    return old


def _lines_of(policy: Policy, key: PublicKey) -> tuple[Allowed, ...]:
    allowed = signers.parse(signing.read(policy.signers), str(policy.signers))
    found = tuple(each for each in allowed if each.key == key)
    if not found:
        raise InputError(
            "this key may not sign here",
            where=str(policy.signers),
            got=key.fingerprint,
            hint="sealift key add IDENTITY FILE.pub",
        )
    return found


def _free(file: Path, stamp: str) -> Path:
    """Return a name beside a file that nothing has."""
    public = file.suffix == ".pub"
    base = file.name.removesuffix(".pub")
    for number in range(1, 1000):
        more = stamp if number == 1 else f"{stamp}-{number}"
        found = file.with_name(f"{base}.{more}{'.pub' if public else ''}")
        if not found.exists():
            return found
    raise InputError("too many old keys lie here", where=str(file.parent))


def _day(now: dt.datetime | None = None) -> str:
    return f"{now or dt.datetime.now(dt.UTC):%Y-%m-%d}"


def _revoked(policy: Policy) -> Path:
    if policy.revoked is None:
        raise InputError("no revocation list is set", hint="signing: {revoked: FILE}")
    return policy.revoked


def _content(file: Path) -> bytes:
    return signing.read(file) if file.exists() else b""


def _append(file: Path, line: str, header: bytes, kept: bytes | None = None) -> None:
    """Append a line to `kept`, or to all that was there; a new file begins with `header`."""
    before = (_content(file) if kept is None else kept) or header
    end = b"" if before.endswith(b"\n") else b"\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    if line or not file.exists():
        durable.write(file, before + (end + f"{line}\n".encode() if line else b""))


def _drop(file: Path, key: PublicKey) -> None:
    """Leave a key's lines out of the signers."""
    fresh = _without(file, lambda each: each.key == key)
    if fresh != _content(file):
        durable.write(file, fresh)


def _without(file: Path, gone: Callable[[Allowed], bool]) -> bytes:
    """Return the signers without some lines; the others stay byte for byte."""
    lines = _content(file).decode("ascii").splitlines(keepends=True)
    kept = [
        line
        for number, line in enumerate(lines, start=1)
        if not any(map(gone, signers.parse(line.encode(), f"{file}:{number}")))
    ]
    return "".join(kept).encode()


@contextmanager
def _alone(policy: Policy) -> Iterator[None]:
    """Hold the folder of the signers, so that two who edit at once lose nothing."""
    folder = policy.signers.parent
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
