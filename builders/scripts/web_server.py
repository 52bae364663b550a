"""The web server's configuration on a head with systemd, as text. Pure.

Its sockets are systemd's, which hands them on; it runs without privileges and listens on nothing
else. Locations stand in `site.conf` beside it. What it reads for the release is found through the
profile, relative to the head's folder (nginx -p).
"""

from __future__ import annotations

import hashlib
import re
import sys
from typing import Any

from builders.scripts.unit_names import named, user
from builders.scripts.units import RUN, Head, nginx_files

CACHE = "/var/cache/sealift-nginx"
ECHO = "/.well-known/sealift"
"""Answers with the digest of the configuration that is loaded."""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
TRIES = 3
"""How often a request is handed to a service that closes the connection unheard."""
CREDENTIALS = f"{RUN}/credentials/nginx"
REVISION = "@revision@"
"""Stands for the digest in the text that the digest is made of."""

# $connection_upgrade: what a location that takes WebSockets sends on as `Connection`.
# $sealift_scheme: what the browser speaks, which a proxy with TLS in front of this server tells.
# $sealift_cache: hashed assets for a year, everything else asked for again.
TEMPLATE = """\
daemon off;
user {user};
worker_processes auto;
worker_shutdown_timeout 30s;
pid /run/sealift-nginx/{instance}/nginx.pid;
error_log stderr error;
events {{
    worker_connections 4096;
}}
http {{
{types}    default_type application/octet-stream;
    access_log syslog:server=unix:/dev/log,nohostname,tag=nginx combined;
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
{tls}{upstreams}{redirect}    server {{
        listen {listen} default_server;
        listen unix:{probe};
        server_name _;
        absolute_redirect off;
{echo}        include site.conf;
    }}
}}
"""
ECHOED = """\
        location = {echo} {{
            access_log off;
            default_type text/plain;
            return 200 "{revision}";
        }}
"""
TLS = """\
    ssl_certificate {credentials}/{certificate};
    ssl_certificate_key {credentials}/{key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:sealift:10m;
    ssl_session_timeout 1h;
    ssl_session_tickets off;
"""
REDIRECT = """\
    server {{
        listen 0.0.0.0:{http} default_server;
        server_name _;
{echo}        location / {{
            return 301 https://$host{port}$request_uri;
        }}
    }}
"""


def render(
    services: dict[str, dict[str, Any]],
    nginx: str,
    types: str | None,
    head: Head,
    *,
    certificate: str,
    key: str,
    site: str,
) -> tuple[str, str]:
    """Return the configuration and its revision, the digest of it and of `site`'s text."""
    text = fill(services, nginx, types, head, certificate=certificate, key=key)
    revision = hashlib.sha256((text + site).encode()).hexdigest()[:32]
    return text.replace(REVISION, revision), revision


def fill(
    services: dict[str, dict[str, Any]],
    nginx: str,
    types: str | None,
    head: Head,
    *,
    certificate: str,
    key: str,
) -> str:
    """Return the configuration with a mark for its revision."""
    echo = ECHOED.format(echo=ECHO, revision=REVISION)
    secure = head.https is not None
    tls = TLS.format(credentials=CREDENTIALS, certificate=certificate, key=key)
    instance = named("nginx", nginx, nginx_files(nginx, head))
    return TEMPLATE.format(
        user=user("nginx"),
        instance=instance,
        types=f"    include {quote(types)};\n" if types else "",
        temporary="".join(f"    {each}_temp_path {CACHE}/{each};\n" for each in TEMPORARY),
        tls=tls if secure else "",
        upstreams="".join(upstream(name, each["port"]) for name, each in services.items()),
        redirect=redirect(head, echo) if secure else "",
        listen=f"0.0.0.0:{head.https} ssl http2" if secure else f"0.0.0.0:{head.http}",
        probe=f"{RUN}/probe/{instance}.sock",
        echo=echo,
    )


def redirect(head: Head, echo: str) -> str:
    """Return the server that sends browsers from http to https."""
    port = "" if head.https == 443 else f":{head.https}"  # noqa: PLR2004 - what https means
    return REDIRECT.format(http=head.http, port=port, echo=echo)


def upstream(name: str, port: int) -> str:
    """Return where one service is reached.

    It is named more than once because nginx tries each name once: a request that an instance did
    not take as it ended is tried again, which the next instance answers. Idle connections are given
    up before a service does so, which would race with the next request on them: gunicorn keeps
    them for two seconds, unless told otherwise, and for as long when it is being stopped.
    """
    server = f"        server 127.0.0.1:{port} max_fails=0;\n" * TRIES
    kept = "        keepalive 16;\n        keepalive_timeout 1s;\n"
    return f"    upstream sealift_{name} {{\n{server}{kept}    }}\n"


def quote(text: str) -> str:
    """Spell a path for nginx."""
    if not re.fullmatch(r"[\w./+@%=,~: -]+", text):
        sys.exit(f"nginx cannot spell the path {text!r}")
    return f'"{text}"' if " " in text else text
