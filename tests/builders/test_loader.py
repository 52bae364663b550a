"""Recipes: what they turn into, and one clear error for each thing that is wrong with one."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.fields import RecipeError
from builders.loader import load_recipe, load_recipes
from builders.recipe import Certificate, Health, Kind, Probe, Recipe, Route, SourceSpec, Web
from builders.recipe_service import RESERVED
from builders.recipe_words import LONGEST_NAME, name_fault
from builders.scripts import pex

PEX = """\
kind: pex
source: backend
service:
  port: 5010
  app: app:app
  health:
    http: /api/health
"""
DIST = "kind: dist\nsource: web\nroute: /web/\n"
PLAIN = "kind: deb\npackages: [one]\n"


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


def load(folder: Path, text: str, name: str = "thing") -> Recipe:
    return load_recipe(write(folder, name, text))


def refused(folder: Path, text: str, name: str = "thing") -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load(folder, text, name)
    return caught.value


def site(folder: Path, **recipes: str) -> Path:
    """Lay recipes with the toolchains that they need by default."""
    for name in (
        "base",
        "python-3.11",
        "python-tools",
        "node-20",
        "nginx",
        "openssl",
        "supervisor",
    ):
        write(folder, f"toolchains/{name}", PLAIN)
    for name, text in recipes.items():
        write(folder, name, text)
    return folder


def test_the_names_that_state_may_not_have_are_those_of_the_artefact() -> None:
    assert RESERVED == pex.RESERVED


def test_a_missing_toolchain_says_where_to_have_it_from(tmp_path: Path) -> None:
    site(tmp_path, backend=PEX)
    (tmp_path / "toolchains" / "base.yaml").unlink()
    error = refused_all(tmp_path)
    assert "needs 'base' as its base" in error.reason
    assert "copy toolchains/, services/" in str(error.hint)


def refused_all(folder: Path) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load_recipes(folder)
    return caught.value


def test_a_full_recipe(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        """\
        kind: pex
        description: Everything at once
        source:
          path: sources/backend
          subdir: inner/
          include: [dist/kept.js, .env.production]
          exclude: [tests/]
          allow_secrets: [cert/test.pem]
        lock: special.toml
        inputs:
          python: python-3.12
        requirements: deps.txt
        smoke: package.app
        extra_requirements: []
        glibc: 2.31
        service:
          port: 5010
          app: package.app:create_app()
          config: conf/gunicorn.py
          health: {http: /api/health, timeout: 2.5}
          state: [logs/, database/site.db]
          env: {MODE: fast, PORT: "{port}"}
          secrets: [JWT_SECRET_KEY, {certificate: CERT, key: KEY}, {certificate: CA}]
          routes:
            - /api/
            - {path: /ws, upgrade: true, timeout: 3600, body_limit: 1g}
        """,
    )
    assert recipe.name == "thing"
    assert recipe.kind is Kind.PEX
    assert recipe.source == SourceSpec(
        "sources/backend",
        "inner",
        include=("dist/kept.js", ".env.production"),
        exclude=("tests/",),
        allow_secrets=("cert/test.pem",),
    )
    assert recipe.lock == "special.toml"
    assert recipe.inputs == {"base": "base", "python": "python-3.12", "tools": "python-tools"}
    assert recipe.options == {
        "requirements": "deps.txt",
        "extra_requirements": (),
        "glibc": "2.31",
        "smoke": "package.app",
    }
    service = recipe.service
    assert service is not None
    assert (service.port, service.app) == (5010, "package.app:create_app()")
    assert service.config == "conf/gunicorn.py"
    assert service.health == Health(Probe.HTTP, "/api/health", 2.5)
    assert service.state == ("logs/", "database/site.db")
    assert service.env == {"MODE": "fast", "PORT": "{port}"}
    assert service.secrets == ("JWT_SECRET_KEY", "CERT", "KEY", "CA")
    assert service.certificates == (
        Certificate("CERT", "KEY", "CERT"),
        Certificate("CA"),
    )
    assert service.routes == (
        Route("/api/"),
        Route("/ws", upgrade=True, timeout=3600, body_limit="1g"),
    )


def test_a_recipe_cannot_be_changed(tmp_path: Path) -> None:
    recipe = load(tmp_path, PEX)
    for values in (recipe.inputs, recipe.env, recipe.options):
        with pytest.raises(TypeError):
            values["new"] = "x"  # type: ignore[index]


DEFAULTS = {
    "pex": (
        PEX,
        {"base": "base", "python": "python-3.11", "tools": "python-tools"},
        {
            "requirements": "requirements.txt",
            "extra_requirements": ("gunicorn",),
            "glibc": "2.28",
        },
    ),
    "env": (
        "kind: env\nrequirements: [pex==2.105.2]\n",
        {"base": "base", "python": "python-3.11"},
        {"requirements": ("pex==2.105.2",), "glibc": "2.28"},
    ),
    "dist": (
        DIST,
        {"base": "base", "python": "python-3.11", "node": "node-20"},
        {"script": "build", "output": "dist", "install_scripts": ()},
    ),
    "node service": (
        "kind: node\nsource: idp\n",
        {"base": "base", "python": "python-3.11", "node": "node-20"},
        {"skip_install_scripts": ()},
    ),
    "deb": (
        PLAIN,
        {},
        {"packages": ("one",), "executables": (), "prune": (), "merge_usr": False},
    ),
    "python": (
        "kind: toolchain\nlanguage: python\nversion: 3.11\npackages: [python3.11]\n",
        {},
        {
            "language": "python",
            "version": "3.11",
            "packages": ("python3.11",),
            "prune": (),
        },
    ),
    "node": (
        "kind: toolchain\nlanguage: node\nversion: 20.20.2\nnpm: 11.1.0\n",
        {
            "base": "base",
            "patchelf": "patchelf",
            "python": "python-3.11",
            "runtime": "cxx-runtime",
            "tools": "python-tools",
        },
        {"language": "node", "version": "20.20.2", "npm": "11.1.0", "from": "npm"},
    ),
    "release": (
        "kind: release\n",
        {
            "base": "base",
            "python": "python-3.11",
            "nginx": "nginx",
            "openssl": "openssl",
            "supervisor": "supervisor",
        },
        {"web": Web(80, 443, "TLS_CERT", "TLS_KEY")},
    ),
}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults_are_filled_in(tmp_path: Path, kind: str) -> None:
    text, inputs, options = DEFAULTS[kind]
    recipe = load(tmp_path, text)
    assert recipe.inputs == inputs
    assert recipe.options == options


@pytest.mark.parametrize(
    ("said", "web"),
    [
        ("{}", Web(80, 443)),
        ("{http: 8080, https: 8443}", Web(8080, 8443)),
        ("{tls: false, http: 8080}", Web(8080, None)),
        ("{certificate: CERT, key: KEY}", Web(80, 443, "CERT", "KEY")),
    ],
)
def test_what_the_web_server_listens_on(tmp_path: Path, said: str, web: Web) -> None:
    assert load(tmp_path, f"kind: release\nweb: {said}\n").options["web"] == web


def test_how_systemd_runs_a_service(tmp_path: Path) -> None:
    found = load(tmp_path, in_service("  concurrent: false\n  limits: {cpu: 150%, files: 4096}"))
    assert found.service is not None
    assert (found.service.socket, found.service.concurrent) == (None, False)
    assert found.service.limits == {"cpu": "150%", "files": "4096"}


def test_a_project_may_be_the_source_of_an_environment(tmp_path: Path) -> None:
    text = "kind: env\nrequirements: [one]\n"
    assert load(tmp_path, text).source is None
    assert load(tmp_path, text + "source: tool\n").source == SourceSpec("tool")


def in_service(line: str) -> str:
    return PEX + line + "\n"


WRONG = {
    # What it is, and what it may say.
    "no kind": ("source: x\n", "1:1", "key 'kind' is missing", None),
    "unknown kind": ("kind: pexx\n", "1:7", "unknown kind 'pexx'", "did you mean 'pex'?"),
    "kind as a list": ("kind: [pex]\n", "1:7", "wrong type", None),
    "a list": ("- kind: pex\n", "1:1", "wrong type", None),
    "unknown key": (PEX + "sorce: x\n", "8:1", "unknown key 'sorce'", "did you mean 'source'?"),
    "key of another kind": (PEX + "npm: 11\n", "8:1", "unknown key 'npm'", None),
    "service of a dist": (
        "kind: dist\nsource: w\nservice: {}\n",
        "3:1",
        "unknown key 'service'",
        None,
    ),
    "source of a deb": (PLAIN + "source: x\n", "3:1", "unknown key 'source'", None),
    "no source": ("kind: pex\n", "1:1", "key 'source' is missing", None),
    "no packages": ("kind: deb\n", "1:1", "key 'packages' is missing", None),
    "empty packages": ("kind: deb\npackages: []\n", "2:11", "the list is empty", None),
    "no language": ("kind: toolchain\nversion: 3.11\n", "1:1", "key 'language' is missing", None),
    "unknown language": (
        "kind: toolchain\nlanguage: pyton\n",
        "2:11",
        "unknown language 'pyton'",
        "did you mean 'python'?",
    ),
    "unknown origin of node": (
        "kind: toolchain\nlanguage: node\nversion: 20.1.0\nnpm: 11.1.0\nfrom: nodejs\n",
        "5:7",
        "'nodejs' is not taken",
        None,
    ),
    "version that is no version": (PEX + "glibc: new\n", "8:8", "'new' is no version", None),
    "bad package name": ("kind: deb\npackages: [Libc_6]\n", "2:12", "no Debian package name", None),
    "bad npm name": (
        DIST + "install_scripts: ['../x']\n",
        "4:19",
        "'../x' is no npm package name",
        None,
    ),
    # Sources.
    "source that climbs": ("kind: pex\nsource: ../x\n", "2:9", "does not stay", None),
    "source that climbs inside": ("kind: pex\nsource: a/../../x\n", "2:9", "does not stay", None),
    "absolute source": ("kind: pex\nsource: /etc\n", "2:9", "does not stay", None),
    "empty source": ("kind: pex\nsource: ''\n", "2:9", "empty text", None),
    "source with a line break": ('kind: pex\nsource: "a\\nb"\n', "2:9", "control character", None),
    "source without path": ("kind: pex\nsource: {subdir: x}\n", "2:9", "'path' is missing", None),
    "subdir that climbs": (
        "kind: pex\nsource: {path: x, subdir: ../y}\n",
        "2:27",
        "does not stay",
        None,
    ),
    "unknown key of a source": (
        "kind: pex\nsource: {path: x, includes: [y]}\n",
        "2:19",
        "unknown key 'includes'",
        "did you mean 'include'?",
    ),
    "pattern that negates": (
        "kind: pex\nsource: {path: x, exclude: ['!y']}\n",
        "2:29",
        "starts with '!'",
        None,
    ),
    "pattern that climbs": (
        "kind: pex\nsource: {path: x, include: [../y]}\n",
        "2:29",
        "leads out",
        None,
    ),
    "lock that climbs": (PEX + "lock: ../lock\n", "8:7", "does not stay", None),
    # Inputs.
    "input that is no name": (PEX + "inputs: {python: ../x}\n", "8:18", "no recipe name", None),
    "role that is no word": (PEX + "inputs: {'a b': x}\n", "8:10", "'a b' is no role", None),
    # Environment.
    "environment as a list": (DIST + "env: [A=1]\n", "4:6", "wrong type", None),
    "bad variable": (DIST + "env: {1A: x}\n", "4:7", "no name of an environment variable", None),
    "environment of no command": (PEX + "env: {A: x}\n", "8:1", "unknown key", None),
    # Services.
    "no port": (
        "kind: pex\nsource: x\nservice: {app: 'a:b', health: {tcp: true}}\n",
        "3:10",
        "key 'port' is missing",
        None,
    ),
    "no health": (
        "kind: pex\nsource: x\nservice: {app: 'a:b', port: 1}\n",
        "3:10",
        "key 'health' is missing",
        None,
    ),
    "port as text": (PEX.replace("5010", "'5010'"), "4:9", "wrong type", None),
    "port out of range": (PEX.replace("5010", "70000"), "4:9", "out of range", None),
    "unknown key of a service": (
        in_service("  worker: 2"),
        "8:3",
        "unknown key 'worker'",
        None,
    ),
    "app and command": (in_service("  command: [python, x.py]"), "4:3", "either `app` or", None),
    "neither app nor command": (PEX.replace("  app: app:app\n", ""), "4:3", "either `app`", None),
    "app that is none": (PEX.replace("app:app", "app.py"), "5:8", "no gunicorn application", None),
    "config without app": (
        PEX.replace("app: app:app", "command: [python, x.py]\n  config: c.py"),
        "6:11",
        "`config` is gunicorn's",
        None,
    ),
    "command as text": (
        PEX.replace("app: app:app", "command: python x.py"),
        "5:12",
        "wrong type",
        "command: [python, x.py]",
    ),
    "empty command": (PEX.replace("app: app:app", "command: []"), "5:12", "is empty", None),
    # What systemd makes of them.
    "limit of an unknown kind": (
        in_service("  limits: {memry: 2G}"),
        "8:12",
        "unknown key 'memry'",
        "did you mean 'memory'?",
    ),
    "memory in bytes": (in_service("  limits: {memory: 1024}"), "8:20", "'1024' is no limit", None),
    "share without a sign": (in_service("  limits: {cpu: 2}"), "8:17", "'2' is no limit", None),
    "limit with more behind it": (
        in_service("  limits: {memory: '2G User=root'}"),
        "8:20",
        "is no limit",
        None,
    ),
    "no tasks": (in_service("  limits: {tasks: 0}"), "8:19", "out of range", None),
    "too few files": (in_service("  limits: {files: 3}"), "8:19", "out of range", None),
    "two at one port": (
        PEX.replace("app: app:app", "command: [python, x.py]\n  concurrent: true"),
        "6:15",
        "two instances cannot open one port",
        None,
    ),
    "two without the socket": (
        in_service("  socket: false\n  concurrent: true"),
        "9:15",
        "two instances cannot open one port",
        None,
    ),
    "a head's URL in the environment": (
        in_service("  env: {SITE: '{url}/x'}"),
        "8:15",
        "{url} is for commands",
        "take it in the command, or read the variable SEALIFT_URL",
    ),
    "web server without TLS at a port for it": (
        "kind: release\nweb: {tls: false, https: 443}\n",
        "2:26",
        "`https` is of no use",
        None,
    ),
    "web server with one port for both": (
        "kind: release\nweb: {https: 80}\n",
        "2:14",
        "are one port",
        None,
    ),
    "web server with one secret for both": (
        "kind: release\nweb: {certificate: A, key: A}\n",
        "2:6",
        "are one secret",
        None,
    ),
    "two probes": (in_service("    tcp: true"), "7:5", "exactly one probe", None),
    "no probe": (PEX.replace("http: /api/health", "timeout: 3"), "7:5", "exactly one probe", None),
    "probe that asks for nothing": (
        PEX.replace("http: /api/health", "tcp: false"),
        "7:10",
        "`tcp: false`",
        None,
    ),
    "probe of no path": (
        PEX.replace("/api/health", "api/health"),
        "7:11",
        "'api/health' is no request path",
        None,
    ),
    "probe that never ends": (in_service("    timeout: 99999"), "8:14", "out of range", None),
    "state that climbs": (in_service("  state: [../x]"), "8:11", "does not stay", None),
    "absolute state": (in_service("  state: [/var/x]"), "8:11", "does not stay", None),
    "state with the artefact's own name": (
        in_service("  state: [data/, .sealift/x]"),
        "8:18",
        "'.sealift/x' is a name of sealift's own",
        None,
    ),
    "state that is the artefact's own": (
        in_service("  state: [sealift.json]"),
        "8:11",
        "'sealift.json' is a name of sealift's own",
        None,
    ),
    "state twice with a slash": (in_service("  state: [logs, logs/]"), "8:11", "lies in", None),
    "environment with both quotes": (
        in_service("  env: {A: x, B: 'a\"b''c'}"),
        "8:18",
        "cannot carry the value of B",
        None,
    ),
    "environment with a quote at its end": (
        in_service("  env: {A: ab'}"),
        "8:12",
        "cannot carry the value of A",
        None,
    ),
    "environment that is not printable": (
        in_service("  env: {A: a\u00a0b}"),
        "8:12",
        "not printable",
        None,
    ),
    "command that is not printable": (
        PEX.replace("app: app:app", "command: [python, 'x\u00a0.py']"),
        "5:21",
        "not printable",
        None,
    ),
    "health in one word": (
        PEX.replace("health:\n    http: /api/health", "health: tcp"),
        "6:11",
        "wrong type",
        "health: {tcp: true}",
    ),
    "route of sealift's own": (
        in_service("  route: /.well-known/sealift/x"),
        "8:10",
        "is sealift's own",
        "choose another path",
    ),
    "web root at sealift's own": (
        DIST.replace("/web/", "/.well-known/sealift/"),
        "3:8",
        "is sealift's own",
        "choose another path",
    ),
    "state twice": (in_service("  state: [logs, logs]"), "8:17", "listed twice", None),
    "state in state": (in_service("  state: [logs/, logs/a]"), "8:18", "lies in state", None),
    "secrets with values": (
        in_service("  secrets: {A: b}"),
        "8:12",
        "`secrets` are names",
        "the values stay on the head: list the names alone",
    ),
    "secret twice": (in_service("  secrets: [A, A]"), "8:16", "listed twice", None),
    "secret and certificate": (
        in_service("  secrets: [A, {certificate: A}]"),
        "8:30",
        "'A' is listed twice",
        None,
    ),
    "certificate that is its own key": (
        in_service("  secrets: [{certificate: A, key: A}]"),
        "8:35",
        "'A' is listed twice",
        None,
    ),
    "key without certificate": (
        in_service("  secrets: [{key: A}]"),
        "8:13",
        "key 'certificate' is missing",
        None,
    ),
    "subject without key": (
        in_service("  secrets: [{certificate: A, subject: us}]"),
        "8:39",
        "made with its key has a `subject`",
        "name the `key` too, or take the subject out",
    ),
    "long subject": (
        in_service(f"  secrets: [{{certificate: A, key: B, subject: {'x' * 65}}}]"),
        "8:47",
        "the subject is too long",
        None,
    ),
    "unknown key of a certificate": (
        in_service("  secrets: [{certificate: A, days: 3}]"),
        "8:30",
        "unknown key 'days'",
        None,
    ),
    "certificate with a value": (
        in_service("  secrets: [{certificate: 'A=b'}]"),
        "8:27",
        "no name of an environment variable",
        None,
    ),
    "key that is in env": (
        in_service("  env: {B: x}\n  secrets: [{certificate: A, key: B}]"),
        "9:35",
        "both in `env` and in `secrets`",
        "keep one",
    ),
    "credentials without secrets": (
        in_service("  env: {CERT: '{credentials}/A'}"),
        "8:15",
        "the service has no `secrets`",
        None,
    ),
    "secret in a variable that is none": (
        in_service("  env: {URL: 'redis://:{secret:A}@h/0'}\n  secrets: [B]"),
        "8:14",
        "{secret:A} names no secret",
        None,
    ),
    "key in a variable": (
        in_service("  env: {X: '{secret:K}'}\n  secrets: [{certificate: C, key: K}]"),
        "8:12",
        "{secret:K} names no secret",
        None,
    ),
    "secret in a command": (
        in_service("  secrets: [A]").replace("app: app:app", "command: [python, '{secret:A}']"),
        "5:21",
        "a secret in a command line",
        "take it in `env`, or as a file: {credentials}/NAME",
    ),
    "secret also given": (
        in_service("  env: {A: x}\n  secrets: [A]"),
        "9:13",
        "both in `env` and in `secrets`",
        "keep one",
    ),
    # Routes go into nginx's configuration.
    "route that breaks out": (
        in_service("  route: '/api/; return 200'"),
        "8:10",
        "is no request path",
        None,
    ),
    "route that climbs": (in_service("  route: /a/../b/"), "8:10", "is no request path", None),
    "route with a double slash": (in_service("  route: /a//b/"), "8:10", "no request path", None),
    "relative route": (in_service("  route: api/"), "8:10", "is no request path", None),
    "route and routes": (
        in_service("  route: /a/\n  routes: [/b/]"),
        "9:11",
        "both `route` and `routes`",
        "keep one",
    ),
    "route twice": (in_service("  routes: [/a/, /a/]"), "8:17", "listed twice", None),
    "nothing to strip": (
        in_service("  route: {path: /ws, strip: true}"),
        "8:29",
        "nothing to strip",
        None,
    ),
    "body limit that breaks out": (
        in_service("  route: {path: /a/, body_limit: '1m; x'}"),
        "8:34",
        "'1m; x' is no size",
        None,
    ),
    "route of a dist without slash": (
        "kind: dist\nsource: w\nroute: /web\n",
        "3:8",
        "of a web root",
        None,
    ),
    "strip of a dist": (
        "kind: dist\nsource: w\nroute: {path: /web/, strip: true}\n",
        "3:22",
        "unknown key 'strip'",
        None,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(tmp_path: Path, case: str) -> None:
    text, place, reason, hint = WRONG[case]
    error = refused(tmp_path, text)
    assert reason in error.reason
    assert error.where == f"{tmp_path}/thing.yaml:{place}"
    assert error.slug == "bad-recipe"
    if hint is not None:
        assert error.hint == hint


SECRETS = {
    "password": "DB_PASSWORD: hunter2-hunter2",
    "key": "JWT_SECRET_KEY: hunter2-hunter2",
    "with a line break": 'JWT_SECRET_KEY: "hunter2-hunter2\\nx"',
    "in a URL": "DATABASE_URL: mysql://dash:hunter2-hunter2@db/dash",
}


@pytest.mark.parametrize("case", SECRETS)
@pytest.mark.parametrize("place", ["build", "service"])
def test_a_secret_in_a_recipe_is_refused_and_not_shown(
    tmp_path: Path, case: str, place: str
) -> None:
    indent, before, line = ("  ", PEX, 9) if place == "service" else ("", DIST, 5)
    error = refused(tmp_path, f"{before}{indent}env:\n{indent}  {SECRETS[case]}\n")
    name = SECRETS[case].partition(":")[0]
    assert name in error.reason
    assert (error.where or "").endswith(f"thing.yaml:{line}:{len(name) + len(indent) + 5}")
    assert "hunter2" not in f"{error.reason} {error.expected} {error.got} {error.hint}"


def test_a_value_among_the_names_of_secrets_is_not_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, in_service("  secrets: ['JWT_SECRET_KEY=hunter2']"))
    assert "'JWT_SECRET_KEY=…'" in error.reason
    assert "hunter2" not in f"{error.reason} {error.expected} {error.got} {error.hint}"


@pytest.mark.parametrize("value", ["${DB_PASSWORD}", "{state}", "''", "redis://127.0.0.1:6379/0"])
def test_what_refers_to_a_secret_is_none(tmp_path: Path, value: str) -> None:
    load(tmp_path, in_service(f"  env: {{DB_PASSWORD_URL: '{value}'}}".replace("''''", "''")))


BAD_NAMES = {
    "..": "is no recipe name",
    "a/b": "is no recipe name",
    "a\nb": "is no recipe name",
    "": "is no recipe name",
    ".hidden": "is no recipe name",
    "-x": "is no recipe name",
    "a b": "is no recipe name",
    "größe": "is no recipe name",
    "a;b": "is no recipe name",
    "x" * 300: "a name of 300 characters; 64 are the most",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names(name: str) -> None:
    assert BAD_NAMES[name] in (name_fault(name) or "")


@pytest.mark.parametrize("name", ["a\nb", "größe", "x" * 65, "a b", "-x"])
def test_a_file_whose_name_is_no_recipe_name(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path, PLAIN, name)
    assert error.hint == "a recipe's name is that of its file: rename it"


@pytest.mark.parametrize("name", ["a/b", "..", "a\\nb", "x" * 300])
@pytest.mark.parametrize("place", ["inputs: {{python: {}}}", "services: [{}]"])
def test_names_inside_a_recipe(tmp_path: Path, place: str, name: str) -> None:
    text = "kind: release\n" + place.format(f'"{name}"') + "\n"
    error = refused(tmp_path, text)
    assert (error.where or "").startswith(f"{tmp_path}/thing.yaml:2:")


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_names_that_are_taken(name: str) -> None:
    assert len(name) > LONGEST_NAME or name_fault(name) is None


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="recipe 'thing' does not exist"):
        load_recipe(tmp_path / "thing.yaml")


def test_a_recipe_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "thing.yaml")
    with pytest.raises(RecipeError, match="not a regular file"):
        load_recipe(tmp_path / "thing.yaml")


def test_all_recipes_sorted_by_name(tmp_path: Path) -> None:
    folder = site(tmp_path, **{"backends/b": PEX, "frontends/a": DIST, "release": "kind: release"})
    write(folder, "locks/a", "this: is no recipe")
    write(folder, ".draft", "nor: is this")
    (folder / "notes.txt").write_text("nor this")
    brought = ["base", "nginx", "node-20", "openssl", "python-3.11", "python-tools"]
    assert list(load_recipes(folder)) == ["a", "b", *brought, "release", "supervisor"]


def test_no_recipes_folder(tmp_path: Path) -> None:
    error = refused_all(tmp_path / "nowhere")
    assert error.reason == "the recipes folder does not exist"
    assert error.hint == "set `recipes:` in sealift.yaml"


def test_two_recipes_of_one_name(tmp_path: Path) -> None:
    error = refused_all(site(tmp_path, **{"a/same": PLAIN, "b/same": PLAIN}))
    assert error.reason == "two recipes are named 'same'"
    assert error.where == f"{tmp_path}/b/same.yaml"
    assert error.got == f"{tmp_path}/a/same.yaml"


def test_an_input_that_does_not_exist(tmp_path: Path) -> None:
    error = refused_all(site(tmp_path, web=DIST + "inputs:\n  node: node-02\n"))
    assert "recipe 'web' needs 'node-02' as its node" in error.reason
    assert error.where == f"{tmp_path}/web.yaml:5:9"
    assert error.hint == "did you mean 'node-20'?"


def test_a_default_input_that_does_not_exist(tmp_path: Path) -> None:
    write(tmp_path, "web", DIST)
    error = refused_all(tmp_path)
    assert "recipe 'web' needs 'base' as its base" in error.reason
    assert error.where == f"{tmp_path}/web.yaml:1:1"


def circle(*names: str) -> dict[str, str]:
    return {
        name: f"{PLAIN}inputs: {{next: {names[(at + 1) % len(names)]}}}\n"
        for at, name in enumerate(names)
    }


@pytest.mark.parametrize("names", ["a", "ab", "abcdefgh"])
def test_a_circle_is_shown_as_it_goes(tmp_path: Path, names: str) -> None:
    error = refused_all(site(tmp_path, **circle(*names)))
    shown = error.reason.partition("in a circle: ")[2].split(" → ")
    assert shown[0] == shown[-1]
    start = names.index(shown[0])
    assert shown == [*(names[start:] + names[:start]), shown[0]]
    assert (error.where or "").startswith(f"{tmp_path}/{shown[0]}.yaml:3:")


def test_a_circle_through_the_release(tmp_path: Path) -> None:
    folder = site(tmp_path, release="kind: release\n", web=DIST + "inputs: {whole: release}\n")
    assert "web → release → web" in refused_all(folder).reason.replace(
        "release → web → release", "web → release → web"
    )


def test_a_chain_of_a_thousand_is_no_circle(tmp_path: Path) -> None:
    for at in range(1000):
        link = f"inputs: {{next: r{at + 1}}}\n" if at < 999 else ""
        write(tmp_path, f"r{at}", PLAIN + link)
    assert len(load_recipes(tmp_path)) == 1000


def test_release_members(tmp_path: Path) -> None:
    folder = site(tmp_path, api=PEX, release="kind: release\nservices: [apy]\n")
    error = refused_all(folder)
    assert error.reason == "release member 'apy' does not exist"
    assert error.where == f"{tmp_path}/release.yaml:2:11"
    assert error.hint == "did you mean 'api'?"


def test_a_release_member_that_neither_runs_nor_shows(tmp_path: Path) -> None:
    error = refused_all(site(tmp_path, release="kind: release\nservices: [base]\n"))
    assert error.reason == "release member 'base' has neither `service` nor `route`"


def test_two_members_on_one_port(tmp_path: Path) -> None:
    folder = site(tmp_path, one=PEX, other=PEX, release="kind: release\n")
    error = refused_all(folder)
    assert error.reason == "port 5010 is claimed by 'one' and by 'other'"
    assert error.where == f"{tmp_path}/other.yaml:4:9"


def test_two_members_at_one_route(tmp_path: Path) -> None:
    folder = site(tmp_path, one=PEX + "  route: /web/\n", two=DIST, release="kind: release\n")
    error = refused_all(folder)
    assert error.reason == "route /web/ is claimed by 'one' and by 'two'"
    assert error.where == f"{tmp_path}/two.yaml:3:8"


PAIRED = PEX.replace("5010", "{port}") + "  secrets: [{{certificate: A, key: {key}}}]\n"


def test_two_members_that_mean_different_pairs(tmp_path: Path) -> None:
    one, two = PAIRED.format(port=5010, key="B"), PAIRED.format(port=5011, key="C")
    folder = site(tmp_path, one=one, two=two, release="kind: release\n")
    error = refused_all(folder)
    assert error.reason == "the secret A is of one pair in 'one' and of another in 'two'"
    assert error.where == f"{tmp_path}/two.yaml:8:12"
    alone = PAIRED.format(port=5011, key="C").replace(", key: C", "")
    write(folder, "two", alone)
    assert "two" in load_recipes(folder)


def test_the_port_of_a_service_that_is_not_there(tmp_path: Path) -> None:
    text = PEX + "  env: {OTHER: 'http://127.0.0.1:{port:otter}/'}\n"
    other = PEX.replace("5010", "5011")
    folder = site(tmp_path, one=text, other=other, release="kind: release\n")
    error = refused_all(folder)
    assert error.reason == "'one' asks for the port of 'otter', which is not in the release"
    assert error.hint == "did you mean 'other'?"
    for name in ("other", "nginx", "one"):
        write(folder, "one", text.replace("otter", name))
        assert "one" in load_recipes(folder)


def test_the_same_port_twice_is_no_matter_outside_of_a_release(tmp_path: Path) -> None:
    folder = site(tmp_path, one=PEX, other=PEX, release="kind: release\nservices: [one]\n")
    assert "other" in load_recipes(folder)


def test_the_recipes_of_the_example_platform() -> None:
    recipes = load_recipes(Path(__file__).parents[2] / "recipes")
    ports = {recipe.service.port for recipe in recipes.values() if recipe.service}
    paths = {route.path for recipe in recipes.values() for route in recipe.routes}
    assert ports == {4430, 5000, 5001, 5010, 5011, 7000, 8004}
    assert paths == {"/", "/app/", "/cae/", "/dashboard/", "/moonlight/", "/vnc/"}
    assert recipes["kooCAEWebServer_5000"].service is not None
    assert [r.timeout for r in recipes["kooCAEWebServer_5000"].service.routes] == [300]
