"""Secrets on a head: kept as sets, laid open in memory for whoever needs them and nobody else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy import laying, seal, secrets_head
from deploy.errors import (
    BadSecretError,
    CertificateError,
    HeadError,
    SecretMissingError,
    SecretUnreadableError,
)
from deploy.events import What
from deploy.layout import Layout
from deploy.making import Making, Sort, make
from deploy.release import Certificate, Health, Probe, Release, Service, Systemd, Tool
from tests.deploy.age_keys import Pair, ssh_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.events import Event

MEMORY = Path("/dev/shm")  # noqa: S108
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return ssh_key(tmp_path_factory.mktemp("keys"), "ssh_host_ed25519_key")


@dataclass(frozen=True)
class Machine:
    """A head's folders, its key, and a place in memory."""

    layout: Layout
    place: Path
    key: Pair

    def seal(self, **values: bytes) -> dict[str, bytes]:
        return {name: seal.seal(value, [self.key.public]) for name, value in values.items()}

    def keep(self, **values: bytes) -> None:
        secrets_head.keep(self.layout, self.seal(**values))

    def have(self, **values: bytes) -> None:
        self.keep(**values)
        secrets_head.settle(self.layout)

    def lay(self, release: Release, *, before: Release | None = None) -> dict[str, str]:
        return secrets_head.lay(
            self.layout, release, before=before, identities=[self.key.file], place=self.place
        )

    def open(self) -> dict[str, dict[str, bytes]]:
        links = [each for each in self.place.iterdir() if each.is_symlink()]
        return {
            link.name: {file.name: file.read_bytes() for file in link.iterdir()} for link in links
        }


@pytest.fixture
def head(tmp_path: Path, key: Pair) -> Iterator[Machine]:
    if not MEMORY.is_dir() or laying.file_system(MEMORY) not in laying.MEMORY:
        if os.environ.get("CI"):
            pytest.fail(f"{MEMORY} is no tmpfs")
        pytest.skip(f"{MEMORY} is no tmpfs")
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="sealift-test-") as folder:
        layout = Layout(tmp_path / "var", tmp_path / "state")
        yield Machine(layout, Path(folder) / "run" / "credentials", key)


def service(name: str, *secrets: str, pairs: tuple[Certificate, ...] = ()) -> Service:
    health = Health(Probe.TCP, "/", 1.0)
    place = Path("/store") / name
    return Service(name, place, 1, place, ("/bin/x",), health, (), {}, secrets, (), pairs)


def release(*services: Service, tls: bool = False, user: str = ME) -> Release:
    named = {each.name: each for each in services}
    certificate, key = ("TLS_CERT", "TLS_KEY") if tls else (None, None)
    systemd = Systemd(user, 80, 443 if tls else None, certificate, key, "0" * 32)
    return Release(Path("/store/release"), named, {}, None, systemd=systemd)


ONE = release(service("api", "DB", "TOKEN"), service("portal", "DB"), service("plain"))


def test_each_service_gets_its_own_and_no_more(head: Machine) -> None:
    head.keep(DB=b"db", TOKEN=b"token", OTHER=b"other")
    digests = head.lay(ONE)
    assert head.open() == {"api": {"DB": b"db", "TOKEN": b"token"}, "portal": {"DB": b"db"}}
    assert set(digests) == {"api", "portal"}


def test_nobody_but_root_looks_into_the_folders(head: Machine) -> None:
    head.keep(DB=b"db", TOKEN=b"token")
    before = os.umask(0)
    try:
        head.lay(ONE)
    finally:
        os.umask(before)
    assert head.place.stat().st_mode & 0o777 == 0o711
    assert (head.place / "api").stat().st_mode & 0o777 == 0o700
    assert (head.place / "api" / "DB").stat().st_mode & 0o777 == 0o600
    assert head.layout.sealed_dir.stat().st_mode & 0o777 == 0o700


def test_the_web_server_reads_its_own_by_its_group(head: Machine) -> None:
    head.keep(TLS_CERT=b"cert", TLS_KEY=b"key")
    head.lay(release(tls=True))
    assert head.open() == {"nginx": {"TLS_CERT": b"cert", "TLS_KEY": b"key"}}
    folder, file = (head.place / "nginx").stat(), (head.place / "nginx" / "TLS_KEY").stat()
    assert (folder.st_mode & 0o777, file.st_mode & 0o777) == (0o750, 0o640)
    assert {folder.st_gid, file.st_gid} == {pwd.getpwnam(ME).pw_gid}


def test_a_web_server_without_a_user_is_refused_before_anything_changes(head: Machine) -> None:
    head.keep(DB=b"db", TLS_CERT=b"cert", TLS_KEY=b"key")
    head.lay(release(service("api", "DB")))
    wanted = release(service("api", "DB"), tls=True, user="sealift-no-such-user")
    with pytest.raises(HeadError, match="sealift-no-such-user"):
        head.lay(wanted)
    assert set(head.open()) == {"api"}


def test_only_users_of_a_changed_secret_get_another_digest(head: Machine) -> None:
    head.have(DB=b"db", TOKEN=b"token")
    first = head.lay(ONE)
    assert head.lay(ONE) == first
    head.keep(TOKEN=b"rotated")
    second = head.lay(ONE)
    assert second["api"] != first["api"]
    assert second["portal"] == first["portal"]
    assert head.open()["api"] == {"DB": b"db", "TOKEN": b"rotated"}


def test_sealing_the_same_value_again_restarts_nobody(head: Machine) -> None:
    head.have(DB=b"db", TOKEN=b"token")
    first = head.lay(ONE)
    inode = (head.place / "portal" / "DB").stat().st_ino
    head.keep(DB=b"db")
    assert head.lay(ONE) == first
    assert (head.place / "portal" / "DB").stat().st_ino == inode


def test_digests_tell_nothing_without_the_key_of_the_head(head: Machine) -> None:
    head.keep(DB=b"db", TOKEN=b"token")
    first = head.lay(ONE)
    (head.layout.sealed_dir / secrets_head.KEY).unlink()
    second = head.lay(ONE)
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_digests_are_known_without_laying_anything_open(head: Machine) -> None:
    head.keep(DB=b"db", TOKEN=b"token")
    found = secrets_head.digests(head.layout, ONE, identities=[head.key.file])
    assert not head.place.exists()
    assert head.lay(ONE) == found


def test_what_nobody_needs_any_more_is_gone(head: Machine) -> None:
    head.keep(DB=b"db", TOKEN=b"token")
    head.lay(ONE)
    head.lay(release(service("api", "DB")))
    assert head.open() == {"api": {"DB": b"db"}}
    assert len(list(head.place.iterdir())) == 2
    head.lay(release())
    assert list(head.place.iterdir()) == []


def test_what_still_runs_keeps_its_own(head: Machine) -> None:
    head.keep(DB=b"db", TOKEN=b"token")
    head.lay(ONE)
    less = release(service("api", "DB"))
    digests = head.lay(less, before=ONE)
    assert head.open() == {"api": {"DB": b"db", "TOKEN": b"token"}, "portal": {"DB": b"db"}}
    assert head.lay(less) == digests
    assert head.open() == {"api": {"DB": b"db"}}


def test_a_change_counts_from_settle_on(head: Machine) -> None:
    head.keep(DB=b"one", TOKEN=b"token")
    secrets_head.settle(head.layout)
    head.keep(DB=b"two")
    head.lay(ONE)
    assert head.open()["portal"] == {"DB": b"two"}
    secrets_head.drop(head.layout)
    head.lay(ONE)
    assert head.open()["portal"] == {"DB": b"one"}
    head.keep(DB=b"two")
    secrets_head.settle(head.layout)
    secrets_head.settle(head.layout)
    secrets_head.drop(head.layout)
    head.lay(ONE)
    assert head.open()["portal"] == {"DB": b"two"}


def test_a_change_that_never_ended_is_forgotten_by_the_next(head: Machine) -> None:
    head.keep(DB=b"one", TOKEN=b"token")
    secrets_head.settle(head.layout)
    head.keep(DB=b"two")
    head.keep(TOKEN=b"other")
    head.lay(ONE)
    assert head.open()["api"] == {"DB": b"one", "TOKEN": b"other"}


def test_sets_do_not_gather(head: Machine) -> None:
    for number in range(5):
        head.keep(DB=b"%d" % number)
        secrets_head.settle(head.layout)
    (head.layout.sealed_dir / ".tmp-torn").mkdir()
    (head.layout.sealed_dir / ".tmp-torn" / "DB.age").write_bytes(b"half")
    secrets_head.drop(head.layout)
    left = {each.name for each in head.layout.sealed_dir.iterdir()}
    assert len([name for name in left if not name.startswith((".", "current"))]) == 1
    assert ".tmp-torn" not in left


def test_drop_and_settle_need_nothing_to_be_there(head: Machine) -> None:
    secrets_head.drop(head.layout)
    secrets_head.settle(head.layout)
    assert secrets_head.missing(head.layout, ONE) == ("DB", "TOKEN")
    assert head.lay(release(service("plain"))) == {}


def test_what_is_missing_is_named_and_nothing_is_touched(head: Machine) -> None:
    head.keep(DB=b"db")
    assert secrets_head.missing(head.layout, ONE) == ("TOKEN",)
    head.lay(release(service("portal", "DB")))
    with pytest.raises(SecretMissingError) as raised:
        head.lay(ONE)
    assert "TOKEN" in raised.value.reason
    assert "sealift secret set TOKEN" in str(raised.value.hint)
    assert head.open() == {"portal": {"DB": b"db"}}


def test_a_secret_for_another_head_is_refused_and_named(head: Machine, tmp_path: Path) -> None:
    other = ssh_key(tmp_path, "other")
    head.have(DB=b"db", TOKEN=b"token")
    head.lay(ONE)
    secrets_head.keep(head.layout, {"TOKEN": seal.seal(b"new", [other.public])})
    with pytest.raises(SecretUnreadableError, match="TOKEN"):
        head.lay(ONE)
    assert head.open()["api"] == {"DB": b"db", "TOKEN": b"token"}


def test_no_disk_ever_holds_an_open_secret(head: Machine, tmp_path: Path) -> None:
    if laying.file_system(tmp_path) in laying.MEMORY:
        pytest.skip("the temporary folder is in memory")
    head.keep(DB=b"a value to look for", TOKEN=b"another one")
    with pytest.raises(HeadError, match="disk"):
        replace(head, place=tmp_path / "credentials").lay(ONE)
    head.lay(ONE)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) >= 3
    assert not [f for f in written if b"value to look for" in f.read_bytes()]


HOSTILE = {
    "../../DB": b"x",
    "a/b": b"x",
    ".key": b"x",
    "": b"x",
    "DB": b"not sealed at all",
    "BIG": b"x" * (seal.SEALED_LONGEST + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_came_is_looked_at_before_it_is_kept(head: Machine, name: str) -> None:
    with pytest.raises((BadSecretError, SecretUnreadableError)):
        secrets_head.keep(head.layout, {**head.seal(OK=b"x"), name: HOSTILE[name]})
    assert not head.layout.sealed_dir.exists()


def test_a_cut_at_any_moment_leaves_the_one_set_or_the_other(
    head: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed(count: int) -> tuple[int, bytes]:
        """Change both values, cut after `count` renamings; return how many, and what holds."""
        head.have(DB=b"one", TOKEN=b"one")
        steps = cut_after(monkeypatch, count)
        with suppress(Cut):
            head.have(DB=b"two", TOKEN=b"two")
        monkeypatch.undo()
        secrets_head.drop(head.layout)
        head.lay(ONE)
        (value,) = set(head.open()["api"].values())
        return len(steps), value

    whole, _ = renamed(1000)
    assert whole >= 5
    assert {renamed(count)[1] for count in range(whole + 1)} == {b"one", b"two"}


class Cut(BaseException):
    """The power is gone."""


def cut_after(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Let `count` renamings happen and no more; return those that did."""
    done: list[str] = []

    def guard(path: Path, *rest: object) -> object:
        if len(done) >= count:
            raise Cut
        done.append(path.name)
        return rest

    for name in ("replace", "rename"):
        real = getattr(Path, name)

        def limited(self: Path, target: Path, real: object = real) -> object:
            guard(self)
            assert callable(real)
            return real(self, target)

        monkeypatch.setattr(Path, name, limited)
    return done


PAIR = Certificate("CERT", "KEY", "The site's own")


def with_openssl(found: Release) -> Release:
    tool = shutil.which("openssl")
    if tool is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing")
        pytest.skip("openssl is missing: apt-get install openssl")
    return replace(found, tools={"openssl": Tool(Path(tool).parent, Path(tool))})


def pair_of(subject: str) -> dict[str, bytes]:
    return make(Making(Sort.SIGNING, ("CERT", "KEY"), subject), [])


def test_pairs_are_looked_over_before_anybody_gets_them(head: Machine) -> None:
    wanted = with_openssl(release(service("idp", "CERT", "KEY", pairs=(PAIR,))))
    head.have(**pair_of("one"))
    head.lay(wanted)
    before = head.open()
    head.keep(CERT=pair_of("two")["CERT"])
    with pytest.raises(CertificateError) as raised:
        head.lay(wanted)
    assert "not a pair" in raised.value.reason
    assert "sealift secret set CERT" in str(raised.value.hint)
    assert "idp" in str(raised.value.where)
    assert head.open() == before
    assert len(list(head.place.iterdir())) == 2


def test_pairs_are_looked_over_before_a_switch_and_nothing_is_left_open(head: Machine) -> None:
    wanted = with_openssl(
        release(service("idp", "CERT", "KEY", pairs=(PAIR,)), ONE.services["api"])
    )

    def check(release: Release) -> None:
        keys = [head.key.file]
        secrets_head.check(head.layout, release, identities=keys, place=head.place)

    head.have(DB=b"db", TOKEN=b"token", **pair_of("one"))
    check(wanted)
    assert list(head.place.iterdir()) == []
    head.keep(CERT=pair_of("two")["CERT"])
    with pytest.raises(CertificateError, match="not a pair"):
        check(wanted)
    assert list(head.place.iterdir()) == []
    with pytest.raises(SecretMissingError):
        check(release(service("new", "NEW")))


def test_a_key_of_another_kind_is_no_web_servers(head: Machine) -> None:
    """Which nginx does not find: it keeps one pair for each algorithm."""
    wanted = with_openssl(release(tls=True))
    web = make(Making(Sort.WEB, ("TLS_CERT", "TLS_KEY")), ["localhost"])

    def check(**values: bytes) -> None:
        head.have(**web | values)
        head.lay(wanted)
        secrets_head.check_web(head.place, wanted)

    check()
    check(TLS_CERT=web["TLS_CERT"] + pair_of("who signed it")["CERT"])
    with pytest.raises(CertificateError, match="are not a pair") as raised:
        check(TLS_CERT=pair_of("rsa")["CERT"])
    assert raised.value.hint == "sealift secret set TLS_CERT; its key likewise"
    with pytest.raises(CertificateError, match="TLS_KEY cannot be read"):
        check(TLS_KEY=b"none")


def test_a_certificate_that_runs_out_is_told_of(head: Machine, tmp_path: Path) -> None:
    wanted = with_openssl(release(service("idp", "CERT", "KEY", pairs=(PAIR,))))
    files = ("-out", tmp_path / "CERT", "-keyout", tmp_path / "KEY")
    words = ("-x509", "-newkey", "rsa:2048", "-subj", "/CN=x", "-days", "3", "-nodes")
    subprocess.run(["openssl", "req", *words, *files], check=True, capture_output=True)
    head.keep(CERT=(tmp_path / "CERT").read_bytes(), KEY=(tmp_path / "KEY").read_bytes())
    events: list[Event] = []
    secrets_head.lay(
        head.layout, wanted, identities=[head.key.file], place=head.place, observe=events.append
    )
    assert [(event.what, event.name) for event in events] == [(What.EXPIRES, "CERT")]


def test_values_are_not_shown_when_a_folder_is(head: Machine) -> None:
    folder = laying.Folder("api", "0123", {"DB": b"hunter2"})
    assert "hunter2" not in repr(folder)
    assert head.layout
