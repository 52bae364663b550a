"""Packages become one object that works wherever glibc is, or a clear refusal."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builders import deb
from builders.archive import ArchiveError
from builders.deb import PackageError
from builders.deb_pins import DebLock, LockError, Pinned
from builders.fetch import MismatchError
from builders.project import Project
from builders.recipe import Kind, Recipe
from builders.settings import Mirrors, load_settings
from builders.step import Step
from store.local import LocalStore
from tests.builders.debs import (
    DIRECTORY,
    HARDLINK,
    SYMLINK,
    Entry,
    ar_bytes,
    deb_bytes,
    elf_bytes,
    tar_bytes,
)
from tests.builders.registry import Registry, other, serving
from tests.builders.workbench import BASE, BUILDERS, Bench, works

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builders.build import Build

FOLDER = "usr/lib/x86_64-linux-gnu"
LIBRARY = Entry(f"./{FOLDER}/liba.so.1.2", elf_bytes(glibc="2.17"))
LINK = Entry(f"./{FOLDER}/liba.so.1", kind=SYMLINK, target="liba.so.1.2")
PROGRAM = Entry("./usr/bin/it", elf_bytes(("liba.so.1", "libc.so.6"), "2.34"), mode=0o755)
TOOL = Step("patchelf", "patchelf", "patchelf", "tool")
INPUTS = {"base": "base", "patchelf": "patchelf"}

needs_bubblewrap = pytest.mark.skipif(not works(), reason="bubblewrap cannot work here")


def lay_tool(build: Build) -> None:
    """Lay a "patchelf" that notes its arguments at the end of the file that it is given."""
    tool = build.out / "usr/bin/patchelf"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" >> "$last"\n')
    tool.chmod(0o755)


@dataclass(frozen=True)
class Site:
    """A mirror, and a project that locks what the mirror has."""

    registry: Registry
    project: Project
    bench: Bench

    def plan(self, packages: Mapping[str, bytes], **options: Any) -> tuple[Step, ...]:
        """Serve and lock the packages; plan a recipe of them all."""
        pins = {name: self._serve(name, data) for name, data in packages.items()}
        lock = DebLock({"bookworm": "20260711T101637Z"}, pins)
        (self.project.settings.locks_dir / "it.json").write_text(str(lock))
        inputs = options.pop("inputs", {})
        options["packages"] = tuple(packages)
        recipe = Recipe("it", Kind.DEB, Path("it.yaml"), inputs=inputs, options=options)
        return deb.plan(recipe, None, self.project)

    def build(self, packages: Mapping[str, bytes], **options: Any) -> Path:
        """Build a recipe of the packages; give the object's real path."""
        steps = (TOOL, *self.plan(packages, **options))
        result = self.bench.build([BASE, *steps], "it")
        if result.failures:
            raise result.failures[0].error
        return self.bench.store.real(result.outputs["it"])

    def _serve(self, name: str, data: bytes) -> Pinned:
        filename = f"pool/{name}_1.0_amd64.deb"
        self.registry.put(f"/{filename}", data)
        digest = hashlib.sha256(data).hexdigest()
        return Pinned("1.0", "amd64", "bookworm", filename, digest, len(data))


@contextmanager
def making(folder: Path) -> Iterator[Site]:
    folder = folder.resolve()
    (folder / "locks").mkdir(parents=True)
    (folder / "sealift.yaml").write_text("sources: .\n")
    with serving() as registry, LocalStore.open(folder / "store") as store:
        mirrors = Mirrors(debian=registry.url)
        settings = replace(load_settings(folder), locks_dir=folder / "locks", mirrors=mirrors)
        builders = {**BUILDERS, "deb": deb.build, "tool": lay_tool}
        yield Site(registry, Project(settings, {}), Bench(store, builders=builders))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with making(tmp_path) as made:
        yield made


def listing(root: Path) -> dict[str, str]:
    paths = (path for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file())
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}" if path.is_symlink() else "file"
        for path in paths
    }


def test_an_object_holds_its_files_and_says_what_it_is(site: Site) -> None:
    doc = "./usr/share/doc/liba"
    more = (Entry(f"{doc}/copyright", b"free"), Entry(f"{doc}/changelog.gz", b"old"))
    out = site.build({"liba": deb_bytes(LIBRARY, LINK, *more), "it": deb_bytes(PROGRAM)})
    assert out.name.endswith("-it-1.0")
    assert listing(out) == {
        "sealift.json": "file",
        "usr/bin/it": "file",
        f"{FOLDER}/liba.so.1": "-> liba.so.1.2",
        f"{FOLDER}/liba.so.1.2": "file",
        "usr/share/doc/liba/copyright": "file",
    }
    assert json.loads((out / "sealift.json").read_text()) == {
        "format": 1,
        "name": "it",
        "packages": {"it": "1.0", "liba": "1.0"},
        "glibc": "2.34",
    }
    assert (out / "usr/bin/it").stat().st_mode & 0o777 == 0o555


def test_the_merged_layout_is_linked_from_the_root(site: Site) -> None:
    entries = (
        Entry("./lib/x86_64-linux-gnu/ld.so", elf_bytes()),
        Entry("./lib64/ld.so", kind=SYMLINK, target="/lib/x86_64-linux-gnu/ld.so"),
        Entry("./bin/dash", elf_bytes(), mode=0o755),
        Entry("./bin/sh", kind=SYMLINK, target="dash"),
    )
    out = site.build({"it": deb_bytes(*entries)}, merge_usr=True)
    assert listing(out) == {
        "bin": "-> usr/bin",
        "lib": "-> usr/lib",
        "lib64": "-> usr/lib64",
        "sealift.json": "file",
        "usr/bin/dash": "file",
        "usr/bin/sh": "-> dash",
        f"{FOLDER}/ld.so": "file",
        "usr/lib64/ld.so": "-> ../lib/x86_64-linux-gnu/ld.so",
    }
    assert (out / "lib64/ld.so").resolve() == out / FOLDER / "ld.so"


@needs_bubblewrap
@pytest.mark.sandbox
def test_executables_look_for_libraries_beside_themselves(site: Site) -> None:
    program = replace(PROGRAM, name="./usr/sbin/it")
    packages = {"it": deb_bytes(program, LIBRARY, LINK)}
    out = site.build(packages, inputs=INPUTS, executables=("usr/sbin/it",))
    noted = (out / "usr/sbin/it").read_bytes().removeprefix(PROGRAM.data).decode()
    path = "$ORIGIN/../lib/x86_64-linux-gnu"
    assert noted == f"--force-rpath --set-rpath {path} /build/out/usr/sbin/it\n"


def test_equal_bytes_whenever_and_wherever_it_is_built(tmp_path: Path) -> None:
    packages = {"liba": deb_bytes(LIBRARY, LINK), "it": deb_bytes(PROGRAM)}
    found = []
    for folder in ("one", "a/deeper/place"):
        with making(tmp_path / folder) as site:
            path = site.bench.store.parse(site.build(packages))
            info = site.bench.store.info(path)
            assert info is not None
            found.append((info.nar_sha256, info.nar_size, info.references))
    assert found[0] == found[1]


def test_a_prune_pattern_changes_what_is_made(site: Site) -> None:
    packages = {"it": deb_bytes(LIBRARY, LINK, Entry("./etc/it.conf"))}
    assert "etc/it.conf" in listing(site.build(packages))
    assert "etc/it.conf" not in listing(site.build(packages, prune=("/etc",)))


MISSING = {"it": deb_bytes(PROGRAM)}


def test_a_missing_library_is_named_with_who_needs_it(site: Site) -> None:
    with pytest.raises(PackageError, match="it is incomplete: 1 ") as caught:
        site.build(MISSING)
    assert caught.value.got == "liba.so.1, which usr/bin/it needs"
    assert "`packages:`" in str(caught.value.hint)
    site.build(MISSING | {"liba": deb_bytes(LIBRARY, LINK)})


@pytest.mark.parametrize(
    "library",
    [
        (replace(LIBRARY, name="./opt/liba.so.1"),),
        (LINK, Entry(f"./{FOLDER}/liba.so.1.2", b"", kind=DIRECTORY)),
    ],
    ids=["elsewhere", "a folder"],
)
def test_what_the_loader_would_not_find_counts_as_missing(
    site: Site, library: tuple[Entry, ...]
) -> None:
    with pytest.raises(PackageError) as caught:
        site.build(MISSING | {"liba": deb_bytes(*library)})
    assert "liba.so.1, which usr/bin/it needs" in str(caught.value.got)


def test_a_link_to_nothing_is_named(site: Site) -> None:
    packages = {"it": deb_bytes(Entry("./usr/bin/awk", kind=SYMLINK, target="/etc/alternatives/x"))}
    with pytest.raises(PackageError) as caught:
        site.build(packages)
    assert caught.value.got == "../../etc/alternatives/x, to which usr/bin/awk links"
    assert listing(site.build(packages, prune=("awk",))) == {"sealift.json": "file"}


def test_an_executable_that_no_package_holds(site: Site) -> None:
    with pytest.raises(PackageError, match="'usr/sbin/it'"):
        site.build({"it": deb_bytes(LIBRARY)}, inputs=INPUTS, executables=("usr/sbin/it",))


def test_two_packages_with_one_file(site: Site) -> None:
    packages = {"one": deb_bytes(Entry("./usr/a")), "two": deb_bytes(Entry("./usr/a"))}
    with pytest.raises(ArchiveError, match=r"two_1.0_amd64.deb.*'usr/a': it is there already"):
        site.build(packages)


HOSTILE = {
    "climbing": (Entry("./usr/../../up", b"x"),),
    "absolute": (Entry("/usr/up", b"x"),),
    "device": (Entry("./dev/null", kind=b"3"),),
    "setuid": (Entry("./usr/bin/su", b"x", mode=0o4755),),
    "hard link": (Entry("./usr/h", kind=HARDLINK, target="/etc/passwd"),),
    "link outside": (Entry("./usr/l", kind=SYMLINK, target="../../up"),),
    "through a link": (
        Entry("./usr/l", kind=SYMLINK, target="/usr"),
        Entry("./usr/l/f", b"x"),
    ),
    "link through a link": (
        Entry("./s/t/up", kind=SYMLINK, target="../.."),
        Entry("./out", kind=SYMLINK, target="s/t/up/../x"),
    ),
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_package_leaves_nothing_registered(
    site: Site, tmp_path: Path, entries: tuple[Entry, ...]
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ArchiveError):
        site.build({"it": deb_bytes(*entries)})
    known = [info.path.name for info in site.bench.store.paths()]
    assert known == ["it_1.0_amd64.deb"]
    assert {path.name for path in tmp_path.iterdir()} - before <= {"var"}


def test_a_package_that_is_none(site: Site) -> None:
    with pytest.raises(ArchiveError, match="no ar archive"):
        site.build({"it": b"<html>not found</html>"})
    with pytest.raises(ArchiveError, match=r"no data\.tar"):
        site.build({"it": ar_bytes(("debian-binary", b"2.0\n"), ("control.tar", b""))})


def test_other_bytes_than_the_lock_pins_are_refused(site: Site) -> None:
    packages = {"it": deb_bytes(LIBRARY)}
    steps = site.plan(packages)
    site.registry.faults["/pool/it_1.0_amd64.deb"] = other(packages["it"][:-1] + b"x")
    steps = tuple(
        replace(step, download=replace(step.download, urls=step.download.urls[:1]))
        if step.download
        else step
        for step in steps
    )
    (failure,) = site.bench.build(steps).failures
    assert isinstance(failure.error, MismatchError)


def test_packages_that_are_not_locked_are_not_built(site: Site) -> None:
    site.plan({"it": deb_bytes(LIBRARY)})
    recipe = Recipe("it", Kind.DEB, Path("it.yaml"), options={"packages": ("it", "sed")})
    with pytest.raises(LockError) as caught:
        deb.plan(recipe, None, site.project)
    assert caught.value.hint == "sealift lock it"


def test_the_order_of_packages_means_nothing(site: Site) -> None:
    packages = {"liba": deb_bytes(LIBRARY, LINK), "it": deb_bytes(PROGRAM)}
    *_, one = site.plan(packages)
    *_, two = site.plan(dict(reversed(packages.items())))
    assert one == two


def test_the_object_is_called_after_the_package_of_its_name_or_the_first(site: Site) -> None:
    *_, step = site.plan({"liba": deb_bytes(LIBRARY), "libb": deb_bytes()})
    assert step.name == "it-1.0"
    assert step.key == "it"
    assert step.inputs["liba.deb"].startswith("fetch:sha256-")


def test_what_is_pruned_may_be_anything_but_hostile(site: Site) -> None:
    """A closure brings along what runs as root; left out, it is not even judged."""
    entries = (
        PROGRAM,
        LINK,
        LIBRARY,
        Entry("./tmp", kind=DIRECTORY, mode=0o1777),
        Entry("./usr/bin/su", b"x", mode=0o4755),
    )
    with pytest.raises(ArchiveError, match="'usr/bin/su': setuid, setgid or sticky"):
        site.build({"it": deb_bytes(*entries)})
    out = site.build({"it": deb_bytes(*entries)}, prune=("/usr/bin/su",))
    assert "usr/bin/su" not in listing(out)
    assert not (out / "tmp").exists()


def test_maintainer_scripts_are_not_run(site: Site, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    script = Entry("./postinst", f"#!/bin/sh\ntouch {trace}\n".encode(), mode=0o755)
    control = tar_bytes(Entry("./control", b"Package: it\n"), script)
    data = tar_bytes(LIBRARY)
    members = (("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar", data))
    out = site.build({"it": ar_bytes(*members)})
    assert not trace.exists()
    assert not list(out.rglob("*postinst*"))


class TestLinks:
    """Names that Debian's alternatives would give, which no maintainer script makes here."""

    def test_they_are_laid(self, site: Site) -> None:
        links = {"bin/that": "../usr/bin/it", "usr/bin/this": "it"}
        out = site.build({"it": deb_bytes(PROGRAM, LINK, LIBRARY)}, links=links)
        assert {name: str((out / name).readlink()) for name in links} == links

    @pytest.mark.parametrize(
        ("place", "target", "reason"),
        [
            ("usr/bin/it", "that", "it is there already"),
            ("usr/bin/it/that", "it", "its folder 'usr/bin/it' is a file"),
            ("usr/bin/that", "/etc/passwd", "a link to '/etc/passwd'"),
            ("usr/bin/that", "../../../up", "outside"),
        ],
    )
    def test_they_stay_inside_and_hide_nothing(
        self, site: Site, place: str, target: str, reason: str
    ) -> None:
        with pytest.raises(ArchiveError, match=reason):
            site.build({"it": deb_bytes(PROGRAM, LINK, LIBRARY)}, links={place: target})

    def test_they_lead_somewhere(self, site: Site) -> None:
        with pytest.raises(PackageError) as caught:
            site.build({"it": deb_bytes(LIBRARY)}, links={"usr/bin/that": "gone"})
        assert caught.value.got == "gone, to which usr/bin/that links"
