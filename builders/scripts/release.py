"""Join services and web roots into a release: release.json, links, nginx/site.conf.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `out`,
`members` (name to store path) and `nginx` (store path).
"""

import json
import os
import sys
from pathlib import Path

PROXY = """\
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
"""


def main(arguments):
    out = Path(arguments["out"])
    out.mkdir()
    members = {name: read(Path(path)) for name, path in sorted(arguments["members"].items())}
    services = {n: m for n, m in members.items() if "port" in m}
    frontends = {n: m for n, m in members.items() if "root" in m}
    refuse_clashes(services, frontends)
    nginx = arguments["nginx"]
    release = {
        "format": 1,
        "services": services,
        "frontends": frontends,
        "nginx": {"path": nginx, "executable": f"{nginx}/usr/sbin/nginx"},
    }
    text = json.dumps(release, indent=2, sort_keys=True) + "\n"
    (out / "release.json").write_text(text)
    (out / "services").mkdir()
    for name, service in services.items():
        os.symlink(service["path"], out / "services" / name)
    for name, frontend in frontends.items():
        lay_web_root(out / "web" / name, frontend)
    (out / "nginx").mkdir()
    (out / "nginx" / "site.conf").write_text(site(services, frontends))


def read(path):
    """Return what a member says of itself, with its store path.

    A store object cannot hold its own path, so it says `{path}` where it means that.
    """
    said = json.loads((path / "sealift.json").read_text())
    member = said.get("service") or said["frontend"]
    return {"path": str(path), **{key: resolve(fact, str(path)) for key, fact in member.items()}}


def resolve(fact, path):
    if isinstance(fact, str):
        return fact.replace("{path}", path)
    if isinstance(fact, list):
        return [resolve(inner, path) for inner in fact]
    if isinstance(fact, dict):
        return {key: resolve(inner, path) for key, inner in fact.items()}
    return fact


def refuse_clashes(services, frontends):
    """Two members must share neither a port nor a route."""
    taken = {}
    for name, member in {**services, **frontends}.items():
        claims = [f"route {route['path']}" for route in member["routes"]]
        if "port" in member:
            claims.append(f"port {member['port']}")
        for claim in claims:
            if claim in taken:
                sys.exit(f"{claim} is claimed by both {taken[claim]} and {name}")
            taken[claim] = name


def lay_web_root(root, frontend):
    """Lay a folder in which a request's path finds its file: `<root>/dashboard -> …/web`."""
    target = f"{frontend['path']}/{frontend['root']}"
    for route in frontend["routes"]:
        place = root / route["path"].strip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, place)


def site(services, frontends):
    """Return nginx's locations; relative roots start at the head's folder (nginx -p)."""
    parts = [web(n, r["path"]) for n, f in frontends.items() for r in f["routes"]]
    parts += [proxy(n, r) for n, s in services.items() for r in s["routes"]]
    return "\n".join(parts)


def web(name, path):
    root = f"profiles/system/web/{name}"
    bare = "" if path == "/" else f"location = {path[:-1]} {{ return 301 {path}; }}\n"
    return (
        f"{bare}"
        f"location {path} {{\n"
        f"    root {root};\n"
        f'    add_header Cache-Control "no-cache";\n'
        f'    add_header X-Content-Type-Options "nosniff";\n'
        f"    try_files $uri {path}index.html;\n"
        f"}}\n"
        f"location ^~ {path}assets/ {{\n"
        f"    root {root};\n"
        f'    add_header Cache-Control "public, max-age=31536000, immutable";\n'
        f'    add_header X-Content-Type-Options "nosniff";\n'
        f"    try_files $uri =404;\n"
        f"}}\n"
    )


def proxy(name, route):
    path = route["path"]
    match = path if path.endswith("/") else f"= {path}"
    onward = "/" if route["strip"] else ""
    upgrade = (
        "        proxy_set_header Upgrade $http_upgrade;\n"
        '        proxy_set_header Connection "upgrade";\n'
        if route["upgrade"]
        else '        proxy_set_header Connection "";\n'
    )
    lines = (
        f"location {match} {{\n"
        f"        proxy_pass http://sealift_{name}{onward};\n"
        f"{PROXY}{upgrade}"
        f"        proxy_read_timeout {route['timeout']}s;\n"
        f"        proxy_send_timeout {route['timeout']}s;\n"
        f"        client_max_body_size {route['body_limit']};\n"
        f"}}\n"
    )
    return lines.replace("        ", "    ")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
