"""What packages say of themselves: wheels, npm's packages, Debian's; honest ones and others."""

from __future__ import annotations

import hashlib
import json
import lzma
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from builders import licences, parts_debian, parts_npm, parts_python
from builders.archive import ArchiveError, read_files
from builders.parts import FILE, Part, Scope, Whole, digest_of
from tests.builders.debs import Entry, ar_bytes, tar_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders.debs import Entry as Member

PIN = "sha256-" + b64encode(hashlib.sha256(b"it").digest()).decode()
PIN_512 = "sha512-" + b64encode(hashlib.sha512(b"it").digest()).decode()


def wheel(
    folder: Path, name: str, *lines: str, version: str = "1.0", sdist: bool = False
) -> parts_python.Locked:
    """Lay the metadata of an unpacked wheel."""
    tree = folder / name
    info = tree / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*head, *lines, "", "License: not this one"]))
    return parts_python.Locked(name, version, PIN, sdist, tree)


def needs(parts: tuple[Part, ...]) -> dict[str, list[str]]:
    names = {part.ref: part.name for part in parts}
    return {part.name: [names[ref] for ref in part.needs] for part in parts}


class TestLicences:
    @pytest.mark.parametrize(
        ("said", "found"),
        [
            (("MIT OR Apache-2.0", "BSD", ()), ("MIT OR Apache-2.0",)),
            (("", "MIT", ()), ("MIT",)),
            (("", "", ["License :: OSI Approved :: MIT License"]), ("MIT",)),
            # Several licences have this name: it stays a name.
            (("", "", ["License :: OSI Approved :: BSD License"]), ("BSD License",)),
            (("", "BSD-3-Clause", ["License :: OSI Approved :: BSD License"]), ("BSD-3-Clause",)),
            (("", "A text\nof two lines", ["License :: OSI Approved :: MIT License"]), ("MIT",)),
            (("", "A text\nof two lines", ()), ()),
            (("", "UNKNOWN", ["Programming Language :: Python"]), ()),
            (("", "x" * 101, ()), ()),
        ],
    )
    def test_of_a_wheel(self, said: tuple[str, str, Any], found: tuple[str, ...]) -> None:
        assert licences.of_wheel(*said) == found

    @pytest.mark.parametrize(
        ("said", "found"),
        [
            ("MIT", ("MIT",)),
            ({"type": "MIT", "url": "https://example.org"}, ("MIT",)),
            ([{"type": "MIT"}, {"type": "GPL-2.0"}, "MIT"], ("MIT", "GPL-2.0")),
            ("SEE LICENSE IN LICENSE.md", ("SEE LICENSE IN LICENSE.md",)),
            (None, ()),
            (7, ()),
            ({"url": "https://example.org"}, ()),
        ],
    )
    def test_of_npm(self, said: Any, found: tuple[str, ...]) -> None:
        assert licences.of_npm(said) == found

    def test_of_debian(self) -> None:
        text = (
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
            "Files: *\nCopyright: somebody\nLicense: GPL-2+\n\n"
            "Files: debian/*\nLicense: Expat\n Permission is granted\n\n"
            "License: GPL-2+\n On Debian systems\n"
        )
        assert licences.of_debian(text) == ("Expat", "GPL-2+")
        assert licences.of_debian("It was packaged by somebody.\nLicense: GPL\n") == ()


class TestPython:
    def test_names_hashes_and_licences(self, tmp_path: Path) -> None:
        (part,) = parts_python.read(
            [wheel(tmp_path, "typing-extensions", "License-Expression: PSF-2.0")], python="3.11"
        )
        assert str(part.purl) == "pkg:pypi/typing-extensions@1.0"
        assert part.ref == f"pkg:pypi/typing-extensions@1.0#sha256-{digest_of(PIN)[1][:12]}"
        assert part.licences == ("PSF-2.0",)

    def test_who_needs_whom_on_the_target(self, tmp_path: Path) -> None:
        rows = [
            wheel(
                tmp_path,
                "app",
                "Requires-Dist: Lib_One[fast]>=1",
                'Requires-Dist: windows; sys_platform == "win32"',
                'Requires-Dist: old; python_version < "3.9"',
                'Requires-Dist: testing; extra == "test"',
                "Requires-Dist: not-locked",
                "Requires-Dist: <not a requirement>",
            ),
            wheel(tmp_path, "lib-one", 'Requires-Dist: speed; extra == "fast"'),
            *(wheel(tmp_path, name) for name in ("speed", "windows", "old", "testing")),
        ]
        found = needs(parts_python.read(rows, python="3.11"))
        assert found == {
            "app": ["lib-one"],
            "lib-one": ["speed"],
            **{name: [] for name in ("speed", "windows", "old", "testing")},
        }

    def test_an_sdist_says_so(self, tmp_path: Path) -> None:
        (part,) = parts_python.read([wheel(tmp_path, "xmlsec", sdist=True)], python="3.11")
        assert part.facts == {"built": "from its sdist"}

    def test_libraries_that_a_wheel_carries(self, tmp_path: Path) -> None:
        row = wheel(tmp_path, "pillow")
        inner = row.tree / "pillow-1.0.dist-info" / "sboms"
        inner.mkdir()
        listed = [
            {"name": "pillow", "purl": "pkg:pypi/pillow@1.0?file_name=pillow.whl"},
            {"name": "libXau", "purl": "pkg:rpm/almalinux/libXau@1.0.9-3.el8"},
            {"name": "without a version", "purl": "pkg:rpm/almalinux/other"},
            {"name": "without a purl"},
            {"name": "not one", "purl": "libXau"},
            "no component",
        ]
        (inner / "auditwheel.cdx.json").write_text(json.dumps({"components": listed}))
        (inner / "damaged.cdx.json").write_text("{")
        (inner / "a-list.cdx.json").write_text("[]")
        pillow, *carried = parts_python.read([row], python="3.11")
        assert {part.name: str(part.purl) for part in carried} == {
            "libXau": "pkg:rpm/almalinux/libXau@1.0.9-3.el8",
            "not one": "None",
            "without a purl": "None",
            "without a version": "None",
        }
        assert set(pillow.needs) == {part.ref for part in carried}
        assert pillow.whole is Whole.INCOMPLETE

    def test_libraries_that_nothing_describes_are_files(self, tmp_path: Path) -> None:
        row = wheel(tmp_path, "numpy")
        folder = row.tree / "numpy.libs"
        folder.mkdir()
        (folder / "libopenblas64_-56d6093b.so").write_bytes(b"it")
        numpy, blas = parts_python.read([row], python="3.11")
        assert (blas.type, blas.name, blas.integrity) == (FILE, "libopenblas64_-56d6093b.so", PIN)
        assert (numpy.needs, numpy.whole) == ((blas.ref,), Whole.INCOMPLETE)

    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("libwebp-2fd3cdca.so.7.1.9", "libwebp"),
            ("libwebpmux-1c6bd8ab.so.3.1.0", "libwebp"),
            ("libicudata-5f572a05.so.72.1", "libicu72"),
            ("libcrypto-aa01e614.so.3", "libssl3"),
            ("libz-0123abcd.so.1", "zlib1g"),
            ("libxmlsec1-openssl-b5eec202.so.1.2.37", "libxmlsec1-openssl"),
            ("libfreetype-ee1c40c4.so.6.20.4", "FreeType"),
        ],
    )
    def test_a_file_that_the_wheel_describes_is_not_there_twice(
        self, tmp_path: Path, file: str, name: str
    ) -> None:
        row = wheel(tmp_path, "pillow")
        (row.tree / "pillow.libs").mkdir()
        (row.tree / "pillow.libs" / file).write_bytes(b"it")
        (row.tree / "pillow.libs" / "libzstd-0123abcd.so.1").write_bytes(b"other")
        inner = row.tree / "pillow-1.0.dist-info" / "sboms"
        inner.mkdir()
        listed = [{"name": "Pillow", "version": "1.0", "components": [{"name": name}]}]
        (inner / "pillow.cdx.json").write_text(json.dumps({"components": listed}))
        _, *carried = parts_python.read([row], python="3.11")
        assert [part.name for part in carried] == ["libzstd-0123abcd.so.1", name]

    def test_what_is_linked_into_a_module_nobody_knows(self, tmp_path: Path) -> None:
        plain, compiled = wheel(tmp_path, "plain"), wheel(tmp_path, "compiled")
        (compiled.tree / "module.abi3.so").write_bytes(b"")
        found = parts_python.read([plain, compiled], python="3.11")
        assert {part.name: part.whole for part in found} == {
            "plain": Whole.NOT_SAID,
            "compiled": Whole.UNKNOWN,
        }

    def test_a_library_that_was_put_in_here_is_known_by_its_lock(self, tmp_path: Path) -> None:
        row = wheel(tmp_path, "xmlsec", sdist=True)
        inner = row.tree / "xmlsec-1.0.dist-info" / "sboms"
        inner.mkdir()
        listed = [
            {"name": "libssl3", "purl": "pkg:deb/debian/libssl3@3.0.22-1?arch=amd64"},
            {"name": "libxml2", "purl": "pkg:deb/debian/libxml2@2.9.14?arch=amd64"},
        ]
        (inner / "sealift.cdx.json").write_text(json.dumps({"components": listed}))
        said = {"architecture": "amd64", "suite": "bookworm-security", "integrity": PIN}
        native = {
            "libssl3": {**said, "version": "3.0.22-1", "source": "openssl"},
            "libxml2": {**said, "version": "another", "source": ""},
        }
        _, ssl, xml = parts_python.read([row], python="3.11", native=native)
        purl = "pkg:deb/debian/libssl3@3.0.22-1?arch=amd64&distro=bookworm"
        assert (str(ssl.purl), ssl.integrity) == (purl, PIN)
        assert ssl.facts == {
            "carried": "inside of a wheel",
            "source": "openssl",
            "sourceVersion": "3.0.22-1",
        }
        assert xml.facts == {"carried": "inside of a wheel"}

    def test_metadata_that_is_not_there_or_no_text(self, tmp_path: Path) -> None:
        row = wheel(tmp_path, "one")
        next(row.tree.glob("*/METADATA")).write_bytes(b"\xff\xfe\x00Classifier: \xe9\n\n")
        (tmp_path / "two").mkdir()
        bare = parts_python.Locked("two", "1", PIN, sdist=False, tree=tmp_path / "two")
        assert [part.licences for part in parts_python.read([row, bare], python="3.11")] == [
            (),
            (),
        ]


def modules(folder: Path, packages: dict[str, dict[str, Any]]) -> Path:
    """Lay npm's record of what is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".package-lock.json").write_text(json.dumps({"packages": packages}))
    return folder


class TestNpm:
    def test_scopes_and_hashes(self, tmp_path: Path) -> None:
        tree = modules(
            tmp_path,
            {
                "node_modules/@vue/core": {
                    "version": "3.0.0",
                    "integrity": f"sha1-x {PIN_512}",
                    "license": "MIT",
                },
                "node_modules/vite": {"version": "8.0.0", "dev": True, "integrity": PIN_512},
                "node_modules/fsevents": {"version": "2.3.3", "optional": True},
                "node_modules/linked": {"link": True, "resolved": "packages/linked"},
            },
        )
        parts, direct = parts_npm.read(tree, ["@vue/core", "vite", "gone"])
        assert {str(part.purl): part.scope for part in parts} == {
            "pkg:npm/%40vue/core@3.0.0": Scope.REQUIRED,
            "pkg:npm/vite@8.0.0": Scope.EXCLUDED,
            "pkg:npm/fsevents@2.3.3": Scope.OPTIONAL,
        }
        assert {part.name: part.integrity for part in parts}["core"] == PIN_512
        assert [ref.partition("#")[0] for ref in direct] == [
            "pkg:npm/%40vue/core@3.0.0",
            "pkg:npm/vite@8.0.0",
        ]

    def test_one_package_at_two_places_is_one_part_as_needed_as_anywhere(
        self, tmp_path: Path
    ) -> None:
        ms = {"version": "2.0.0", "integrity": PIN_512}
        tree = modules(
            tmp_path,
            {
                "node_modules/debug": {
                    "version": "1.0.0",
                    "dependencies": {"ms": "^2", "absent": "1"},
                },
                "node_modules/debug/node_modules/ms": ms,
                "node_modules/ms": {"version": "1.0.0"},
                "node_modules/tool": {"version": "1.0.0", "dev": True, "dependencies": {"ms": "2"}},
                "node_modules/tool/node_modules/ms": {**ms, "dev": True},
                "node_modules/old": {"version": "1.0.0", "peerDependencies": {"ms": "1"}},
            },
        )
        parts, _ = parts_npm.read(tree, [])
        by_ref = {part.ref: part for part in parts}
        wanted = {
            part.name: [f"{by_ref[ref].name}@{by_ref[ref].version}" for ref in part.needs]
            for part in parts
        }
        assert len(parts) == 5
        assert [wanted[name] for name in ("debug", "tool", "old")] == [
            ["ms@2.0.0"],
            ["ms@2.0.0"],
            ["ms@1.0.0"],
        ]
        assert {p.scope for p in parts if p.name == "ms"} == {Scope.REQUIRED}

    def test_an_alias_is_the_package_that_it_means(self, tmp_path: Path) -> None:
        entry = {"version": "1.0.0", "name": "@real/thing"}
        (part,), _ = parts_npm.read(modules(tmp_path, {"node_modules/alias": entry}), [])
        assert str(part.purl) == "pkg:npm/%40real/thing@1.0.0"

    def test_a_licence_that_only_the_package_tells(self, tmp_path: Path) -> None:
        tree = modules(
            tmp_path,
            {"node_modules/one": {"version": "1.0.0"}, "node_modules/two": {"version": "1.0.0"}},
        )
        for name, text in (("one", '{"licenses": [{"type": "BSD"}]}'), ("two", "{")):
            (tree / name).mkdir()
            (tree / name / "package.json").write_text(text)
        assert [part.licences for part in parts_npm.read(tree, [])[0]] == [("BSD",), ()]

    def test_what_npm_itself_carries(self, tmp_path: Path) -> None:
        npm = tmp_path / "lib/node_modules/npm"
        for place, name in (
            ("", "npm"),
            ("node_modules/semver", "semver"),
            ("node_modules/@npmcli/arborist", "@npmcli/arborist"),
            ("node_modules/@npmcli/arborist/node_modules/ms", "ms"),
            ("node_modules/semver/test/fixtures", "not-a-package"),
        ):
            (npm / place).mkdir(parents=True, exist_ok=True)
            manifest = {"name": name, "version": "1.0.0", "license": "ISC"}
            (npm / place / "package.json").write_text(json.dumps(manifest))
        pins = {"node": PIN_512, "npm": PIN_512}
        said: dict[str, Any] = {"version": "20.0.0", "npm": "11.0.0"}
        said |= {"archive": False, "integrity": pins}
        node, manager, *bundled = parts_npm.read_node(tmp_path, said)
        assert str(node.purl) == "pkg:generic/node@20.0.0"
        assert node.cpe == "cpe:2.3:a:nodejs:node.js:20.0.0:*:*:*:*:*:*:*"
        assert node.whole is Whole.INCOMPLETE
        assert node.facts == {"carried": "inside of an npm package"}
        assert (manager.name, manager.version, manager.licences) == ("npm", "11.0.0", ("ISC",))
        assert sorted(part.name for part in bundled) == ["arborist", "ms", "semver"]
        archived, *_ = parts_npm.read_node(tmp_path, {**said, "archive": True})
        assert (archived.purl, archived.facts) == (node.purl, {})


def deb(folder: Path, name: str, control: str, *data: Member, **row: str) -> parts_debian.Locked:
    """Write a package with a control file."""
    text = f"Package: {name}\n{control}"
    members = tar_bytes(Entry("./", kind=b"5"), Entry("./control", text.encode()))
    content = ar_bytes(
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", lzma.compress(members)),
        ("data.tar.xz", lzma.compress(tar_bytes(*data))),
    )
    file = folder / f"{name}.deb"
    file.write_bytes(content)
    facts = {"version": "1.0-1", "architecture": "amd64", "suite": "bookworm", **row}
    return parts_debian.Locked(name, {**facts, "integrity": PIN}, file)


class TestDebian:
    def test_the_source_that_advisories_name(self, tmp_path: Path) -> None:
        rows = [
            deb(tmp_path, "libssl3", "Source: openssl\n", version="3.0.22-1~deb12u2"),
            deb(tmp_path, "libbz2", "Source: bzip2 (1.0.8-5)\n", version="1.0.8-5+b1"),
            deb(tmp_path, "zlib1g", "", version="1:1.2.13.dfsg-1"),
        ]
        found = {part.name: part for part in parts_debian.read(rows, None)}
        assert {name: dict(part.facts) for name, part in found.items()} == {
            "libssl3": {"source": "openssl", "sourceVersion": "3.0.22-1~deb12u2"},
            "libbz2": {"source": "bzip2", "sourceVersion": "1.0.8-5"},
            "zlib1g": {"source": "zlib1g", "sourceVersion": "1:1.2.13.dfsg-1"},
        }
        purl = str(found["libssl3"].purl)
        assert purl == "pkg:deb/debian/libssl3@3.0.22-1~deb12u2?arch=amd64&distro=bookworm"

    def test_suites_of_a_release_are_that_release(self, tmp_path: Path) -> None:
        rows = [
            deb(tmp_path, "a", "", suite="bookworm-security"),
            deb(tmp_path, "b", "", suite="noble-updates"),
        ]
        found = [str(part.purl) for part in parts_debian.read(rows, None)]
        assert found == [
            "pkg:deb/debian/a@1.0-1?arch=amd64&distro=bookworm",
            "pkg:deb/ubuntu/b@1.0-1?arch=amd64&distro=noble",
        ]

    def test_who_needs_whom(self, tmp_path: Path) -> None:
        rows = [
            deb(tmp_path, "app", "Depends: gone | lib (>= 1),\n mail-agent, nowhere\n"),
            deb(tmp_path, "lib", "Pre-Depends: base:any\nDepends: app\n"),
            deb(tmp_path, "exim", "Provides: mail-agent (= 4), other\n"),
            deb(tmp_path, "base", "Depends: base\n"),
        ]
        found = needs(parts_debian.read(rows, None))
        assert found == {"app": ["exim", "lib"], "lib": ["app", "base"], "exim": [], "base": []}

    def test_licences_from_the_tree_or_the_package(self, tmp_path: Path) -> None:
        text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
        copyright_file = Entry("./usr/share/doc/a/copyright", f"{text}License: Zlib\n".encode())
        row = deb(tmp_path, "a", "", copyright_file)
        (packed,) = parts_debian.read([row], None)
        assert packed.licences == ("Zlib",)
        place = tmp_path / "tree/share/doc/a/copyright"
        place.parent.mkdir(parents=True)
        place.write_text(f"{text}License: ISC\n")
        (laid,) = parts_debian.read([row], tmp_path / "tree")
        assert laid.licences == ("ISC",)

    def test_a_damaged_package_is_named(self, tmp_path: Path) -> None:
        row = deb(tmp_path, "a", "")
        row.file.write_bytes(row.file.read_bytes()[:100])
        with pytest.raises(ArchiveError, match=r"a\.deb"):
            parts_debian.read([row], None)

    def test_a_file_that_would_fill_the_memory_is_refused(self, tmp_path: Path) -> None:
        row = deb(tmp_path, "a", "x" * (5 << 20))
        with pytest.raises(ArchiveError, match="larger than it may be"):
            read_files(row.file, "control", ["control"])
