"""Bytes behind URLs: a folder, a web server, a real server of S3, and a real sshd."""

from __future__ import annotations

import http.server
import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders.cache_urls import CacheError, CacheLateError, CacheUrl, Patience, opened
from deploy.ssh_errors import HostKeyError
from store.errors import Error, InputError
from tests.builders.cache_places import NAME, PLACES, WORD, Place, listening, sftp
from tests.builders.registry import Handler, Registry, serving, stall, status, truncate
from tests.deploy.sshd import needs_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store.binary_cache import ByteStore

LARGE = os.urandom(1 << 16) * 600
"""Bytes: more than one part of an upload to S3."""
QUICK = Patience(connect=2.0, silence=0.5, asking=3.0, grace=3.0)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", NAME)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WORD)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(params=[pytest.param(each, id=each) for each in PLACES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from PLACES[request.param](tmp_path.resolve())


@contextmanager
def files(place: Place, patience: Patience | None = None) -> Iterator[ByteStore]:
    with opened(CacheUrl.parse(place.url), patience or Patience(), dial=place.dial) as found:
        yield found


def read(found: ByteStore, name: str) -> bytes | None:
    stream = found.get(name)
    if stream is None:
        return None
    with stream:
        return stream.read()


@needs_sshd
class TestEveryPlace:
    def test_what_is_put_is_there(self, place: Place) -> None:
        with files(place) as found:
            assert found.get("nix-cache-info") is None
            assert not found.exists("nar/large.nar")
            found.put("nix-cache-info", io.BytesIO(b"StoreDir: /x\n"))
            found.put("nar/large.nar", io.BytesIO(LARGE))
            found.put("realisations/a.json", io.BytesIO(b"one"))
            found.put("realisations/a.json", io.BytesIO(b"two!"))
            assert found.exists("nar/large.nar")
            assert read(found, "nar/large.nar") == LARGE
            assert read(found, "realisations/a.json") == b"two!"
            assert found.get("realisations/b.json") is None
        assert (place.folder / "nar" / "large.nar").read_bytes() == LARGE
        left = [each.name for each in place.folder.rglob("*") if each.is_file()]
        assert sorted(left) == ["a.json", "large.nar", "nix-cache-info"]

    def test_only_what_is_left_of_a_file_is_put(self, place: Place) -> None:
        source = io.BytesIO(b"not this|but this")
        source.seek(len(b"not this|"))
        with files(place) as found:
            found.put("a", source)
            assert read(found, "a") == b"but this"

    def test_many_at_once(self, place: Place) -> None:
        names = [f"nar/{number}" for number in range(60)]
        with files(place) as found, ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: found.put(name, io.BytesIO(name.encode() * 9)), names))
            got = list(pool.map(lambda name: read(found, name), names))
        assert got == [name.encode() * 9 for name in names]

    def test_a_stream_that_is_left_before_its_end(self, place: Place) -> None:
        with files(place) as found:
            found.put("nar/large", io.BytesIO(LARGE[: 1 << 23]))
            for _ in range(8):
                stream = found.get("nar/large")
                assert stream is not None
                assert stream.read(5) == LARGE[:5]
                stream.close()
            assert read(found, "nar/large") == LARGE[: 1 << 23]


@needs_sshd
class TestTrust:
    def test_a_host_with_another_key_is_not_spoken_to(self, tmp_path: Path) -> None:
        for place in sftp(tmp_path.resolve()):
            known = tmp_path.resolve() / "known_hosts"
            other = (tmp_path / "sshd" / "stranger.pub").read_text().split()
            name = known.read_text().split()[0]
            known.write_text(f"{name} {other[0]} {other[1]}\n")
            with pytest.raises(HostKeyError), files(place):
                pass

    def test_a_host_without_a_pinned_key_is_not_spoken_to(self, tmp_path: Path) -> None:
        for place in sftp(tmp_path.resolve()):
            (tmp_path.resolve() / "known_hosts").write_text("")
            with pytest.raises(HostKeyError), files(place):
                pass

    def test_a_wrong_key_of_s3(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        for place in PLACES["s3"](tmp_path.resolve()):
            with files(place) as found:
                with pytest.raises(CacheError, match="refuses to be read"):
                    found.get("nix-cache-info")
                with pytest.raises(CacheError, match="refuses to be written"):
                    found.put("nix-cache-info", io.BytesIO(b"x"))

    def test_no_key_of_s3(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        for place in PLACES["s3"](tmp_path.resolve()):
            with files(place) as found, pytest.raises(CacheError) as caught:
                found.get("nix-cache-info")
            assert "redentials" in str(caught.value.got)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as running:
        yield running


def test_an_unknown_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    argv += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    with serving(certificate=certificate, key=key) as registry:
        registry.put("/a", b"x")
        with files(Place(registry.url, Path()), QUICK) as found:
            with pytest.raises(CacheError) as caught:
                found.get("a")
            assert "ertificate" in str(caught.value.got)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with files(Place(registry.url, Path()), QUICK) as found:
            assert read(found, "a") == b"x"


class TestRedirects:
    """The other server stands for what only the builder reaches."""

    @contextmanager
    def sent(self, registry: Registry, url: str) -> Iterator[tuple[ByteStore, Registry]]:
        with serving() as inner:
            inner.put("/b", b"secret")
            inner.put("/builds/b", b"secret")

            def send(handler: Handler, _content: bytes) -> None:
                handler.send_response(302)
                handler.send_header("Location", f"{inner.url}/b")
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            registry.faults |= {"/a": send, "/builds/a": send}
            with files(Place(url, Path()), QUICK) as found:
                yield found, inner

    @pytest.mark.parametrize("ask", ["get", "exists"])
    def test_to_another_server(self, registry: Registry, ask: str) -> None:
        with self.sent(registry, registry.url) as (found, inner):
            with pytest.raises(CacheError, match="another server") as caught:
                getattr(found, ask)("a")
            assert inner.url in str(caught.value.got)
            assert inner.asked == []

    def test_of_what_is_put(self) -> None:
        class Sends(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                while self.rfile.readline() not in {b"0\r\n", b""}:
                    pass
                self.rfile.readline()
                self.send_response(307)
                self.send_header("Location", inner.url)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                del format, args

        with serving() as inner, listening(Sends) as port:
            place = Place(f"http://127.0.0.1:{port}", Path())
            with files(place, QUICK) as found, pytest.raises(CacheError, match="another server"):
                found.put("a", io.BytesIO(b"secret"))
            assert inner.asked == []

    def test_by_a_server_of_s3(self, registry: Registry) -> None:
        url = f"s3://builds?endpoint={registry.url}&region=us-east-1"
        with self.sent(registry, url) as (found, inner):
            with pytest.raises(CacheError):
                found.get("a")
            assert {name for name, _ in registry.asked} == {"/builds/a"}
            assert inner.asked == []

    def test_to_another_name_of_the_same(self, registry: Registry) -> None:
        def send(handler: Handler, _content: bytes) -> None:
            handler.send_response(301)
            handler.send_header("Location", "/b")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        registry.put("/b", b"x")
        registry.faults["/a"] = send
        with files(Place(registry.url, Path()), QUICK) as found:
            assert read(found, "a") == b"x"


class TestBadServers:
    def ask(self, registry: Registry, name: str = "a") -> bytes | None:
        with files(Place(registry.url, Path()), QUICK) as found:
            return read(found, name)

    def test_a_port_where_nobody_listens(self, registry: Registry) -> None:
        with listening(Handler) as port:
            url = f"http://127.0.0.1:{port}"
        with files(Place(url, Path()), QUICK) as found, pytest.raises(CacheError) as caught:
            found.get("a")
        assert "Connect" in str(caught.value.got)
        assert caught.value.where == f"{url}/a"
        del registry

    @pytest.mark.parametrize("fault", [stall, truncate])
    def test_a_file_that_does_not_come(self, registry: Registry, fault: Any) -> None:
        registry.put("/a", b"x" * 4_000_000)
        registry.faults["/a"] = fault
        with pytest.raises(CacheError):
            self.ask(registry)

    def test_a_server_that_says_nothing(self, registry: Registry) -> None:
        over = threading.Event()

        def wait(_handler: Handler, _content: bytes) -> None:
            over.wait(30)

        registry.faults["/a"] = wait
        with files(Place(registry.url, Path()), QUICK) as found:
            with pytest.raises(CacheLateError):
                found.get("a")
            over.set()

    @pytest.mark.parametrize("code", [404, 410])
    def test_what_is_gone_is_not_there(self, registry: Registry, code: int) -> None:
        registry.faults["/a"] = status(code)
        assert self.ask(registry) is None

    @pytest.mark.parametrize("code", [403, 500, 503])
    def test_what_a_server_refuses(self, registry: Registry, code: int) -> None:
        registry.faults["/a"] = status(code)
        with pytest.raises(CacheError):
            self.ask(registry)

    def test_forbidden_means_absent_where_others_are_let_in(self, registry: Registry) -> None:
        registry.put("/b", b"x")
        registry.faults["/a"] = status(403)
        with files(Place(registry.url, Path()), QUICK) as found:
            assert read(found, "b") == b"x"
            assert found.get("a") is None


class TestAddresses:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "cache",
            "/srv/cache",
            "ftp://host/x",
            "file://host/x",
            "file://",
            "file:///",
            "file:///a/../b",
            "http://",
            "http://user@host/x",
            "http://user:word@host/x",
            "sftp://user:word@host/x",
            "s3://Bucket_/x",
            "s3://bucket?acl=public",
            "http://host/x?y=1",
            "http://host/x#y",
            "http://host:99999/x",
            "http://ho\nst/x",
            "file:///" + "x" * 3000,
        ],
    )
    def test_refused(self, text: str) -> None:
        with pytest.raises(InputError) as caught:
            CacheUrl.parse(text)
        assert "word" not in f"{caught.value.reason} {caught.value.got}".replace("password", "")

    def test_parts(self) -> None:
        url = CacheUrl.parse("sftp://me@cache1:2222/srv/a%20b/")
        assert (url.user, url.host, url.port, url.path) == ("me", "cache1", 2222, "/srv/a b")
        assert str(CacheUrl.parse("s3://bin/c?endpoint=http://x:9")) == "s3://bin/c"
        assert str(CacheUrl.parse("http://[::1]:80/c/")) == "http://[::1]:80/c"

    def test_what_lacks_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "s3fs", None)
        with (
            pytest.raises(CacheError) as caught,
            opened(CacheUrl.parse("s3://bucket"), Patience()),
        ):
            pass
        assert caught.value.hint == "pip install 'sealift[caches]'"
        assert isinstance(caught.value, Error)
