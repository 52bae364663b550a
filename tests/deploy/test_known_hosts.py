"""The file of host keys: what is read, what is refused, and that pinning changes one host."""

from __future__ import annotations

import base64
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from deploy.known_hosts import HostKey, pin, pinned, spell
from store.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def key(number: int, kind: str = "ssh-ed25519") -> HostKey:
    """A key that says of itself of what type it is."""
    blob = len(kind).to_bytes(4) + kind.encode() + bytes([0, 0, 0, 32]) + bytes([number]) * 32
    return HostKey(kind, base64.b64encode(blob).decode())


def hashed(name: str) -> str:
    salt = b"salt" * 5
    digest = hmac.digest(salt, name.encode(), hashlib.sha1)
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        ("10.0.0.1", 22, "10.0.0.1"),
        ("10.0.0.1", 2222, "[10.0.0.1]:2222"),
        ("Head1.Site", 22, "head1.site"),
        ("fe80::1", 22, "fe80::1"),
        ("fe80::1", 2222, "[fe80::1]:2222"),
    ],
)
def test_names(address: str, port: int, name: str) -> None:
    assert spell(address, port) == name


def test_fingerprints_are_openssh_s() -> None:
    text = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    found = HostKey("ssh-ed25519", text).fingerprint
    assert found == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


def test_who_has_which(file: Path) -> None:
    file.write_text(
        f"# a remark\n\na,b {key(1)} somebody\n{hashed('c')} {key(2)}\n[a]:2222 {key(3)}\n"
        f"A {key(4, 'ssh-rsa')}\na {key(1)}\n"
    )
    assert pinned(file, "a") == (key(1), key(4, "ssh-rsa"))
    assert pinned(file, "b") == (key(1),)
    assert pinned(file, "c") == (key(2),)
    assert pinned(file, "[a]:2222") == (key(3),)
    assert pinned(file, "d") == ()


def test_no_file_is_nobody(file: Path) -> None:
    assert pinned(file, "a") == ()


@pytest.mark.parametrize(
    "line",
    [
        f"* {key(1)}",
        f"10.0.0.? {key(1)}",
        f"a,!b {key(1)}",
        f"@revoked a {key(1)}",
        f"@cert-authority *.site {key(1)}",
        "a ssh-ed25519",
        "a",
        "a ssh-ed25519 notbase64!",
        f"a ssh-rsa {key(1).text}",
        f"a ssh-ed25519 {base64.b64encode(b'xx').decode()}",
    ],
)
def test_what_is_refused(file: Path, line: str) -> None:
    """Whomever one asks for: what one client took and the other did not would be a hole."""
    file.write_text(f"z {key(9)}\n{line}\n")
    with pytest.raises(InputError) as caught:
        pinned(file, "z")
    assert caught.value.where == f"{file}:2"


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match="cannot be read"):
        pinned(file, "a")


def test_pinning_changes_one_host(file: Path) -> None:
    text = f"# mine\na,b {key(1)}\n{hashed('a')} {key(2)}\n[a]:2222 {key(3)} remark\n"
    file.write_text(text)
    pin(file, "a", [key(5), key(6)])
    assert pinned(file, "a") == (key(5), key(6))
    assert pinned(file, "b") == (key(1),)
    assert pinned(file, "[a]:2222") == (key(3),)
    assert file.read_text().splitlines() == [
        "# mine",
        f"b {key(1)}",
        f"[a]:2222 {key(3)} remark",
        f"a {key(5)}",
        f"a {key(6)}",
    ]


def test_a_file_that_is_refused_is_not_changed(file: Path) -> None:
    file.write_text(f"* {key(1)}\n")
    with pytest.raises(InputError):
        pin(file, "a", [key(2)])
    assert file.read_text() == f"* {key(1)}\n"
    assert [each.name for each in file.parent.iterdir()] == ["known_hosts"]


def test_two_who_pin_at_once_lose_nothing(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: pin(file, f"h{n}", [key(n)]), range(40)))
    assert [pinned(file, f"h{n}") for n in range(40)] == [(key(n),) for n in range(40)]
