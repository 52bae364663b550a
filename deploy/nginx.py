"""nginx in front of the services: its configuration, and whether it takes it.

`render` is pure. Locations come with the release (`nginx/site.conf`), found through the profile;
what depends on the head (ports, folders, who runs it) stands in the file rendered here. Nothing
needs root: every path is under the head's folder. Logs go to the service manager, which rotates.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
from typing import TYPE_CHECKING

from deploy.command import run
from deploy.errors import BadReleaseError, WebServerError
from deploy.programs import PATH, port

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.layout import Layout
    from deploy.release import Release
    from deploy.settings import Settings

ECHO = "/.well-known/sealift"
"""Answers with the digest of the configuration that is loaded."""
WORKERS = 2
TEST_TIMEOUT = 20.0
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

# Debian's nginx brings a longer list; this one serves where it is missing.
TYPES = """\
    types {
        text/html html htm;
        text/css css;
        text/plain txt;
        application/javascript js mjs;
        application/json json map webmanifest;
        application/wasm wasm;
        application/pdf pdf;
        image/svg+xml svg;
        image/png png;
        image/jpeg jpg jpeg;
        image/gif gif;
        image/webp webp;
        image/x-icon ico;
        font/woff woff;
        font/woff2 woff2;
    }
"""

# $connection_upgrade: what a location that takes WebSockets sends on as `Connection`.
# $sealift_scheme: what the browser speaks, which a proxy with TLS in front of this server tells.
# $sealift_cache: hashed assets for a year, everything else asked for again.
TEMPLATE = """\
daemon off;
{user}worker_processes {workers};
pid {pid};
error_log stderr warn;
events {{
    worker_connections 1024;
}}
http {{
{types}    default_type application/octet-stream;
    access_log /dev/stdout combined;
{temporary}    server_tokens off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 65s;
    gzip_static on;
    gzip_vary on;
    client_max_body_size 16m;
    client_body_timeout 60s;
    proxy_connect_timeout 5s;
    proxy_read_timeout 60s;
    proxy_send_timeout 60s;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" "";
    }}
    map $http_x_forwarded_proto $sealift_scheme {{
        default $scheme;
        "~*^https *(,|$)" https;
    }}
    map $uri $sealift_cache {{
        ~/assets/ "public, max-age=31536000, immutable";
        default "no-cache";
    }}
{upstreams}    server {{
        listen {address}:{port};
        server_name _;
        absolute_redirect off;
        location = {echo} {{
            access_log off;
            default_type text/plain;
            return 200 "{revision}";
        }}
        include {site};
    }}
}}
"""


def render(
    release: Release, layout: Layout, settings: Settings, *, site: Path, pid: str = "nginx"
) -> str:
    """Return the configuration that serves `release`, with the locations in the file `site`.

    Raises:
        BadReleaseError: a path that nginx cannot spell.
    """
    digest = revision(release, layout, settings)
    return _fill(release, layout, settings, site=site, pid=pid, revision=digest)


def revision(release: Release, layout: Layout, settings: Settings) -> str:
    """Return the digest of all that nginx reads for `release`."""
    profile = layout.profile / "nginx" / "site.conf"
    text = _fill(release, layout, settings, site=profile, pid="nginx", revision="")
    return hashlib.sha256(text.encode() + release.site_conf.read_bytes()).hexdigest()[:32]


def check(release: Release, layout: Layout, settings: Settings) -> None:
    """Let the release's nginx test the release's configuration, beside whatever runs.

    Raises:
        WebServerError: it says what is wrong.
    """
    if release.web is None:
        return
    text = render(release, layout, settings, site=release.site_conf, pid="nginx-test")
    file = layout.run_dir / "nginx-test.conf"
    file.write_text(text, "utf-8")
    argv = (str(release.web.executable), "-t", "-q", "-p", f"{layout.var_dir}/", "-c", str(file))
    ended = run(argv, env={"PATH": PATH}, timeout=TEST_TIMEOUT)
    if ended.status != 0:
        raise WebServerError(
            "nginx does not take the release's configuration",
            where=str(release.site_conf),
            got=ended.output.strip(),
        )
    file.unlink()
    (layout.run_dir / "nginx-test.pid").unlink(missing_ok=True)


def _fill(
    release: Release, layout: Layout, settings: Settings, *, site: Path, pid: str, revision: str
) -> str:
    return TEMPLATE.format(
        user=_user(),
        workers=WORKERS,
        pid=_quote(layout.run_dir / f"{pid}.pid"),
        types=_types(release),
        temporary="".join(
            f"    {each}_temp_path {_quote(layout.run_dir / each)};\n" for each in TEMPORARY
        ),
        upstreams="".join(_upstream(release, settings)),
        address=settings.address,
        port=settings.port,
        echo=ECHO,
        revision=revision,
        site=_quote(site),
    )


def _upstream(release: Release, settings: Settings) -> list[str]:
    return [
        f"    upstream sealift_{name} {{\n"
        f"        server 127.0.0.1:{port(service, settings)} max_fails=0;\n"
        f"        keepalive 16;\n"
        f"    }}\n"
        for name, service in sorted(release.services.items())
    ]


def _types(release: Release) -> str:
    places = ("mime.types", "etc/nginx/mime.types", "conf/mime.types")
    root = release.web.path if release.web else release.path
    found = next((root / each for each in places if (root / each).is_file()), None)
    return f"    include {_quote(found)};\n" if found else TYPES


def _user() -> str:
    """Let root's workers stay root: the store may lie where nobody else can look."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};\n"


def _quote(path: Path) -> str:
    text = str(path)
    if not re.fullmatch(r"[\w./+@%=,~: -]+", text):
        raise BadReleaseError(
            "nginx cannot spell this path", where=text, hint="choose another folder"
        )
    return f'"{text}"' if " " in text else text
