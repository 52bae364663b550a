"""Every command that looks, on the built platform, as a user types it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.platform import BACKENDS, FRONTENDS
from tests.faults.counts import FULL

if TYPE_CHECKING:
    from tests.e2e.platform import Platform

BODY = "MIIEowIBAAKCAQEAzQ8rkT"
pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]


def test_list_knows_every_recipe_and_what_is_built(built: Platform) -> None:
    rows = [json.loads(line) for line in built.sealift("list", "--json").out.splitlines()]
    by_name = {row["name"]: row for row in rows}
    assert {*BACKENDS, *FRONTENDS, "release", "nginx"} <= set(by_name)
    # Phases and their packages are for clusters, and the settings tell of none.
    assert {row["kind"] for row in rows if not row["path"]} == {"phase", "apt"}
    assert by_name["backend_5010"]["at"] == "5010"


def test_show_fills_in_defaults(built: Platform) -> None:
    shown = built.sealift("show", "backend_5010", "--json").json
    assert shown["kind"] == "pex"
    assert shown["inputs"]["python"] == "python-3.11"
    assert shown["service"]["health"]["path"] == "/api/health"
    assert "kind: pex" in built.sealift("show", "backend_5010").out


def test_an_unknown_recipe_is_answered_with_the_nearest(built: Platform) -> None:
    for words in (["show", "backend_501"], ["build", "backend_501"], ["path-info", "backend_501"]):
        failed = built.try_sealift(*words)
        assert failed.code == 2
        assert "did you mean 'backend_5010'?" in failed.err


def test_the_log_of_a_build_is_kept(built: Platform) -> None:
    assert "vite" in built.sealift("log", "frontend_3010").out


def test_path_info_sums_a_closure(built: Platform) -> None:
    lines = built.sealift("path-info", "backend_5010", "--closure", "--size").out.splitlines()
    sizes = [int(line.split()[0].replace(",", "")) for line in lines]
    assert sum(sizes[:-1]) == sizes[-1]
    assert any("flask" in line for line in lines)
    top = built.sealift("path-info", "backend_5010", "--json").json
    assert top["path"].endswith("-backend_5010")


def test_why_depends_shows_the_chain(built: Platform) -> None:
    chain = built.sealift("why-depends", "release", "python-3.11").out
    assert chain.splitlines()[0].endswith("-release")
    assert "python-3.11" in chain.splitlines()[-1]
    nothing = built.try_sealift("why-depends", "python-3.11", "release")
    assert nothing.code == 2
    assert "does not depend" in nothing.err


def test_store_add_cat_roots_and_gc(built: Platform) -> None:
    note = built.root / "note.txt"
    note.write_text("kept\n")
    path = built.sealift("store", "add", str(note)).out.strip()
    assert built.sealift("store", "cat", path).out == "kept\n"
    assert "release.json" in built.sealift("store", "cat", "release").out
    assert "backend_5010" in built.sealift("store", "cat", "release/release.json").out
    assert "gcroots/release" in built.sealift("store", "roots").out
    gone = built.sealift("store", "gc", "--json").json
    assert path.rpartition("/")[2] in gone["removed"]
    assert built.try_sealift("store", "cat", path).code != 0
    assert built.sealift("build", "all").err.strip().endswith("nothing to do")


def test_a_stale_lock_fails_one_recipe_and_what_needs_it(built: Platform) -> None:
    stale = built.source("websocket_5011") / "requirements.txt"
    gone = built.source("app_5174") / "package-lock.json"
    app = built.source("backend_5010") / "app.py"
    files = {file: file.read_text() for file in (stale, gone, app)}
    stale.write_text(files[stale] + "\nrequests==2.32.3\n")
    gone.unlink()
    app.write_text(files[app] + "\n# one line more\n")
    before = built.sealift("path-info", "backend_5010").out
    try:
        refused = built.try_sealift("build", "all")
        assert refused.code == 2
        assert built.sealift("path-info", "backend_5010").out == before
        failed = built.try_sealift("build", "all", "-k")
        assert failed.code == 2
        for name in ("websocket_5011", "app_5174"):
            assert failed.err.count(f"failed    {name} ") == 1
        assert failed.err.count("error: ") == 2
        assert "built     backend_5010 " in failed.err
        assert "skipped   release " in failed.err
        assert built.sealift("path-info", "backend_5010").out != before
    finally:
        for file, text in files.items():
            file.write_text(text)
        built.sealift("build", "all")


def test_a_dry_run_says_what_changed(built: Platform) -> None:
    app = built.source("websocket_5011") / "websocket_server_enhanced.py"
    text = app.read_text()
    app.write_text(text + "# a remark\n")
    try:
        said = built.sealift("build", "all", "--dry-run").out
    finally:
        app.write_text(text)
    row = next(line for line in said.splitlines() if line.split()[1] == "websocket_5011")
    assert row.startswith("build")
    assert "websocket_server_enhanced.py" in row
    assert "backend_5010" not in said


def test_sources_can_be_those_of_a_site(built: Platform) -> None:
    other = built.root / "elsewhere"
    other.mkdir(exist_ok=True)
    failed = built.try_sealift("--sources", str(other), "build", "backend_5010")
    assert failed.code == 2
    assert "backend_5010" in failed.err
    same = built.sealift("--sources", str(built.root / "sources"), "build", "all")
    assert "nothing to do" in same.err


def test_a_lock_that_is_out_of_date_is_refused_with_the_command_that_renews_it(
    built: Platform,
) -> None:
    file = built.source("auth_portal_4430") / "requirements.txt"
    text = file.read_text()
    file.write_text(text + "attrs>=23\n")
    try:
        failed = built.try_sealift("build", "auth_portal_4430")
    finally:
        file.write_text(text)
    assert failed.code == 2
    assert "sealift lock auth_portal_4430" in failed.err
    assert "Traceback" not in failed.err


def test_a_secret_in_a_source_is_named_but_not_shown(built: Platform) -> None:
    key = built.source("auth_portal_4430") / "signing.py"
    begin, end = (f"-----{word} RSA PRIVATE KEY-----" for word in ("BEGIN", "END"))
    key.write_text(f'KEY = """{begin}\n{BODY}\n{end}"""\n')
    try:
        failed = built.try_sealift("build", "auth_portal_4430")
    finally:
        key.unlink()
    assert failed.code == 2
    assert "signing.py" in failed.err
    assert BODY not in failed.err


def test_what_is_built_again_is_the_same_bit_for_bit(built: Platform) -> None:
    names = ["all"] if FULL else ["auth_portal_4430", "frontend_3010", "nginx"]
    checked = built.sealift("build", *names, "--check")
    assert "identical" in checked.err
