"""A package archive made to measure: real .debs and signed indexes, on a mirror of this machine."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.deb_sources import Source
from tests.builders.debs import Entry, ar_bytes, tar_bytes
from tests.builders.registry import Registry, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TOOLS = ("apt-get", "gpg", "gpgv", "dpkg")
needs_apt = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"
)
PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
}


@dataclass(frozen=True)
class Package:
    """A package as an archive has it; `files` and `scripts` are what its .deb holds."""

    name: str
    version: str = "1.0"
    architecture: str = "amd64"
    fields: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Entry, ...] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    """Fields that its stanza in the index lacks."""

    @property
    def filename(self) -> str:
        """Without the epoch, as archives have it."""
        return f"pool/{self.name}_{self.version.rpartition(':')[2]}_{self.architecture}.deb"

    @property
    def control(self) -> str:
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": "Tests <tests@example.org>",
            "Installed-Size": "1",
            **self.fields,
            "Description": "a package of the tests",
        }
        return "".join(f"{key}: {value}\n" for key, value in fields.items())

    @property
    def data(self) -> bytes:
        """The .deb itself."""
        scripts = [Entry(f"./{n}", t.encode(), mode=0o755) for n, t in self.scripts.items()]
        control = tar_bytes(Entry("./control", self.control.encode()), *scripts)
        return ar_bytes(
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", lzma.compress(control)),
            ("data.tar.xz", lzma.compress(tar_bytes(*self.files))),
        )

    @property
    def stanza(self) -> str:
        lines = {
            "Filename": self.filename,
            "Size": str(len(self.data)),
            "SHA256": hashlib.sha256(self.data).hexdigest(),
        }
        text = "".join(f"{key}: {value}\n" for key, value in lines.items() if key not in self.drop)
        return self.control + text

    @property
    def status(self) -> str:
        """Its stanza in the status file of a system that has it."""
        return self.state("install ok installed")

    def state(self, status: str) -> str:
        return self.control.replace("\n", f"\nStatus: {status}\n", 1)


def status(*packages: Package) -> str:
    """Make a status file."""
    return "\n".join(package.status for package in packages)


@dataclass(frozen=True)
class Signer:
    """Someone with a key."""

    home: Path
    keyring: Path

    def sign(self, text: str) -> bytes:
        return _gpg(self.home, "--clearsign", data=text.encode())


@contextmanager
def signer(name: str) -> Iterator[Signer]:
    """Make a key, and forget it at the end. In a short folder, for the sake of a socket in it."""
    home = Path(tempfile.mkdtemp(prefix="key-", dir="/tmp"))
    try:
        _gpg(home, "--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign")
        keyring = home / "archive.gpg"
        keyring.write_bytes(_gpg(home, "--export"))
        yield Signer(home, keyring)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        # The agent, as it ends, removes its sockets too.
        shutil.rmtree(home, ignore_errors=True)


def _gpg(home: Path, *words: str, data: bytes = b"") -> bytes:
    options = ("--homedir", str(home), "--batch", "--quiet", "--passphrase", "")
    command = ["gpg", *options, "--pinentry-mode", "loopback", *words]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@dataclass(frozen=True)
class Archive:
    """A mirror, whose Release files a key signs."""

    registry: Registry
    signer: Signer
    folder: str = "/debian"

    @property
    def mirror(self) -> str:
        return self.registry.url + self.folder

    def source(self, suite: str = "bookworm", *components: str, label: str = "") -> Source:
        return Source(
            mirror=self.mirror,
            suite=suite,
            keyring=self.signer.keyring,
            components=components or ("main",),
            label=label,
        )

    def publish(
        self,
        *packages: Package,
        suite: str = "bookworm",
        component: str = "main",
        packed: str = ".xz",
        **fields: str,
    ) -> Source:
        """Serve a suite of one component that holds these packages."""
        index = f"{component}/binary-amd64/Packages{packed}"
        return self.publish_indexes({index: packages}, suite=suite, **fields)

    def publish_indexes(
        self, indexes: Mapping[str, Sequence[Package]], *, suite: str, **fields: str
    ) -> Source:
        """Serve a suite: path of an index, and its packages."""
        folder = f"{self.folder}/dists/{suite}"
        lines = []
        for path, packages in indexes.items():
            plain, _, packed = path.partition("Packages")
            index = "\n".join(package.stanza for package in packages).encode()
            data = PACKERS[packed](index)
            self.registry.put(f"{folder}/{path}", data)
            # As archives do: the unpacked index is pinned, although only the packed one is there.
            for name, content in {f"{plain}Packages": index, path: data}.items():
                digest = hashlib.sha256(content).hexdigest()
                lines.append(f" {digest} {len(content)} {name}\n")
            for package in packages:
                self.registry.put(f"{self.folder}/{package.filename}", package.data)
        said = {
            "Origin": "Tests",
            "Suite": suite,
            "Codename": suite,
            "Architectures": "amd64",
            "Components": " ".join(dict.fromkeys(path.split("/")[0] for path in indexes)),
            "Date": "Sat, 11 Jul 2026 10:16:37 UTC",
            **{key.replace("_", "-"): value for key, value in fields.items()},
        }
        text = "".join(f"{key}: {value}\n" for key, value in said.items())
        release = self.signer.sign(f"{text}SHA256:\n{''.join(lines)}")
        self.registry.put(f"{folder}/InRelease", release)
        return self.source(suite, *said["Components"].split())


@contextmanager
def archive(by: Signer) -> Iterator[Archive]:
    """Serve an archive until the block ends."""
    with serving() as registry:
        yield Archive(registry, by)
