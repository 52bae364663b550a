"""Join services and web roots into a release: release.json, links, nginx/ and systemd/.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `out`,
`members` and `packages` (name to store path), `phases` (name to `number`, `secrets` and `hosts`, a
store path for each), `nginx` (store path), `tools` (name to store path
and place), `head` (the fields of `units.Head`) and `web` (names of the secrets that are the web
server's certificate and key).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TypeAlias

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))  # noqa: PTH100, PTH118, PTH120

from builders.scripts.unit_names import listens, named, user
from builders.scripts.units import Head, Unit, units
from builders.scripts.web_server import render

Member: TypeAlias = "dict[str, Any]"
Members: TypeAlias = "dict[str, Member]"

AGENT = "sealift"
"""The tool by which a head is served from outside, and helps itself."""
FOUND = (AGENT, "nft")
"""Tools that are found by their names in a release's `bin`, before it is read."""

PROXY = """\
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $sealift_scheme;
"""


def main(
    *,
    out: str,
    members: dict[str, str],
    packages: dict[str, str],
    phases: dict[str, dict[str, Any]],
    nginx: str,
    tools: dict[str, tuple[str, str]],
    head: dict[str, Any],
    web: dict[str, str],
) -> None:
    """Make the release at `out`."""
    root = Path(out)
    root.mkdir()
    found = {name: read(Path(path)) for name, path in sorted(members.items())}
    services = {name: member for name, member in found.items() if "port" in member}
    frontends = {name: member for name, member in found.items() if "root" in member}
    refuse_clashes(services, frontends)
    objects = {**members, "nginx": nginx, **{name: path for name, (path, _) in tools.items()}}
    runs = [Unit.read(name, service) for name, service in services.items()]
    agent = tool(*tools[AGENT])["executable"] if AGENT in tools else None
    texts = units(runs, nginx, Head(**head), agent)
    release = {
        "format": 1,
        "services": {
            unit.name: {**services[unit.name], "unit": unit.about(texts)} for unit in runs
        },
        "frontends": frontends,
        "needs": {"glibc": glibc_needs(objects)},
        "nginx": {"path": nginx, "executable": f"{nginx}/usr/sbin/nginx"},
        "packages": {name: {"path": path} for name, path in packages.items()},
        "tools": {name: tool(*place) for name, place in tools.items()},
        "systemd": {
            **lay_web_server(root / "nginx", found, nginx, Head(**head), web),
            "instance": named("nginx", nginx, texts),
            "listens": listens(texts["sealift-nginx.socket"]),
        },
    }
    if phases:
        # Left out where there are none: programs of earlier releases refuse what they do not know.
        release["phases"] = phases
        lay_phases(root / "phases", phases)
    lay_units(root, texts, release)
    text = json.dumps(release, indent=2, sort_keys=True) + "\n"
    (root / "release.json").write_text(text)
    (root / "services").mkdir()
    for name, service in services.items():
        (root / "services" / name).symlink_to(service["path"])
    for name, frontend in frontends.items():
        lay_web_root(root / "web" / name, frontend)


def lay_units(root: Path, texts: dict[str, str], release: dict[str, Any]) -> None:
    """Write systemd's units, and link the programs that a head is looked after with."""
    (root / "systemd").mkdir()
    for name, text in texts.items():
        (root / "systemd" / name).write_text(text)
    for name in FOUND:
        if name in release["tools"]:
            (root / "bin").mkdir(exist_ok=True)
            (root / "bin" / name).symlink_to(release["tools"][name]["executable"])


def lay_phases(folder: Path, phases: dict[str, dict[str, Any]]) -> None:
    """Link what each phase of the cluster wants of each host."""
    for name, phase in phases.items():
        (folder / name).mkdir(parents=True)
        for host, path in phase["hosts"].items():
            (folder / name / host).symlink_to(path)


def lay_web_server(
    folder: Path, members: Members, nginx: str, head: Head, web: dict[str, str]
) -> dict[str, Any]:
    """Write the web server's locations and its configuration; say what a head must know of it."""
    services = {name: member for name, member in members.items() if "port" in member}
    frontends = {name: member for name, member in members.items() if "root" in member}
    locations = site(services, frontends)
    types = f"{nginx}/etc/nginx/mime.types"
    known = types if os.path.isfile(types) else None  # noqa: PTH113 - a text is wanted
    text, revision = render(services, nginx, known, head, site=locations, **web)
    folder.mkdir()
    (folder / "site.conf").write_text(locations)
    (folder / "nginx.conf").write_text(text)
    secure = head.https is not None
    return {
        "user_nginx": user("nginx"),
        "http": head.http,
        "https": head.https,
        "certificate": web["certificate"] if secure else None,
        "key": web["key"] if secure else None,
        "revision": revision,
    }


def glibc_needs(objects: dict[str, str]) -> dict[str, str]:
    """Return which version of glibc each thing that runs asks of a head, if it asks for one."""
    said = {
        name: json.loads(Path(path, "sealift.json").read_text()) for name, path in objects.items()
    }
    return {name: each["glibc"] for name, each in said.items() if each.get("glibc")}


def tool(path: str, executable: str) -> dict[str, str]:
    """Return what a head must know of a program that it runs besides the services."""
    file = f"{path}/{executable}"
    if not os.access(file, os.X_OK):
        sys.exit(f"{file} is no executable")
    return {"path": path, "executable": file}


def read(path: Path) -> Member:
    """Return what a member says of itself, with its store path.

    A store object cannot hold its own path, so it says `{path}` where it means that.
    """
    said = json.loads((path / "sealift.json").read_text())
    member = said.get("service") or said["frontend"]
    return {"path": str(path), **{key: resolve(fact, str(path)) for key, fact in member.items()}}


def resolve(fact: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Put `path` where a fact says `{path}`."""
    if isinstance(fact, str):
        return fact.replace("{path}", path)
    if isinstance(fact, list):
        return [resolve(inner, path) for inner in fact]
    if isinstance(fact, dict):
        return {key: resolve(inner, path) for key, inner in fact.items()}
    return fact


def refuse_clashes(services: Members, frontends: Members) -> None:
    """Two members must share neither a port nor a route."""
    taken: dict[str, str] = {}
    for name, member in {**services, **frontends}.items():
        claims = [f"route {route['path']}" for route in member["routes"]]
        if "port" in member:
            claims.append(f"port {member['port']}")
        for claim in claims:
            if claim in taken:
                sys.exit(f"{claim} is claimed by both {taken[claim]} and {name}")
            taken[claim] = name


def lay_web_root(root: Path, frontend: Member) -> None:
    """Lay a folder in which a request's path finds its file: `<root>/dashboard -> …/web`."""
    target = f"{frontend['path']}/{frontend['root']}"
    for route in frontend["routes"]:
        place = root / route["path"].strip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def site(services: Members, frontends: Members) -> str:
    """Return nginx's locations; relative roots start at the head's folder (nginx -p)."""
    parts = [web(n, r["path"]) for n, f in frontends.items() for r in f["routes"]]
    parts += [proxy(n, r) for n, s in services.items() for r in s["routes"]]
    return "\n".join(parts)


def web(name: str, path: str) -> str:
    """Return the locations of one web root: pages never cached, hashed assets for a year.

    An asset that the release does not have may be one of the release before, which a page asks for
    that was loaded before the switch.
    """
    root = f"profiles/system/web/{name}"
    bare = "" if path == "/" else f"location = {path[:-1]} {{ return 301 {path}; }}\n"
    return (
        f"{bare}"
        f"location {path} {{\n"
        f"    root {root};\n"
        f'    add_header Cache-Control "no-cache";\n'
        # Files of a store are all of one time, and pages often of one size: what nginx would make
        # of that for browsers to ask by is the same after a deploy, and they would keep old pages.
        f"    etag off;\n"
        f"    if_modified_since off;\n"
        f'    add_header Last-Modified "";\n'
        f'    add_header X-Content-Type-Options "nosniff";\n'
        # A page may stand in a frame of this very site, as one application shows another.
        f'    add_header X-Frame-Options "SAMEORIGIN";\n'
        f"    try_files $uri {path}index.html;\n"
        f"}}\n"
        f"location ^~ {path}assets/ {{\n"
        f"    root profiles;\n"
        f'    add_header Cache-Control "public, max-age=31536000, immutable";\n'
        f'    add_header X-Content-Type-Options "nosniff";\n'
        f"    try_files /system/web/{name}$uri /system-before/web/{name}$uri =404;\n"
        f"}}\n"
    )


def proxy(name: str, route: dict[str, Any]) -> str:
    """Return the location that hands requests to one service."""
    path = route["path"]
    match = path if path.endswith("/") else f"= {path}"
    onward = "/" if route["strip"] else ""
    upgrade = (
        '    proxy_set_header Upgrade $http_upgrade;\n    proxy_set_header Connection "upgrade";\n'
        if route["upgrade"]
        else '    proxy_set_header Connection "";\n'
    )
    return (
        f"location {match} {{\n"
        f"    proxy_pass http://sealift_{name}{onward};\n"
        f"{PROXY}{upgrade}"
        f"    proxy_read_timeout {route['timeout']}s;\n"
        f"    proxy_send_timeout {route['timeout']}s;\n"
        f"    client_max_body_size {route['body_limit']};\n"
        f"}}\n"
    )


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text()))
