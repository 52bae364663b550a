"""Real Node services: the identity provider of the example, and what secrets look like inside."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import dist_lock
from builders.npm_lock import GitDependencyError
from builders.npm_platform import production
from builders.npm_project import read_lock
from tests.builders.test_dist_real import EXAMPLES, Site, hidden, same, site
from tests.builders.workbench import works
from tests.deploy.synthetic import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["site"]
pytestmark = [
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(not works(), reason="bubblewrap cannot make a sandbox here"),
]
PROVIDER = EXAMPLES / "saml_idp_7000"
SECRETS: list[Any] = ["TOKEN", {"certificate": "CERT", "key": "KEY"}]
TELL = """\
const { execFileSync } = require("node:child_process");
const told = {
  main: require.main === module,
  token: process.env.TOKEN,
  certificate: process.env.CERT,
  key: process.env.KEY,
  words: process.argv.slice(2),
  child: execFileSync(process.execPath, ["-p", "process.env.TOKEN"]).toString().trim(),
};
console.log(JSON.stringify(told));
"""


def service(*command: str, **said: Any) -> dict[str, Any]:
    return {"port": 7000, "command": ["node", *command], "health": {"tcp": True}, **said}


def command(out: Path, *fill: tuple[str, str]) -> list[str]:
    """Give a service's command as a head fills it in."""
    words: list[str] = json.loads((out / "sealift.json").read_text())["service"]["command"]
    for word, value in (("{path}", str(out)), *fill):
        words = [each.replace(word, value) for each in words]
    return words


def run(out: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(out), env=env, capture_output=True, text=True, check=False, timeout=60, cwd=out
    )


def add(site: Site, name: str, said: Mapping[str, Any], source: Path | None = None) -> Path:
    """Add a service, with a copy of its source; give the copy."""
    recipe = {"kind": "node", "source": name, "service": said}
    (site.folder / "recipes" / f"{name}.yaml").write_text(json.dumps(recipe))
    target = site.folder / "src" / name
    if source is not None:
        shutil.copytree(source, target)
    return target


def add_plain(site: Site, name: str, files: Mapping[str, str], said: Mapping[str, Any]) -> Path:
    """Add a service without packages, and give what is built of it."""
    folder = add(site, name, said)
    folder.mkdir()
    manifest = {"name": name, "version": "1.0.0"}
    lock = {**manifest, "lockfileVersion": 3, "packages": {"": manifest}}
    texts = {"package.json": json.dumps(manifest), "package-lock.json": json.dumps(lock), **files}
    for place, text in texts.items():
        (folder / place).write_text(text)
    try:
        return site.out(name)
    finally:
        shutil.rmtree(folder)
        (site.folder / "recipes" / f"{name}.yaml").unlink()


def test_secrets_are_variables_before_the_service_begins_and_keys_are_files(
    site: Site, tmp_path: Path
) -> None:
    said = service("tell.js", "--x", secrets=SECRETS)
    out = add_plain(site, "tells", {"tell.js": TELL}, said)
    for name in ("TOKEN", "CERT", "KEY"):
        (tmp_path / name).write_text(f"{name} in\ntwo lines\n")
    told = json.loads(run(out, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).stdout)
    assert told == {
        "main": True,
        "token": "TOKEN in\ntwo lines",
        "certificate": "CERT in\ntwo lines",
        "words": ["--x"],
        "child": "TOKEN in\ntwo lines",
    }
    (tmp_path / "TOKEN").unlink()
    ended = run(out, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert ended.returncode == 1
    assert f"secret TOKEN: no such file in CREDENTIALS_DIRECTORY='{tmp_path}'" in ended.stderr
    by_hand = {"TOKEN": "from elsewhere", "CERT": "c"}
    assert json.loads(run(out, by_hand).stdout)["token"] == "from elsewhere"


def test_a_variable_can_hold_a_secret(site: Site, tmp_path: Path) -> None:
    env = {"ADDRESS": "redis://:{secret:TOKEN}@h/0", "PLAIN": "{secret:TOKEN}"}
    text = "console.log(JSON.stringify([process.env.ADDRESS, process.env.PLAIN]));\n"
    said = {**service("fill.js", secrets=["TOKEN"]), "env": env}
    out = add_plain(site, "fills", {"fill.js": text}, said)
    (tmp_path / "TOKEN").write_text("p@ss/w%rd\n")
    told = json.loads(run(out, {"CREDENTIALS_DIRECTORY": str(tmp_path), **env}).stdout)
    assert told == ["redis://:p%40ss%2Fw%25rd@h/0", "p@ss/w%rd"]


@pytest.mark.parametrize(("name", "text"), [("script.js", "const = 3;"), ("module.mjs", "import;")])
def test_what_node_cannot_read_is_not_built(site: Site, name: str, text: str) -> None:
    with pytest.raises(AssertionError, match="node ended with exit code 1"):
        add_plain(site, f"broken-{name[0]}", {name: text}, service(name))


def test_a_module_is_a_service_too(site: Site) -> None:
    text = 'import { argv } from "node:process";\nawait 0;\nconsole.log(JSON.stringify(argv[2]));\n'
    said = service("serve.mjs", "{port}", secrets=["T"])
    out = add_plain(site, "modern", {"serve.mjs": text}, said)
    assert run(out, {"T": "x"}).stdout == '"{port}"\n'


def test_a_git_dependency_is_refused_when_it_is_locked(site: Site) -> None:
    source = add(site, "unlocked", service("server.js"), PROVIDER)
    manifest = json.loads((source / "package.json").read_text())
    del manifest["overrides"]
    (source / "package.json").write_text(json.dumps(manifest))
    (source / "package-lock.json").unlink()
    recipe = site.project().recipes["unlocked"]
    with pytest.raises(GitDependencyError, match="'samlp' comes from git") as caught:
        dist_lock.lock(recipe, site.source(recipe), site.project())
    assert caught.value.where == str(source / "package.json")
    assert "saml-idp@1.2.1" in str(caught.value.got)
    assert '"overrides": {"samlp": "VERSION"}' in str(caught.value.hint)


def test_the_committed_lock_is_what_npm_makes(site: Site) -> None:
    add(site, "provider", service("server.js"), PROVIDER)
    recipe = site.project().recipes["provider"]
    text = dist_lock.lock(recipe, site.source(recipe), site.project())
    assert text == (PROVIDER / "package-lock.json").read_text()


def test_our_tree_without_development_is_that_of_npm_ci(site: Site, tmp_path: Path) -> None:
    source = EXAMPLES / "kooCAEWeb_5173"
    (add(site, "lean", service("serve.js"), source) / "serve.js").touch()
    theirs = tmp_path / "lean"
    theirs.mkdir()
    for file in ("package.json", "package-lock.json"):
        shutil.copy(source / file, theirs)
    site.npm(theirs, "ci", "--ignore-scripts", "--no-audit", "--omit=dev")
    ours = site.modules("lean") / "node_modules"
    same(ours, theirs / "node_modules")
    assert hidden(ours) == hidden(theirs / "node_modules")
    made = site.project().recipes["lean"]
    tree = site.source(made)
    assert tree is not None
    lock = read_lock(made, tree, site.project())
    assert 0 < len(production(lock).packages) < len(lock.packages)


def test_the_provider_serves_with_nothing_of_the_machine_s_own(site: Site, tmp_path: Path) -> None:
    words = ("--host", "127.0.0.1", "--port", "{port}", "--cert", "{at}/CERT", "--key", "{at}/KEY")
    more = ("--audience", "a", "--acsUrl", "http://127.0.0.1:9/")
    add(site, "served", service("server.js", *words, *more), PROVIDER)
    out = site.out("served")
    for name in ("CERT", "KEY"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----\n")
    (port,) = free_ports(1)
    argv = command(out, ("{port}", str(port)), ("{at}", str(tmp_path)))
    # Nothing is on the search path, and what is written would be seen.
    process = subprocess.Popen(
        argv, env={"PATH": "/nonexistent"}, cwd=out, stdout=subprocess.DEVNULL
    )
    try:
        wait(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metadata", timeout=10) as answer:
            assert b"IDPSSODescriptor" in answer.read()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert os.path.realpath(argv[0]) in maps
        assert "/usr/lib/node" not in maps
    finally:
        process.kill()
        process.wait()


def wait(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            probe.settimeout(0.1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the service does not begin")
