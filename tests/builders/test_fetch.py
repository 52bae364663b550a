"""Fetching from servers that fail in every way they can."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from builders.attempt import Patience, bare
from builders.fetch import Fetcher, FetchError, MismatchError
from builders.step import Download
from store.errors import Error
from tests.builders.registry import (
    Handler,
    Registry,
    drip,
    integrity,
    once,
    other,
    serving,
    stall,
    status,
    truncate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONTENT = os.urandom(300_000)
QUICK = Patience(connect=0.5, read=0.4, window=0.3, floor=10_000, rounds=3, backoff=0.01)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as running:
        yield running


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    made = Fetcher(patience=QUICK)
    yield made
    made.close()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "part"


def closed_port() -> str:
    """Give an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/file"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_fetches_what_is_pinned(
    registry: Registry, fetcher: Fetcher, part: Path, algorithm: str, size: int
) -> None:
    url = registry.put("/file", CONTENT[:size])
    pinned = Download((url,), integrity(CONTENT[:size], algorithm))
    assert fetcher.fetch(pinned, part, name="file") == size
    assert part.read_bytes() == CONTENT[:size]


@pytest.mark.parametrize(
    "fault", [truncate, stall, drip, status(500), status(503), status(429), other(b"not it")]
)
def test_a_passing_fault_is_tried_again(
    registry: Registry,
    fetcher: Fetcher,
    part: Path,
    fault: Callable[[Handler, bytes], None],
) -> None:
    registry.faults["/file"] = once(fault)
    mirror = registry.put("/mirror", CONTENT)
    fetcher.fetch(registry.pin("/file", CONTENT, mirror, size=False), part, name="file")
    assert part.read_bytes() == CONTENT


def test_goes_on_where_a_truncated_download_ended(
    registry: Registry, fetcher: Fetcher, part: Path
) -> None:
    registry.faults["/file"] = once(truncate)
    fetcher.fetch(registry.pin("/file", CONTENT), part, name="file")
    assert registry.asked == [("/file", None), ("/file", "bytes=150000-")]
    assert part.read_bytes() == CONTENT


def test_every_round_may_bring_a_little(registry: Registry, fetcher: Fetcher, part: Path) -> None:
    content = CONTENT[:4]
    registry.faults["/file"] = truncate
    download = registry.pin("/file", content)
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(download, part, name="file")
    assert "ended early" in str(caught.value.got)
    assert part.read_bytes() == content[:3]
    fetcher.fetch(registry.pin("/good", content), part, name="file")
    assert part.read_bytes() == content


def test_goes_on_with_what_a_killed_build_left(
    registry: Registry, fetcher: Fetcher, part: Path
) -> None:
    part.write_bytes(CONTENT[:1234])
    fetcher.fetch(registry.pin("/file", CONTENT), part, name="file")
    assert registry.asked == [("/file", "bytes=1234-")]
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [True, False])
def test_a_whole_part_needs_no_server(
    registry: Registry, fetcher: Fetcher, part: Path, *, size: bool
) -> None:
    part.write_bytes(CONTENT)
    fetcher.fetch(registry.pin("/file", CONTENT, size=size), part, name="file")
    assert registry.asked == []


@pytest.mark.parametrize("length", [10, 300_000, 400_000])
@pytest.mark.parametrize("size", [True, False])
def test_a_wrong_part_is_thrown_away(
    registry: Registry, fetcher: Fetcher, part: Path, length: int, *, size: bool
) -> None:
    part.write_bytes(b"x" * length)
    fetcher.fetch(registry.pin("/file", CONTENT, size=size), part, name="file")
    assert part.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(
    registry: Registry, fetcher: Fetcher, part: Path
) -> None:
    def whole(handler: Handler, content: bytes) -> None:
        del handler.headers["Range"]
        handler.serve(content)

    registry.faults["/file"] = whole
    part.write_bytes(CONTENT[:1234])
    fetcher.fetch(registry.pin("/file", CONTENT), part, name="file")
    assert part.read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_not_believed(
    registry: Registry, fetcher: Fetcher, part: Path
) -> None:
    def shifted(handler: Handler, content: bytes) -> None:
        handler.headers.replace_header("Range", "bytes=99-")
        handler.serve(content)

    registry.faults["/file"] = once(shifted)
    part.write_bytes(CONTENT[:1234])
    fetcher.fetch(registry.pin("/file", CONTENT), part, name="file")
    assert part.read_bytes() == CONTENT


def test_mirrors_are_tried_in_order(registry: Registry, fetcher: Fetcher, part: Path) -> None:
    second, third = registry.put("/second", CONTENT), registry.put("/third", CONTENT)
    registry.faults["/second"] = status(500)
    download = Download((closed_port(), second, third), integrity(CONTENT))
    fetcher.fetch(download, part, name="file")
    assert [path for path, _ in registry.asked] == ["/second", "/third"]


@pytest.mark.parametrize(
    ("name", "spell"),
    [("six-1.0.whl", lambda data: hashlib.sha256(data).hexdigest()), ("six.tgz", integrity)],
)
def test_other_bytes_from_every_mirror_is_a_mismatch(
    registry: Registry, fetcher: Fetcher, part: Path, name: str, spell: Callable[[bytes], str]
) -> None:
    wrong = b"something else"
    url = registry.put("/file", wrong)
    pinned = Download((registry.url + "/gone", url), integrity(CONTENT))
    with pytest.raises(MismatchError) as caught:
        fetcher.fetch(pinned, part, name=name, hint="sealift lock six")
    error = caught.value
    assert error.slug == "hash-mismatch"
    assert error.where == url
    assert error.expected == spell(CONTENT)
    assert error.got == f"{spell(wrong)} ({len(wrong)} bytes)"
    assert error.hint == "sealift lock six"
    assert not part.read_bytes(), "wrong bytes must not be gone on with"


def test_more_bytes_than_the_lock_says_are_not_read(
    registry: Registry, fetcher: Fetcher, part: Path
) -> None:
    url = registry.put("/file", CONTENT)
    with pytest.raises(Error) as caught:
        fetcher.fetch(Download((url,), integrity(b"x"), 1000), part, name="file")
    assert "more bytes than the lock says" in f"{caught.value.got}"
    assert len(registry.asked) == 1
    assert part.stat().st_size <= 1000


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (truncate, "ended early"),
        (stall, "sent nothing for 0.4 s"),
        (drip, "sent only"),
        (status(500), "answered 500"),
        (status(404), "answered 404"),
        (status(403), "answered 403"),
    ],
)
def test_each_fault_has_its_words(
    registry: Registry,
    fetcher: Fetcher,
    part: Path,
    fault: Callable[[Handler, bytes], None],
    words: str,
) -> None:
    registry.faults["/file"] = fault
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(registry.pin("/file", CONTENT), part, name="a.whl")
    error = caught.value
    assert error.slug == "fetch-failed"
    assert "'a.whl'" in error.reason
    assert error.where == registry.url + "/file"
    assert words in str(error.got)
    assert error.hint


def test_what_is_forbidden_is_asked_for_once(registry: Registry, part: Path) -> None:
    registry.faults["/file"] = status(403)
    pauses: list[float] = []
    fetcher = Fetcher(pause=pauses.append)
    with pytest.raises(FetchError):
        fetcher.fetch(registry.pin("/file", CONTENT), part, name="file")
    fetcher.close()
    assert len(registry.asked) == 1
    assert sum(pauses) == 0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param(closed_port(), "Connection refused", id="closed-port"),
        ("http://no-such-host.invalid/x", "no such host"),
        ("ftp://example.invalid/x", "cannot be asked"),
    ],
)
def test_a_registry_that_is_not_there(fetcher: Fetcher, part: Path, url: str, words: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(Download((url,), integrity(b"x")), part, name="file")
    assert words in str(caught.value.got)


def test_a_dead_registry_is_one_cause_for_all_its_files(fetcher: Fetcher, tmp_path: Path) -> None:
    address = closed_port()
    reasons = set()
    for name in ("a", "b"):
        with pytest.raises(FetchError) as caught:
            fetcher.fetch(Download((address + name,), integrity(b"x")), tmp_path / name, name=name)
        reasons.add((caught.value.reason, caught.value.where))
    assert reasons == {("127.0.0.1 cannot be reached", None)}


def test_an_address_without_any(fetcher: Fetcher, part: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(Download((), integrity(b"x")), part, name="file")
    assert caught.value.got == "no address is known"


@pytest.mark.parametrize("pin", ["sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "md5-x", "sha256-AAAA", ""])
def test_weak_and_broken_pins_are_refused(fetcher: Fetcher, part: Path, pin: str) -> None:
    with pytest.raises(Error) as caught:
        fetcher.fetch(Download((closed_port(),), pin), part, name="file")
    assert caught.value.slug == "bad-input"


def test_redirects_are_followed(registry: Registry, fetcher: Fetcher, part: Path) -> None:
    target = registry.put("/target", CONTENT)

    def moved(handler: Handler, content: bytes) -> None:
        del content
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    registry.faults["/file"] = moved
    fetcher.fetch(registry.pin("/file", CONTENT), part, name="file")
    assert part.read_bytes() == CONTENT


def test_a_user_in_the_address_is_sent_and_never_shown(
    registry: Registry, fetcher: Fetcher, part: Path
) -> None:
    seen: list[str | None] = []

    def guarded(handler: Handler, content: bytes) -> None:
        del content
        seen.append(handler.headers.get("Authorization"))
        handler.refuse(401)

    registry.faults["/file"] = guarded
    url = registry.put("/file", CONTENT).replace("//", "//me:s%40cret@")
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(Download((url,), integrity(CONTENT)), part, name="file")
    assert seen == ["Basic bWU6c0BjcmV0"]
    assert "cret" not in repr(vars(caught.value))
    assert bare(url) == registry.url + "/file"


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Registry, Path]]:
    """Serve over TLS with a certificate that nobody knows yet."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    argv += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    with serving(certificate=certificate, key=key) as registry:
        yield registry, certificate


def test_an_unknown_certificate_is_refused(
    secure: tuple[Registry, Path], fetcher: Fetcher, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, certificate = secure
    pinned = registry.pin("/file", CONTENT)
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(pinned, part, name="file")
    assert "its certificate does not hold" in str(caught.value.got)
    assert registry.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusting = Fetcher(patience=QUICK)
    trusting.fetch(pinned, part, name="file")
    # Known, but for another name.
    elsewhere = replace(pinned, urls=(pinned.urls[0].replace("127.0.0.1", "localhost"),))
    with pytest.raises(FetchError, match="cannot be reached"):
        trusting.fetch(elsewhere, part.with_name("other"), name="file")
    trusting.close()


def test_get_reads_a_document(registry: Registry, fetcher: Fetcher) -> None:
    url = registry.put("/index.json", b"{}")
    registry.faults["/index.json"] = once(status(503))
    assert fetcher.get(url) == b"{}"
    with pytest.raises(FetchError, match="cannot be read"):
        fetcher.get(registry.url + "/nothing")
    registry.put("/index.json", b"x" * 100)
    with pytest.raises(FetchError):
        fetcher.get(url, limit=99)


def test_a_stopped_build_stops_between_two_chunks(registry: Registry, part: Path) -> None:
    class StopError(Exception):
        pass

    calls: list[float] = []

    def pause(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) > 2:
            raise StopError

    fetcher = Fetcher(patience=QUICK, pause=pause)
    content = os.urandom(3_000_000)
    with pytest.raises(StopError):
        fetcher.fetch(registry.pin("/file", content), part, name="file")
    fetcher.close()
    kept = part.read_bytes()
    assert content.startswith(kept)
    assert 0 < len(kept) < len(content)
