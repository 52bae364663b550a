"""A bundle whose signature is not good: refused, and not one byte is written anywhere."""

from __future__ import annotations

import base64
import ctypes
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from deploy.signing import RECEIPT, RELEASE, sign
from tests.deploy.sshd import keygen
from tests.sealift.gap import TRUST, Gap, laid, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

WRITES = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400
"""What inotify(7) calls IN_MODIFY, IN_ATTRIB, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE
and IN_DELETE_SELF."""


@dataclass
class Seen:
    """Bytes in which the kernel told of writes; empty if there were none."""

    events: bytes = b""


@contextmanager
def watched(root: Path) -> Iterator[Seen]:
    """Watch each folder below `root`."""
    libc, seen = ctypes.CDLL(None, use_errno=True), Seen()
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0
    try:
        for folder, _, _ in os.walk(root):
            assert libc.inotify_add_watch(descriptor, os.fsencode(folder), WRITES) > 0
        yield seen
        try:
            seen.events = os.read(descriptor, 65_536)
        except BlockingIOError:
            seen.events = b""
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def gap(tmp_path_factory: pytest.TempPathFactory) -> Gap:
    """A site that was given a first bundle, so that there is a store."""
    made = laid(tmp_path_factory.mktemp("gap").resolve())
    (made.root / "tmp").mkdir()
    made.receive(made.bundle(1))
    for name in ("mallory", "spare"):
        keygen(made.root / name)
    return made


RECEIVE = ("receive", "--yes", "--allow-older")


def refused(gap: Gap, file: Path, *words: str) -> str:
    """Have it refused by these words; give what is said, and that nothing was written."""
    env = {"TMPDIR": str(gap.root / "tmp")}
    with gap.turn(gap.site), watched(gap.root) as seen:
        done = gap.site.run(*words, str(file), env=env)
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert seen.events == b""
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Case:
    """How a bundle is signed, what the site's files say, and why that is refused."""

    says: str
    sign: Callable[[Gap], Callable[[bytes], Sequence[bytes]]] | None = None
    line: Callable[[str], str] = field(default=lambda line: line)
    revoked: bool = False


def key(gap: Gap) -> Path:
    return gap.builder.root / "keys" / "signing"


CASES = {
    "stripped": Case("bears no signature", lambda _: lambda _: ()),
    "another key": Case(
        "is not in", lambda gap: lambda data: [sign(data, gap.root / "mallory", namespace=RELEASE)]
    ),
    "another namespace": Case(
        "signed for 'sealift-receipt'",
        lambda gap: lambda data: [sign(data, key(gap), namespace=RECEIPT)],
    ),
    "another manifest": Case(
        "is over other contents",
        lambda gap: lambda data: [sign(data + b"x", key(gap), namespace=RELEASE)],
    ),
    "no signature": Case("signature", lambda _: lambda _: [_armoured(b"nonsense")]),
    "another identity": Case(
        "may not sign for 'sealift-release'",
        line=lambda line: line.replace("sealift-release", "sealift-receipt"),
    ),
    "expired": Case(
        "expired on 2020-01-01 00:00 UTC",
        line=lambda line: line.replace(" ssh-", ',valid-before="20200101Z" ssh-'),
    ),
    "not valid yet": Case(
        "is valid from 2099-01-01 00:00 UTC on",
        line=lambda line: line.replace(" ssh-", ',valid-after="20990101Z" ssh-'),
    ),
    "revoked": Case("is revoked", revoked=True),
}


def _armoured(data: bytes) -> bytes:
    text = base64.b64encode(data)
    return b"-----BEGIN SSH SIGNATURE-----\n" + text + b"\n-----END SSH SIGNATURE-----\n"


@pytest.mark.parametrize("name", CASES)
def test_refused(gap: Gap, name: str) -> None:
    case = CASES[name]
    number = 100 + list(CASES).index(name)
    bundle = gap.bundle(number, sign=case.sign(gap) if case.sign else None)
    signers, revoked = (gap.site.root / each for each in TRUST)
    before = signers.read_bytes(), revoked.read_bytes()
    signers.write_text(case.line(signers.read_text()))
    if case.revoked:
        revoked.write_bytes(before[1] + key(gap).with_suffix(".pub").read_bytes())
    try:
        said = refused(gap, bundle, *RECEIVE)
    finally:
        signers.write_bytes(before[0])
        revoked.write_bytes(before[1])
    assert "[bad-signature]" in said
    assert case.says in said


@pytest.mark.parametrize("word", ["verify", "inspect", "repair-request"])
def test_no_command_reads_what_nobody_signed(gap: Gap, word: str) -> None:
    bundle = gap.root / "bundle-unsigned"
    if not bundle.exists():
        gap.bundle(200, sign=lambda _: ()).rename(bundle)
    words = (word, "-o", str(gap.root / "request")) if word == "repair-request" else (word,)
    assert "bears no signature" in refused(gap, bundle, *words)


def test_the_same_signed_as_it_must_be(gap: Gap) -> None:
    """The control: what writes is seen to write, and it is the signature that decides."""
    bundle = gap.bundle(1000)
    with gap.turn(gap.site), watched(gap.root) as seen:
        run(gap.site, "receive", str(bundle))
    assert seen.events
