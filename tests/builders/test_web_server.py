"""The web server's configuration for heads with systemd, under nginx itself with given sockets."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from typing import TYPE_CHECKING, Any

import pytest

from builders.scripts.release import site
from builders.scripts.units import Head
from builders.scripts.web_server import quote, render
from tests.deploy.synthetic import free_ports, nginx_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
PAGES = {"pages": {"root": "web", "routes": [{"path": "/pages/"}]}}
PAIR = {"certificate": "TLS_CERT", "key": "TLS_KEY"}
NGINX = f"/opt/sealift/store/{HASH}-nginx"


def rendered(head: Head, services: dict[str, Any] | None = None, locations: str = "") -> str:
    types = "/opt/mime.types"
    return render(services or {}, NGINX, types, head, site=locations, **PAIR)[0]


def head(http: int = 80, https: int | None = 443) -> Head:
    return Head("/opt/sealift/store", "/opt/sealift/var", "/var/lib/sealift", http, https)


# What it says.


def test_a_service_that_did_not_take_a_request_gets_it_again() -> None:
    text = rendered(head(), {"alpha": {"port": 5000}})
    assert text.count("server 127.0.0.1:5000 max_fails=0;") == 3
    # Less than what services keep them for, or both would use one at the same moment.
    assert "keepalive_timeout 1s;" in text


def test_the_revision_knows_every_difference() -> None:
    one = render({}, NGINX, None, head(), site="", **PAIR)[1]
    others = [
        render({"a": {"port": 1}}, NGINX, None, head(), site="", **PAIR)[1],
        render({}, NGINX.replace(HASH, HASH[::-1]), None, head(), site="", **PAIR)[1],
        render({}, NGINX, "/etc/types", head(), site="", **PAIR)[1],
        render({}, NGINX, None, head(https=8443), site="", **PAIR)[1],
        render({}, NGINX, None, head(), site="x", **PAIR)[1],
        render({}, NGINX, None, head(), site="", certificate="OTHER", key="TLS_KEY")[1],
    ]
    assert len({one, *others}) == 7
    assert re.fullmatch(r"[0-9a-f]{32}", one)


def test_without_tls_nothing_of_it_is_left() -> None:
    text = rendered(head(8080, None))
    assert "listen 0.0.0.0:8080 default_server;" in text
    assert not re.search(r"ssl|https\$|return 301|TLS_", text.replace("proto", ""))


@pytest.mark.parametrize(("port", "target"), [(443, "https://$host$"), (8443, "$host:8443$")])
def test_http_leads_to_https(port: int, target: str) -> None:
    assert f"{target}request_uri;" in rendered(head(https=port))


@pytest.mark.parametrize("path", ["/a;b", "/a$b", "/a{b", 'a"b', "a\nb", "a\\b"])
def test_paths_that_nginx_cannot_spell(path: str) -> None:
    with pytest.raises(SystemExit, match="nginx cannot spell"):
        quote(path)


def test_a_path_with_blanks() -> None:
    assert quote("/a b") == '"/a b"'


# What nginx makes of it.


@dataclass(frozen=True)
class Served:
    """A web server that runs, in a folder of its own."""

    root: Path
    http: int
    https: int
    probe: Path

    def get(
        self, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        line = HTTPSConnection("127.0.0.1", self.https, timeout=10, context=trusting)
        return ask(line, path, headers)

    def plain(self, path: str) -> tuple[int, dict[str, str], str]:
        return ask(HTTPConnection("127.0.0.1", self.http, timeout=10), path)

    def probed(self, path: str) -> tuple[int, dict[str, str], str]:
        line = HTTPConnection("head")
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.connect(str(self.probe))
        return ask(line, path)


def ask(
    line: HTTPConnection, path: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    with closing(line):
        line.request("GET", path, headers=headers or {})
        answer = line.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def lay(root: Path, generation: str, **assets: str) -> None:
    folder = root / "var" / "profiles" / generation / "web" / "pages" / "pages"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(generation)
    for name, text in assets.items():
        (folder / "assets" / f"{name}.js").write_text(text)


@contextmanager
def listening(address: Any, family: int = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family) as sock:
        if family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()
        sock.set_inheritable(True)
        yield sock


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    tree = nginx_tree()
    if isinstance(tree, str):
        pytest.skip(tree)
    http, https = free_ports(2)
    root = tmp_path.resolve()
    probe = root / "p.sock"
    lay(root, "system", new="new", both="new")
    lay(root, "system-before", old="old", both="old")
    certify(root)
    conf = settled(root, probe, head(http, https), tree)
    with ExitStack() as stack:
        addresses = [("0.0.0.0", http), ("0.0.0.0", https)]
        socks = [stack.enter_context(listening(each)) for each in addresses]
        socks.append(stack.enter_context(listening(str(probe), socket.AF_UNIX)))
        passed = [each.fileno() for each in socks]
        server = stack.enter_context(started(tree, root, conf, passed))
        served = Served(root, http, https, probe)
        wait(served, server)
        yield served


def certify(root: Path) -> None:
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    argv += ["-nodes", "-subj", "/CN=head1", "-keyout", "TLS_KEY", "-out", "TLS_CERT"]
    subprocess.run(argv, cwd=root, check=True, capture_output=True)


def settled(root: Path, probe: Path, where: Head, tree: Path) -> Path:
    """Write the configuration with a head's folders in the test's own."""
    locations = site({}, {"pages": {**PAGES["pages"], "path": "/x"}})
    text, _ = render({}, NGINX, str(tree / "mime.types"), where, site=locations, **PAIR)
    text = re.sub(rf"/run/sealift/probe/{HASH}-\w+\.sock", str(probe), text)
    text = text.replace("/run/sealift/credentials/nginx", str(root))
    text = re.sub(rf"/run/sealift-nginx/{HASH}-\w+", str(root), text)
    text = text.replace("/var/cache/sealift-nginx", str(root / "cache"))
    text = re.sub(r"^user .*$", "user root;", text, flags=re.MULTILINE)
    (root / "cache").mkdir()
    (root / "site.conf").write_text(locations)
    conf = root / "nginx.conf"
    conf.write_text(text)
    return conf


@contextmanager
def started(
    tree: Path, root: Path, conf: Path, passed: list[int]
) -> Iterator[subprocess.Popen[str]]:
    env = {"NGINX": "".join(f"{number};" for number in passed)}
    argv = [str(tree / "usr/sbin/nginx"), "-p", f"{root}/var/", "-c", str(conf)]
    server = subprocess.Popen(
        argv, env=env, pass_fds=passed, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield server
    finally:
        server.terminate()
        server.communicate(timeout=20)


def wait(served: Served, server: subprocess.Popen[str]) -> None:
    for _ in range(200):
        try:
            served.probed("/.well-known/sealift")
        except OSError:
            assert server.poll() is None, server.communicate()[1]
            time.sleep(0.05)
        else:
            return
    pytest.fail("nginx does not answer")


def test_it_serves_on_the_sockets_that_it_is_given(served: Served) -> None:
    revision = served.probed("/.well-known/sealift")[2]
    assert re.fullmatch(r"[0-9a-f]{32}", revision)
    assert served.get("/.well-known/sealift")[2] == revision
    assert served.plain("/.well-known/sealift")[2] == revision
    status, headers, _ = served.plain("/pages/?x=1")
    assert (status, headers["Location"]) == (301, f"https://127.0.0.1:{served.https}/pages/?x=1")


def test_a_page_from_before_the_switch_finds_its_assets(served: Served) -> None:
    assert served.get("/pages/assets/new.js")[2] == "new"
    assert served.get("/pages/assets/both.js")[2] == "new"
    status, headers, text = served.get("/pages/assets/old.js")
    assert (status, text) == (200, "old")
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["Content-Type"] == "application/javascript"
    assert served.get("/pages/assets/none.js")[0] == 404
    # Pages are of one release alone.
    status, headers, text = served.get("/pages/deep/link")
    assert (status, text, headers["Cache-Control"]) == (200, "system", "no-cache")


def test_a_page_is_never_the_same_after_a_deploy(served: Served, tmp_path: Path) -> None:
    page = tmp_path / "var" / "profiles" / "system" / "web" / "pages" / "pages" / "index.html"
    os.utime(page, (1, 1))
    _, headers, _ = served.get("/pages/")
    assert not {"ETag", "Last-Modified"} & headers.keys()
    # As a browser asks that got the page of an earlier version, which had both.
    known = {"If-None-Match": '"1-6"', "If-Modified-Since": "Thu, 01 Jan 1970 00:00:01 GMT"}
    page.write_text("SYSTEM")
    os.utime(page, (1, 1))
    for path in ("/pages/", "/pages/index.html", "/pages/deep/link"):
        for words in (known, *({name: word} for name, word in known.items())):
            assert served.get(path, words)[::2] == (200, "SYSTEM")
    # What is named by its contents may be asked for by its time.
    _, asset, _ = served.get("/pages/assets/new.js")
    assert served.get("/pages/assets/new.js", {"If-None-Match": asset["ETag"]})[0] == 304


@pytest.mark.parametrize(
    "path", ["/pages/assets/../../../../../TLS_KEY", "/pages/%2e%2e/%2e%2e/TLS_KEY"]
)
def test_nothing_else_of_the_head_is_shown(served: Served, path: str) -> None:
    assert "PRIVATE" not in served.get(path)[2]
    assert served.get(path)[0] in (400, 404)
