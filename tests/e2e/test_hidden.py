"""The whole platform on a machine on which there is neither Python nor Node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.hidden import Hidden, beyond_glibc, foreign, hidden, interpreters, processes
from tests.e2e.platform import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.platform import Platform

pytestmark = [pytest.mark.network, pytest.mark.sandbox, pytest.mark.slow]
NEWER = "MoonlightSunshine_8004"
"""The backend that runs on another version of Python, with a glibc of its own."""


def refusal() -> str | None:
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else None


@pytest.fixture(scope="module")
def bare(built: Platform) -> Iterator[Hidden]:
    """The platform, deployed where nothing but its store has an interpreter."""
    if (reason := refusal()) is not None:
        if os.environ.get("CI"):
            pytest.fail(f"no mount namespace: {reason}")
        pytest.skip(f"no mount namespace: {reason}")
    ran = any(row["running"] for row in built.services().values())
    built.try_sealift("stop")
    made = Hidden.make(built)
    made.sealift("deploy", "--host", "local", "--yes")
    yield made
    made.sealift("stop")
    if ran:
        built.sealift("start")


def health(bare: Hidden) -> set[str]:
    return {row["health"] for row in bare.platform.services().values()}


@pytest.mark.parametrize("name", ["python3", "python3.11", "node", "npm", sys.executable])
def test_there_is_no_interpreter(bare: Hidden, name: str) -> None:
    assert bare.run("sh", "-c", f"{name} --version").code != 0


def test_every_service_is_healthy(bare: Hidden) -> None:
    assert set(BACKENDS) < set(bare.platform.services())
    assert health(bare) == {"healthy"}
    assert bare.platform.get_json("/moonlight-api/health")["service"] == NEWER


def test_no_process_maps_a_file_of_the_machine_s_python_or_node(bare: Hidden) -> None:
    found = processes(bare.platform)
    assert set(found.values()) >= {*BACKENDS, "nginx", "supervisord"}
    used = {name: interpreters(foreign(pid)) for pid, name in found.items()}
    assert {name: files for name, files in used.items() if files} == {}


def test_all_that_is_mapped_lies_in_the_store_but_glibc(bare: Hidden) -> None:
    """Neither the C++ runtime nor any other library is the head's."""
    for pid, name in processes(bare.platform).items():
        files = foreign(pid, bare.platform.root)
        if name == NEWER:
            assert files == set()
        # The web server asks the machine's name services who its user is.
        elif name != "nginx":
            assert beyond_glibc(files) == set(), name


def test_two_versions_of_python_run_side_by_side(bare: Hidden) -> None:
    store = bare.platform.root / "site" / "store"
    programs: dict[str, set[str]] = {}
    for pid, name in processes(bare.platform).items():
        program = Path(f"/proc/{pid}/exe").readlink()
        assert program.is_relative_to(store), name
        programs.setdefault(name, set()).add(program.name)
    others = {name: {"python3.11"} for name in (*BACKENDS, "supervisord")}
    ours = {NEWER: {"python3.13"}, "nginx": {"nginx"}, "saml_idp_7000": {"node"}}
    assert programs == others | ours


def test_everything_comes_back_by_itself(bare: Hidden) -> None:
    before = processes(bare.platform)
    bare.sealift("restart")
    assert health(bare) == {"healthy"}
    assert not set(before) & set(processes(bare.platform))
    bare.sealift("stop")
    bare.sealift("start")
    assert health(bare) == {"healthy"}


def test_the_machine_s_own_python_would_be_noticed() -> None:
    code = "import ssl, time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            files = foreign(process.pid)
            assert interpreters(files)
            assert beyond_glibc(files)
        finally:
            process.kill()


def test_the_tests_own_interpreter_is_among_what_is_hidden() -> None:
    own = Path(sys.executable).resolve()
    assert any(own.is_relative_to(each) for each in hidden())
