"""Closures by apt's own solver: what is pinned, what is kept, and what is refused."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.apt_solver import ClosureError, NoPackageError, solve
from builders.deb_index import SignatureError
from builders.deb_pins import LockError, parse_lock
from builders.debian import BadIndexError
from builders.dpkg_status import reduce
from builders.settings import Mirrors
from tests.builders.archive_site import Archive, Package, archive, needs_apt, signer, status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builders.deb_pins import DebLock
    from builders.deb_sources import Source
    from tests.builders.archive_site import Signer

pytestmark = needs_apt

DPKG = Package("dpkg")
LIB = Package("lib", "2.0")
APP = Package("app", fields={"Depends": "lib (>= 2.0)"})


class Sorted(Package):
    """A package whose stanza does not begin with its name."""

    @property
    def stanza(self) -> str:
        return "".join(sorted(super().stanza.splitlines(keepends=True)))


@pytest.fixture(scope="module")
def key() -> Iterator[Signer]:
    with signer("archive") as made:
        yield made


@pytest.fixture
def site(key: Signer) -> Iterator[Archive]:
    with archive(key) as served:
        yield served


def ask(source: Source, *packages: str, base: str = "") -> DebLock:
    return solve(packages, [source], status=base, where="recipes/it.yaml")


def versions(lock: DebLock) -> dict[str, str]:
    return {name: pinned.version for name, pinned in lock.packages.items()}


def test_a_closure_holds_what_is_needed_and_nothing_else(site: Archive) -> None:
    source = site.publish(
        Package("app", fields={"Depends": "mta, common", "Recommends": "more", "Source": "apps"}),
        Package("common", architecture="all", fields={"Pre-Depends": "lib (>= 2)"}),
        Package("exim", fields={"Provides": "mta"}),
        Package("lib", "1.0"),
        Package("lib", "2.0"),
        Package("more"),
        Package("essential", fields={"Essential": "yes"}),
    )
    lock = ask(source, "app")
    assert versions(lock) == {"app": "1.0", "common": "1.0", "exim": "1.0", "lib": "2.0"}
    assert parse_lock(str(lock)) == lock
    app = lock.packages["app"]
    assert (app.filename, app.size) == ("pool/app_1.0_amd64.deb", len(app_data(site)))
    assert app.control == {"Source": "apps"}
    assert lock.packages["common"].architecture == "all"
    assert lock.asked is not None
    assert lock.asked.packages == ("app",)
    assert lock.asked.sources == (f"{site.mirror} bookworm main",)


def app_data(site: Archive) -> bytes:
    return site.registry.files["/debian/pool/app_1.0_amd64.deb"]


def test_a_virtual_package_is_locked_with_what_provides_it(site: Archive) -> None:
    source = site.publish(Package("exim", fields={"Provides": "more, mta (= 1)"}), LIB)
    lock = ask(source, "mta", "lib")
    assert versions(lock) == {"exim": "1.0", "lib": "2.0"}
    assert lock.asked is not None
    assert lock.asked.provided == {"mta": "exim"}
    assert parse_lock(str(lock)) == lock
    there = ask(source, "mta", base=status(DPKG, Package("exim", fields={"Provides": "mta"})))
    assert there.asked is not None
    assert (versions(there), there.asked.provided) == ({}, {"mta": "exim"})


def test_the_first_alternative_is_taken_unless_another_is_there(site: Archive) -> None:
    source = site.publish(
        Package("app", fields={"Depends": "one | two"}), Package("one"), Package("two")
    )
    assert versions(ask(source, "app")) == {"app": "1.0", "one": "1.0"}
    base = status(DPKG, Package("two"))
    assert versions(ask(source, "app", base=base)) == {"app": "1.0"}


class TestBase:
    """What the stated system has is kept where it does; what has to change is pinned."""

    def test_what_is_there_is_not_pinned(self, site: Archive) -> None:
        source = site.publish(APP, LIB)
        assert versions(ask(source, "app", base=status(DPKG, LIB))) == {"app": "1.0"}

    def test_what_is_there_is_known_again_when_it_was_captured(self, site: Archive) -> None:
        """apt tells builds of one version apart by fields that a reduced status must keep.

        And what comes from one source it keeps at one build.
        """
        tool, lib = (Package(name, "2.0", fields={"Source": "both"}) for name in ("tool", "lib"))
        source = site.publish(tool, lib)
        base = reduce(status(DPKG, lib), where="it")
        assert versions(ask(source, "tool", base=base)) == {"tool": "2.0"}
        other = base.replace("Installed-Size: 1", "Installed-Size: 2")
        assert versions(ask(source, "tool", base=other)) == {"lib": "2.0", "tool": "2.0"}

    def test_an_older_version_is_replaced(self, site: Archive) -> None:
        source = site.publish(APP, LIB)
        found = versions(ask(source, "app", base=status(DPKG, Package("lib", "1.0"))))
        assert found == {"app": "1.0", "lib": "2.0"}

    def test_a_newer_version_is_kept(self, site: Archive) -> None:
        source = site.publish(APP, LIB)
        base = status(DPKG, Package("lib", "9.0"))
        assert versions(ask(source, "app", base=base)) == {"app": "1.0"}

    def test_a_newer_version_that_does_not_do_is_named(self, site: Archive) -> None:
        source = site.publish(Package("app", fields={"Depends": "lib (= 2.0)"}), LIB)
        with pytest.raises(ClosureError) as caught:
            ask(source, "app", base=status(DPKG, Package("lib", "9.0")))
        assert caught.value.got == "app : Depends: lib (= 2.0) but 9.0 is to be installed"

    def test_what_was_asked_for_may_be_there(self, site: Archive) -> None:
        lock = ask(site.publish(APP, LIB), "app", "lib", base=status(DPKG, LIB))
        assert versions(lock) == {"app": "1.0"}
        assert lock.asked is not None
        assert lock.asked.present == {"lib": "2.0"}

    def test_what_was_asked_for_may_not_be_there_in_a_newer_version(self, site: Archive) -> None:
        with pytest.raises(ClosureError, match=r"has lib 9\.0, newer than any suite") as caught:
            ask(site.publish(APP, LIB), "app", "lib", base=status(DPKG, Package("lib", "9.0")))
        assert caught.value.expected == "at most 2.0"
        assert caught.value.where == "recipes/it.yaml"

    def test_nothing_may_be_removed(self, site: Archive) -> None:
        source = site.publish(Package("app", fields={"Conflicts": "old"}), Package("old"))
        with pytest.raises(ClosureError, match=r"what the base system has: old$"):
            ask(source, "app", base=status(DPKG, Package("old")))

    def test_what_is_held_is_not_changed(self, site: Archive) -> None:
        held = Package("lib", "1.0").state("hold ok installed")
        with pytest.raises(ClosureError) as caught:
            ask(site.publish(APP, LIB), "app", base=f"{status(DPKG)}\n{held}")
        assert "lib (>= 2.0)" in str(caught.value.got) or "Held packages" in str(caught.value.got)

    def test_what_is_broken_already_is_told(self, site: Archive) -> None:
        broken = Package("sick", fields={"Depends": "nothing-that-is"})
        with pytest.raises(ClosureError) as caught:
            ask(site.publish(APP, LIB), "app", base=status(DPKG, broken))
        assert "sick : Depends: nothing-that-is" in str(caught.value.got)

    def test_what_is_half_installed_is_told(self, site: Archive) -> None:
        half = Package("sick").state("install reinstreq half-installed")
        with pytest.raises(ClosureError, match="apt finds no way") as caught:
            ask(site.publish(APP, LIB), "app", base=f"{status(DPKG)}\n{half}")
        assert "sick" in str(caught.value.got)

    def test_packages_of_another_architecture_do_no_harm(self, site: Archive) -> None:
        fields = {"Multi-Arch": "same"}
        own, foreign = (Package("lib", "2.0", arch, fields) for arch in ("amd64", "i386"))
        source = site.publish(APP, own)
        assert versions(ask(source, "app", base=status(DPKG, own, foreign))) == {"app": "1.0"}


class TestRefused:
    """Each is one error that names what is wrong."""

    def test_unmet_dependencies_in_apts_words(self, site: Archive) -> None:
        source = site.publish(Package("app", fields={"Depends": "lib (>= 3), gone"}), LIB)
        with pytest.raises(ClosureError) as caught:
            ask(source, "app")
        got = str(caught.value.got)
        assert "app : Depends: lib (>= 3)" in got
        assert "Depends: gone but it is not installable" in got
        assert "\n" not in got

    def test_packages_that_exclude_each_other(self, site: Archive) -> None:
        source = site.publish(Package("app", fields={"Conflicts": "lib"}), LIB)
        with pytest.raises(ClosureError, match="apt finds no way"):
            ask(source, "app", "lib")

    def test_a_virtual_package_of_several_must_be_chosen(self, site: Archive) -> None:
        provides = {"Provides": "mta"}
        source = site.publish(Package("exim", fields=provides), Package("smtpd", fields=provides))
        with pytest.raises(NoPackageError) as caught:
            ask(source, "mta")
        assert caught.value.reason == "mta is a virtual package"
        assert caught.value.slug == "no-such-package"
        assert caught.value.expected == "one of exim, smtpd"
        only = site.publish(Package("exim", fields=provides))
        assert versions(ask(only, "mta")) == {"exim": "1.0"}

    @pytest.mark.parametrize("name", ["ap", "a.p", "app-", "ap+", "zapp"])
    def test_a_name_is_never_taken_for_something_else(self, site: Archive, name: str) -> None:
        """To apt `a.p` is a pattern and `app-` an order to remove."""
        told = re.escape(f"no suite has a package {name!r}")
        with pytest.raises(NoPackageError, match=told):
            ask(site.publish(APP, LIB), name)

    def test_the_nearest_name_is_told(self, site: Archive) -> None:
        with pytest.raises(LockError) as caught:
            ask(site.publish(Package("redis-server")), "redis-serverr")
        assert caught.value.hint == "did you mean 'redis-server'?"

    def test_a_stanza_without_a_hash(self, site: Archive) -> None:
        with pytest.raises(BadIndexError, match="the stanza of 'lib' makes no sense: 'SHA256'"):
            ask(site.publish(APP, replace(LIB, drop=("SHA256",))), "app")

    @pytest.mark.parametrize("field", ["Filename", "Size"])
    def test_a_stanza_without_a_file(self, site: Archive, field: str) -> None:
        with pytest.raises(ClosureError) as caught:
            ask(site.publish(APP, replace(LIB, drop=(field,))), "app")
        assert "lib" in str(caught.value.got)
        assert "2.0" in str(caught.value.got)

    def test_a_stranger_has_signed(self, site: Archive) -> None:
        with signer("stranger") as stranger:
            replace(site, signer=stranger).publish(APP, LIB)
        with pytest.raises(SignatureError) as caught:
            ask(site.source(), "app")
        assert caught.value.where == f"{site.mirror}/dists/bookworm/InRelease"

    def test_apt_has_the_last_word_on_what_is_signed(self, site: Archive) -> None:
        source = site.publish(APP, LIB, Date="Sat, 11 Jul 2099 10:16:37 UTC")
        with pytest.raises(BadIndexError, match="apt does not believe the indexes") as caught:
            ask(source, "app")
        assert "not valid yet" in str(caught.value.got)

    def test_an_index_that_was_changed_behind_its_release(self, site: Archive) -> None:
        source = site.publish(APP, LIB)
        path = "/debian/dists/bookworm/main/binary-amd64/Packages.xz"
        data = site.registry.files[path]
        site.registry.put(path, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(BadIndexError, match="not what its Release pins"):
            ask(source, "app")

    def test_without_apt(
        self, site: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gpgv = shutil.which("gpgv")
        assert gpgv is not None
        (tmp_path / "gpgv").symlink_to(gpgv)
        source = site.publish(APP, LIB)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(LockError, match="apt-get is not installed") as caught:
            ask(source, "app")
        assert caught.value.hint == "lock on a Debian or Ubuntu machine"


class TestPrivate:
    """Nothing of this machine's apt takes part: its configuration, its keys, its packages."""

    def test_configuration_in_the_environment_is_not_read(
        self, site: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hostile = tmp_path / "apt.conf"
        evil = 'APT::Install-Recommends "true"; APT::Default-Release "sid"; Dir "/nonexistent";'
        hostile.write_text(evil)
        monkeypatch.setenv("APT_CONFIG", str(hostile))
        monkeypatch.setenv("http_proxy", "")
        source = site.publish(Package("app", fields={"Recommends": "lib"}), LIB)
        assert versions(ask(source, "app")) == {"app": "1.0"}

    def test_this_machines_packages_do_not_count(self, site: Archive) -> None:
        """It has libc6, surely; the stated system has not."""
        assert Path("/var/lib/dpkg/status").read_text().find("Package: libc6\n") >= 0
        source = site.publish(Package("app", fields={"Depends": "libc6"}), Package("libc6"))
        assert versions(ask(source, "app")) == {"app": "1.0", "libc6": "1.0"}

    def test_nothing_is_left_behind(
        self, site: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        ask(site.publish(APP, LIB), "app")
        assert list(tmp_path.iterdir()) == []


class TestSources:
    """Suites of any archive: other mirrors, other names, other ways to lay indexes."""

    def test_several_archives_each_with_its_mirror(self, site: Archive, key: Signer) -> None:
        with signer("vendor") as vendor:
            other = Archive(site.registry, vendor, folder="/vendor")
            sources = [site.publish(LIB), other.publish(APP, suite="stable")]
            lock = solve(["app"], sources, where="it")
        assert {name: pinned.suite for name, pinned in lock.packages.items()} == {
            "app": f"{other.mirror} stable",
            "lib": f"{site.mirror} bookworm",
        }
        assert parse_lock(str(lock)) == lock
        assert lock.urls("app", Mirrors()) == (f"{other.mirror}/pool/app_1.0_amd64.deb",)
        first, remembered = lock.urls("lib", Mirrors())
        assert first == f"{site.mirror}/pool/lib_2.0_amd64.deb"
        assert remembered.startswith("https://snapshot.debian.org/archive/debian/20260712T")
        assert key.keyring != vendor.keyring

    def test_one_archives_key_does_not_sign_for_another(self, site: Archive) -> None:
        with signer("vendor") as vendor:
            other = Archive(site.registry, vendor, folder="/vendor")
            theirs = other.publish(APP, suite="stable")
            with pytest.raises(SignatureError):
                solve(
                    ["app"],
                    [site.publish(LIB), replace(theirs, keyring=site.signer.keyring)],
                    where="it",
                )

    def test_a_mirror_that_is_a_setting_is_not_locked(self, site: Archive) -> None:
        site.publish(LIB)
        lock = ask(site.source(label="bookworm"), "lib")
        assert lock.mirrors == {}
        assert lock.packages["lib"].suite == "bookworm"
        mirrors = Mirrors(debian="http://here/debian")
        assert lock.urls("lib", mirrors)[0] == "http://here/debian/pool/lib_2.0_amd64.deb"
        assert site.mirror not in str(lock)

    @pytest.mark.parametrize("packed", ["", ".gz", ".xz"])
    def test_ubuntu(self, site: Archive, packed: str) -> None:
        """Pockets share a codename, `universe` is a component, and snapshots are elsewhere."""
        ubuntu = replace(site, folder="/ubuntu")
        indexes = {
            f"main/binary-amd64/Packages{packed}": [LIB],
            f"universe/binary-amd64/Packages{packed}": [APP],
        }
        ubuntu.publish_indexes(indexes, suite="jammy", Codename="jammy")
        ubuntu.publish(Package("lib", "2.1"), suite="jammy-updates", Codename="jammy")
        sources = [ubuntu.source("jammy", "main", "universe"), ubuntu.source("jammy-updates")]
        lock = solve(["app"], sources, where="it")
        assert versions(lock) == {"app": "1.0", "lib": "2.1"}
        assert lock.urls("app", Mirrors())[1].startswith("https://snapshot.ubuntu.com/ubuntu/2026")

    def test_a_pocket_is_not_the_release(self, site: Archive) -> None:
        site.publish(LIB, suite="jammy", Suite="jammy-updates", Codename="jammy")
        with pytest.raises(BadIndexError, match="another suite"):
            ask(site.source("jammy"), "lib")

    def test_packages_for_all_may_have_an_index_of_their_own(self, site: Archive) -> None:
        indexes = {
            "main/binary-amd64/Packages.xz": [Package("app", fields={"Depends": "docs"})],
            "main/binary-all/Packages.xz": [Package("docs", architecture="all")],
        }
        source = site.publish_indexes(indexes, suite="stable", Architectures="all amd64")
        assert versions(ask(source, "app")) == {"app": "1.0", "docs": "1.0"}

    def test_backports_are_there_for_those_who_need_them(self, site: Archive) -> None:
        marks = {"NotAutomatic": "yes", "ButAutomaticUpgrades": "yes"}
        newer = [Package("lib", "3.0"), Package("only")]
        sources = [
            site.publish(APP, LIB),
            site.publish(*newer, suite="bookworm-backports", **marks),
        ]
        lock = solve(["app", "only"], sources, where="it")
        assert versions(lock) == {"app": "1.0", "lib": "2.0", "only": "1.0"}

    def test_a_component_that_is_not_there(self, site: Archive) -> None:
        site.publish(LIB)
        with pytest.raises(BadIndexError, match="no universe/binary-amd64/Packages"):
            ask(site.source("bookworm", "main", "universe"), "lib")

    def test_an_empty_suite_is_one(self, site: Archive) -> None:
        sources = [site.publish(LIB), site.publish(suite="bookworm-updates", packed="")]
        assert versions(solve(["lib"], sources, where="it")) == {"lib": "2.0"}

    def test_an_archive_may_lack_a_codename_and_sort_its_fields(self, site: Archive) -> None:
        assert not Sorted("lib").stanza.startswith("Package:")
        source = site.publish(APP, Sorted("lib", "2.0"), suite="stable", Codename="")
        assert versions(ask(source, "app")) == {"app": "1.0", "lib": "2.0"}
