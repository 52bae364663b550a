"""A head whose glibc is too old for a release: found out before anything is touched."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import fit
from deploy.activate import deploy, start, stop
from deploy.errors import BadReleaseError, GlibcTooOldError
from deploy.release import Release
from deploy.release_file import parse
from tests.deploy.synthetic import Site, Tiny, pids, version

if TYPE_CHECKING:
    from collections.abc import Mapping

EMPTY = Release(Path("/store/r"), {}, {}, None)


def wants(**needs: str) -> Release:
    return replace(EMPTY, glibc=needs)


@pytest.mark.parametrize("there", ["2.36", "2.100", "3.0"])
def test_a_glibc_that_is_late_enough(there: str) -> None:
    fit.check(wants(api="2.36", web="2.9"), there, where="head1")


def test_a_release_that_needs_none_fits_a_head_without_one() -> None:
    fit.check(EMPTY, None, where="head1")


def test_it_says_what_needs_which_and_what_is_there() -> None:
    with pytest.raises(GlibcTooOldError) as caught:
        fit.check(wants(b="2.36", a="2.36", c="2.100", d="2.28"), "2.28", where="head1")
    error = caught.value
    assert (error.where, error.got) == ("head1", "glibc 2.28")
    assert error.expected == "glibc 2.36 (a, b), 2.100 (c)"
    assert "glibc of its own" in str(error.hint)
    assert error.exit_code == 6


def test_many_names_are_counted() -> None:
    with pytest.raises(GlibcTooOldError) as caught:
        fit.check(wants(**{f"s{n}": "2.36" for n in range(9)}), "2.35", where="head1")
    assert str(caught.value.expected).endswith("s5 and 3 more)")


def test_another_c_library() -> None:
    with pytest.raises(GlibcTooOldError, match="has no glibc"):
        fit.check(wants(api="2.17"), None, where="head1")


def test_this_system_s_glibc_is_that_of_its_own_programs() -> None:
    said = subprocess.check_output(["getconf", "GNU_LIBC_VERSION"], text=True)
    assert said.split() == ["glibc", fit.glibc()]


@pytest.fixture
def no_getconf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "ASK", ("/nowhere/getconf", "GNU_LIBC_VERSION"))


@pytest.mark.usefixtures("no_getconf")
def test_without_getconf_the_system_s_library_tells() -> None:
    said = subprocess.check_output(["getconf", "GNU_LIBC_VERSION"], text=True)
    assert said.split() == ["glibc", fit.glibc()]


@pytest.mark.usefixtures("no_getconf")
def test_the_interpreter_s_own_glibc_is_not_the_system_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 99.0")
    banner = b"GNU C Library (Some GLIBC 2.31-0+x9) stable release version 2.31.\n"
    (tmp_path / "libc.so.6").write_bytes(b"\x7fELF\0GLIBC_2.99\0" + banner + b"\0")
    monkeypatch.setattr(fit, "PLACES", (tmp_path / "missing", tmp_path / "libc.so.6"))
    assert fit.glibc() == "2.31"


@pytest.mark.usefixtures("no_getconf")
def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libc.so.6").write_bytes(b"\x7fELF")
    monkeypatch.setattr(fit, "PLACES", (tmp_path / "libc.so.6",))
    assert fit.glibc() == fit.UNTOLD
    fit.check(EMPTY, fit.UNTOLD, where="head1")
    with pytest.raises(GlibcTooOldError, match="cannot be told") as caught:
        fit.check(wants(api="2.36"), fit.UNTOLD, where="head1")
    assert caught.value.got is None
    assert "getconf" in str(caught.value.hint)


def test_a_system_with_another_c_library_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "ASK", ("sh", "-c", "echo unknown variable; exit 1"))
    assert fit.glibc() is None


def test_a_release_that_does_not_fit_touches_nothing(site: Site, pair: tuple[Tiny, Tiny]) -> None:
    alpha, beta = pair
    head = site.head()
    deploy(head, site.release(alpha, beta, glibc={"alpha": "2.17"}))
    before = pids(head)
    with pytest.raises(GlibcTooOldError, match="too old"):
        deploy(head, site.release(alpha.at("2.0"), beta, glibc={"alpha": "99.0"}))
    assert head.profile.current() == 1
    assert head.profile.next_number() == 2
    assert pids(head) == before
    assert version(alpha) == "1.0"
    stop(head)
    start(head)


def read(needs: object) -> Mapping[str, str]:
    document = {"format": 1, "services": {}, "frontends": {}, "nginx": None, "needs": needs}
    return parse(json.dumps(document), Path("/store/r")).glibc


def test_needs_are_read_and_may_be_missing() -> None:
    assert read({"glibc": {"api": "2.36"}}) == {"api": "2.36"}
    assert read(None) == {}


@pytest.mark.parametrize(
    "needs", [{"glibc": {"api": "new"}}, {"glibc": {"api": 2}}, {"musl": {}}, [], {"glibc": "2.36"}]
)
def test_needs_that_make_no_sense(needs: object) -> None:
    with pytest.raises(BadReleaseError):
        read(needs)
