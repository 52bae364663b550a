"""The release's own script: what it lays, and that a head reads it as it was meant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders.scripts.release import main
from deploy.release import PhaseOf, Systemd, Unit
from deploy.release_file import load
from deploy.units import units

HASHES = ("0123456789abcdfghijklmnpqrsvwxyz", "zyxwvsrqpnmlkjihgfdcba9876543210")
HEAD = {
    "store_dir": "/opt/sealift/store",
    "var_dir": "/opt/sealift/var",
    "state_dir": "/var/lib/sealift",
    "http": 80,
    "https": 443,
}
WEB = {"certificate": "TLS_CERT", "key": "TLS_KEY"}
SAID = {
    "port": 5000,
    "cwd": "{path}",
    "command": ["/bin/sh", "{path}/run"],
    "health": {"probe": "http", "path": "/", "timeout": 30.0},
    "state": [],
    "env": {},
    "secrets": [],
    "routes": [{"path": "/api/", "strip": False, "upgrade": False, "timeout": 60}],
    "unit": {"socket": True, "concurrent": False, "notify": True, "words": ["--more"]},
}


def path(store: Path, name: str, said: dict[str, Any] | None = None) -> str:
    place = store / f"{HASHES[0]}-{name}"
    (place / "usr" / "sbin").mkdir(parents=True)
    (place / "bin").mkdir()
    for file in ("usr/sbin/nginx", f"bin/{name}"):
        (place / file).write_text("#!/bin/sh\n")
        (place / file).chmod(0o755)
    (place / "sealift.json").write_text(json.dumps(said or {"format": 1}))
    return str(place)


def made(folder: Path, said: dict[str, Any], **more: Any) -> Path:
    """Make a release of one service and one frontend."""
    shown = {"frontend": {"root": "web", "routes": [{"path": "/pages/"}]}}
    body = {**said, "routes": [{**each, "body_limit": "1m"} for each in said["routes"]]}
    members = {
        "alpha": path(folder, "alpha", {"service": body}),
        "pages": path(folder, "pages", shown),
    }
    nginx, agent = path(folder, "nginx"), path(folder, "sealift")
    facts: dict[str, Any] = {
        "packages": {},
        "phases": {},
        "tools": {"sealift": (agent, "bin/sealift")},
        "head": HEAD,
        "web": WEB,
    }
    out = folder / f"{HASHES[1]}-release"
    main(out=str(out), members=members, nginx=nginx, **(facts | more))
    return out


def plain(unit: Unit | None) -> Unit:
    """Leave out what digests of texts say."""
    assert unit is not None
    return replace(unit, instance="", listens="")


def test_a_head_reads_what_was_made(tmp_path: Path) -> None:
    release = load(made(tmp_path, SAID))
    said = plain(release.services["alpha"].unit)
    assert said == Unit("sealift-alpha", socket=True, concurrent=False)
    assert release.systemd is not None
    revision = release.systemd.revision
    wanted = Systemd("sealift-nginx", 80, 443, "TLS_CERT", "TLS_KEY", revision)
    assert replace(release.systemd, instance="", listens="") == wanted
    for each in units(release).values():
        text = (release.units_dir / f"sealift-{each.name}.socket").read_text()
        assert f"Service={each.service}\n" in text
        assert f"Wants={each.service}\n" in (release.units_dir / "sealift.target").read_text()
    assert f"listen unix:{units(release)['nginx'].address};" in release.nginx_conf.read_text()
    assert f'return 200 "{revision}";' in release.nginx_conf.read_text()
    names = {each.name for each in release.units_dir.iterdir()}
    assert {"sealift-alpha.socket", "sealift-alpha@.service", "sealift-nginx@.service"} <= names
    assert {"sealift.target", "sysusers.conf", "sealift-boot.service"} <= names
    text = (release.units_dir / "sealift-alpha@.service").read_text()
    assert f'"{tmp_path}/{HASHES[0]}-alpha/run" "--more"' in text


def test_the_agent_is_found_at_one_place(tmp_path: Path) -> None:
    out = made(tmp_path, SAID)
    link = out / "bin" / "sealift"
    assert link.is_symlink()
    assert link.resolve() == load(out).tools["sealift"].executable
    recover = (out / "systemd" / "sealift-recover.service").read_text()
    assert f'ExecStart="{load(out).tools["sealift"].executable}" agent recover' in recover


def test_a_release_without_the_agent(tmp_path: Path) -> None:
    out = made(tmp_path, SAID, tools={})
    assert not (out / "bin").exists()
    assert not (out / "systemd" / "sealift-boot.service").exists()


def test_an_older_artefact_says_nothing_of_units(tmp_path: Path) -> None:
    said = {key: value for key, value in SAID.items() if key != "unit"}
    release = load(made(tmp_path, said))
    wanted = Unit("sealift-alpha", socket=False, concurrent=False)
    assert plain(release.services["alpha"].unit) == wanted
    assert not (release.units_dir / "sealift-alpha.socket").exists()


def test_a_web_server_without_tls(tmp_path: Path) -> None:
    release = load(made(tmp_path, SAID, head={**HEAD, "http": 8080, "https": None}))
    assert release.systemd is not None
    assert (release.systemd.http, release.systemd.https) == (8080, None)
    assert (release.systemd.certificate, release.systemd.key) == (None, None)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"env": {"A": "1"}}, {"sealift-alpha@.service", "sealift-alpha.socket", "sealift.target"}),
        ({"port": 5001}, {"sealift-alpha.socket", "sealift.target"}),
        ({"routes": []}, set()),
    ],
)
def test_only_the_units_that_it_concerns_change(
    tmp_path: Path, change: dict[str, Any], seen: set[str]
) -> None:
    texts = []
    folder = tmp_path / "store"
    for number, said in enumerate((SAID, {**SAID, **change})):
        folder.mkdir()
        found = (made(folder, said) / "systemd").iterdir()
        texts.append({each.name: each.read_text() for each in found})
        folder.rename(tmp_path / str(number))
    assert {name for name in texts[0] if texts[0][name] != texts[1][name]} == seen


def test_phases_are_told_of_and_linked(tmp_path: Path) -> None:
    place = path(tmp_path, "phase-slurm-head1")
    slurm = {"number": 4, "hosts": {"head1": place}, "secrets": {"MUNGE_KEY": "bytes"}}
    out = made(tmp_path, SAID, phases={"slurm": slurm})
    assert load(out).phases == {"slurm": PhaseOf(4, {"head1": Path(place)}, {"MUNGE_KEY": "bytes"})}
    assert (out / "phases" / "slurm" / "head1").readlink() == Path(place)


def test_without_phases_nothing_is_said_that_an_earlier_agent_would_refuse(tmp_path: Path) -> None:
    out = made(tmp_path, SAID)
    assert "phases" not in json.loads((out / "release.json").read_text())
    assert not (out / "phases").exists()
    assert load(out).phases == {}
