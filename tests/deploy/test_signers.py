"""Who may sign, as a file says it: what is taken, what is refused, and that it is spelled back."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import public_key, signers
from deploy.public_key import PublicKey
from deploy.signers import Allowed
from store.errors import InputError


def made(kind: str = "ssh-ed25519", fill: int = 1) -> PublicKey:
    blob = len(kind).to_bytes(4) + kind.encode() + (32).to_bytes(4) + bytes([fill]) * 32
    return PublicKey(kind, base64.b64encode(blob).decode())


KEY, OTHER = made(), made(fill=2)
TIMES = st.datetimes(
    min_value=dt.datetime(1970, 1, 2),  # noqa: DTZ001 - the strategy adds the zone
    max_value=dt.datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.just(dt.UTC),
).map(lambda time: time.replace(microsecond=0))
LINES = st.builds(
    Allowed,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,20}", fullmatch=True),
    st.sampled_from([KEY, made("sk-ssh-ed25519@openssh.com")]),
    st.lists(st.sampled_from(["a", "sealift-release", "x@y.z"]), unique=True).map(tuple),
    st.none() | TIMES,
    st.none() | TIMES,
    st.sampled_from(["", "added 2026-01-01", 'a, b="c"']),
)


@given(LINES)
def test_it_is_spelled_back(line: Allowed) -> None:
    assert signers.parse(f"{line}\n".encode(), "f") == (line,)


@pytest.mark.parametrize("spelling", ["20300102", "203001020304", "20300102030405"])
def test_times(spelling: str) -> None:
    found = signers.parse_time(f"{spelling}Z", "f")
    assert f"{found:%Y%m%d%H%M%S}".startswith(spelling)
    assert found.tzinfo == dt.UTC
    local = signers.parse_time(spelling, "f")
    assert local == found.replace(tzinfo=None).astimezone()


def test_comments_and_empty_lines_say_nothing() -> None:
    content = f"# one\n\n   \na {KEY} # x\n".encode()
    assert signers.parse(content, "f") == (Allowed("a", KEY, comment="# x"),)


BAD = {
    "a pattern": f"*@x {KEY}",
    "a question mark": f"a? {KEY}",
    "a negation": f"!a {KEY}",
    "a list": f"a,b {KEY}",
    "quotes": f'"a" {KEY}',
    "no identity": str(KEY),
    "a certificate authority": f"a cert-authority {KEY}",
    "an unknown option": f'a nonsense="x" {KEY}',
    "an option twice": f'a namespaces="a",namespaces="b" {KEY}',
    "a time without quotes": f"a valid-before=20300101 {KEY}",
    "a date that is none": f'a valid-before="20301301" {KEY}',
    "a time with a sign": f'a valid-before="2030-1-1" {KEY}',
    "a time of another length": f'a valid-before="2030010" {KEY}',
    "a pattern of namespaces": f'a namespaces="sealift-*" {KEY}',
    "no namespace": f'a namespaces="" {KEY}',
    "a certificate": f"a {made('ssh-ed25519-cert-v01@openssh.com')}",
    "dsa": f"a {made('ssh-dss')}",
    "another type inside": f"a ssh-rsa {KEY.text}",
    "a key that is cut": f"a ssh-ed25519 {KEY.text[:20]}",
    "a key that is no base 64": "a ssh-ed25519 $$$$",
    "a key with bits to spare": f"a ssh-ed25519 {KEY.text[:-2]}F=",
    "an escape": f"a {KEY} \x1b[31m",
    "a carriage return": f"a {KEY}\r",
    "no key": "a",
    "options without a key": 'a namespaces="x"',
    "an umlaut": f"ä {KEY}",
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str) -> None:
    with pytest.raises(InputError) as raised:
        signers.parse(f"# x\n{BAD[case]}\nok {OTHER}\n".encode(), "file")
    assert str(raised.value.where).startswith("file")


def test_one_key_has_one_owner() -> None:
    with pytest.raises(InputError, match="a's and b's"):
        signers.parse(f"a {KEY}\nb {KEY}\n".encode(), "f")
    assert len(signers.parse(f'a {KEY}\na namespaces="x" {KEY}\n'.encode(), "f")) == 2


def test_it_is_bounded() -> None:
    with pytest.raises(InputError, match="bytes"):
        signers.parse(b"#" * (signers.LARGEST + 1), "f")


class TestRevoked:
    def test_a_key_a_line(self) -> None:
        content = f"# x\n{KEY} alice, revoked\n{OTHER}\n".encode()
        assert signers.parse_revoked(content, "f").keys == ((KEY, "alice, revoked"), (OTHER, ""))

    def test_what_is_no_key(self) -> None:
        for bad in (b"hash: SHA256:x\n", b"x\n", b"SSHKRL\n", f"a {KEY}\n".encode()):
            with pytest.raises(InputError):
                signers.parse_revoked(bad, "f")


def test_a_blob_that_is_no_key() -> None:
    for blob in (b"", b"\0\0\0\xff", b"\0\0\0\x03abc"):
        assert public_key.from_blob(blob) is None
