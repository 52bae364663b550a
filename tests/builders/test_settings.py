"""Settings: where they are found, what they mean, what is refused, and that they are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builders.fields import RecipeError
from builders.settings import (
    FILE_VARIABLE,
    ClusterSettings,
    HostSettings,
    Mirrors,
    Settings,
    SigningSettings,
    load_settings,
)
from store.errors import InputError

MINIMAL = "store_dir: .sealift/store\n"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)


def load(folder: Path, text: str) -> Settings:
    (folder / "sealift.yaml").write_text(text)
    return load_settings(folder)


def refused(folder: Path, text: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load(folder, text)
    return caught.value


def test_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL) == Settings(
        file=tmp_path / "sealift.yaml",
        root=tmp_path,
        store_dir=tmp_path / ".sealift" / "store",
        state_dir=tmp_path / ".sealift" / "state",
        recipes_dir=tmp_path / "recipes",
        locks_dir=tmp_path / "recipes" / "locks",
        sources_dir=tmp_path / "sources",
        keyring=Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
        mirrors=Mirrors(),
        sandbox="on",
        hosts={"local": HostSettings("local")},
        groups={},
        roles={},
        known_hosts=tmp_path / "known_hosts",
        parallel=16,
        connect_timeout=10,
        site=None,
        signing=SigningSettings(
            key=tmp_path / "keys" / "signing",
            identity=None,
            signers=tmp_path / "allowed_signers",
            revoked=tmp_path / "revoked_keys",
            threshold=1,
        ),
    )


def test_everything_said(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """\
store_dir: /opt/sealift/store/
state_dir: /var/lib/sealift
recipes: site/recipes
locks: ../locks
sources: /srv/platform
keyring: keys.gpg
sandbox: off
mirrors:
  npm: https://npm.site/
  debian: http://mirror.site/debian
  pypi_index: http://pypi.site:3141/root/+simple
hosts:
  local: {port: 9000, port_offset: 1000}
  test:
  head[1-3]: {user: root, key: ~/.ssh/id, roles: [web], priority: 5, sudo: never}
  head1: {kind: ssh, address: 10.0.0.1, port: 2222, gateway: ops@jump}
groups: {heads: "head[1-3]", all: ["@heads", test]}
roles: {web: [nginx, portal]}
known_hosts: keys/hosts
ssh_config: ssh.conf
parallel: 3
connect_timeout: 4
keep: 7
site: hpc1
signing: {key: /etc/keys/mine, identity: release@builder, signers: trust/signers,
          revoked: trust/revoked, threshold: 2, receipts: {hpc2: transfer@hpc2}}
""",
    )
    assert found.store_dir == Path("/opt/sealift/store")
    assert found.state_dir == Path("/var/lib/sealift")
    assert found.recipes_dir == tmp_path / "site" / "recipes"
    assert found.locks_dir == tmp_path.parent / "locks"
    assert found.sources_dir == Path("/srv/platform")
    assert found.keyring == tmp_path / "keys.gpg"
    assert found.sandbox == "off"
    assert found.mirrors == Mirrors(
        npm="https://npm.site",
        debian="http://mirror.site/debian",
        pypi_index="http://pypi.site:3141/root/+simple",
    )
    assert found.hosts == {
        "local": HostSettings("local", port=9000, port_offset=1000),
        "test": HostSettings("test"),
        "head[1-3]": HostSettings(
            "head[1-3]", user="root", key="~/.ssh/id", roles=("web",), priority=5, sudo="never"
        ),
        "head1": HostSettings(
            "head1", kind="ssh", address="10.0.0.1", port=2222, gateway="ops@jump"
        ),
    }
    assert found.groups == {"heads": "head[1-3]", "all": "@heads,test"}
    assert found.roles == {"web": ("nginx", "portal")}
    assert found.known_hosts == tmp_path / "keys" / "hosts"
    assert found.ssh_config == tmp_path / "ssh.conf"
    assert (found.parallel, found.connect_timeout, found.keep) == (3, 4, 7)
    assert found.site == "hpc1"
    assert found.signing == SigningSettings(
        key=Path("/etc/keys/mine"),
        identity="release@builder",
        signers=tmp_path / "trust" / "signers",
        revoked=tmp_path / "trust" / "revoked",
        threshold=2,
        receipts={"hpc2": "transfer@hpc2"},
    )


def test_locks_lie_below_the_recipes_that_are_named(tmp_path: Path) -> None:
    assert load(tmp_path, "recipes: mine\n").locks_dir == tmp_path / "mine" / "locks"


def test_found_by_walking_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sealift.yaml").write_text(MINIMAL)
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert load_settings().root == tmp_path


def test_the_nearest_file_wins(tmp_path: Path) -> None:
    (tmp_path / "sealift.yaml").write_text(MINIMAL)
    (tmp_path / "a").mkdir()
    assert load(tmp_path / "a", MINIMAL).root == tmp_path / "a"


def test_the_environment_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text(MINIMAL)
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "site.yaml"))
    assert load_settings(Path("/")).file == tmp_path / "site.yaml"


def test_a_named_file_beats_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site.yaml").write_text(MINIMAL)
    monkeypatch.setenv(FILE_VARIABLE, "/nowhere.yaml")
    assert load_settings(file=tmp_path / "site.yaml").file == tmp_path / "site.yaml"


def test_no_file_anywhere(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_settings(tmp_path)
    assert caught.value.reason == "there is no sealift.yaml here or in a folder above"
    assert caught.value.where == str(tmp_path)


def test_a_named_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="the settings file does not exist"):
        load_settings(file=tmp_path / "site.yaml")
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "site.yaml"))
    with pytest.raises(InputError) as caught:
        load_settings(tmp_path)
    assert FILE_VARIABLE in (caught.value.hint or "")


def test_paths_have_no_links_in_them(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert load(tmp_path / "link", MINIMAL).store_dir == tmp_path / "real" / ".sealift" / "store"


def test_overrides_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sealift.yaml").write_text("sources: a\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = load_settings(overrides={"sources": "../mine", "sandbox": "off"})
    assert found.sources_dir == tmp_path / "mine"
    assert found.sandbox == "off"
    assert found.store_dir == tmp_path / ".sealift" / "store"


CACHE_KEY = "site-1:" + "A" * 43 + "="
WRONG = {
    "empty": ("", "1:1", "the file is empty", None),
    "a list": ("- a\n", "1:1", "wrong type", None),
    "unknown key": (
        "store: x\n",
        "1:1",
        "unknown key 'store'",
        "did you mean 'store_dir'?",
    ),
    "nearest key": ("source: x\n", "1:1", "unknown key 'source'", "did you mean 'sources'?"),
    "path as a number": ("sources: 5\n", "1:10", "wrong type", "write it in quotes: '5'"),
    "path with a line break": ('sources: "a\\nb"\n', "1:10", "control character", None),
    "unknown mirror": (
        "mirrors: {pypi: https://x}\n",
        "1:11",
        "unknown key 'pypi'",
        "did you mean 'pypi_files'?",
    ),
    "mirror that is no URL": ("mirrors: {npm: x.org}\n", "1:16", "'x.org' is no URL", None),
    "mirror by ssh": ("mirrors: {npm: ssh://x.org}\n", "1:16", "is no URL", None),
    "mirror with a space": ("mirrors: {npm: 'https://x/a b'}\n", "1:16", "is no URL", None),
    "sandbox": ("sandbox: none\n", "1:10", "unknown sandbox mode 'none'", None),
    "no host": ("hosts: {}\n", "1:8", "there is no host", None),
    "host as a list": ("hosts: [local]\n", "1:8", "wrong type", None),
    "host that is no name": ("hosts: {../x: {}}\n", "1:9", "'../x' is no host name", None),
    "host that is a command": ("hosts: {$(id): {}}\n", "1:9", "is no host name", None),
    "address that is a list": ("hosts: {a: {address: [x]}}\n", "1:22", "wrong type", None),
    "sudo": ("hosts: {a: {sudo: maybe}}\n", "1:19", "unknown sudo of host", None),
    "priority": ("hosts: {a: {priority: high}}\n", "1:23", "wrong type", None),
    "role that is no name": ("hosts: {a: {roles: [../x]}}\n", "1:21", "no recipe name", None),
    "group": ("groups: {heads: 'a;b'}\n", "1:17", "this is no set of hosts", None),
    "group as a mapping": ("groups: {heads: {a: b}}\n", "1:17", "wrong type", None),
    "services of a role": ("roles: {web: nginx}\n", "1:14", "wrong type", None),
    "parallel": ("parallel: 0\n", "1:11", "out of range", None),
    "site": ("site: HPC 1\n", "1:7", "no name of site", None),
    "identity": ("signing: {identity: 'a*'}\n", "1:21", "no name of identity", None),
    "receipts": ("signing: {receipts: {a: '*'}}\n", "1:25", "no name of identity", None),
    "threshold": ("signing: {threshold: 0}\n", "1:22", "out of range", None),
    "signing": ("signing: {keys: x}\n", "1:11", "unknown key", "did you mean 'key'?"),
    "shared cache without keys": (
        "substituters: [{url: 'file:///x'}]\n",
        "1:16",
        "a shared cache without public_keys",
        None,
    ),
    "shared cache that trusts nobody": (
        "substituters: [{url: 'file:///x', public_keys: []}]\n",
        "1:48",
        "nobody is trusted here",
        None,
    ),
    "key of a shared cache": (
        "substituters: [{url: 'ftp://x/y', public_keys: ['a:b']}]\n",
        "1:49",
        "not a public key",
        None,
    ),
    "address of a shared cache": (
        f"substituters: [{{url: 'ftp://x/y', public_keys: ['{CACHE_KEY}']}}]\n",
        "1:22",
        "no address of a cache",
        None,
    ),
    "keep": ("keep: 0\n", "1:7", "out of range", None),
    "connect timeout": ("connect_timeout: 0.5\n", "1:18", "wrong type", None),
    "kind of host": ("hosts: {a: {kind: remote}}\n", "1:19", "unknown kind of host", None),
    "port": ("hosts: {local: {port: 0}}\n", "1:23", "out of range", None),
    "port as text": ("hosts: {local: {port: http}}\n", "1:23", "wrong type", None),
    "unknown key of a host": (
        "hosts: {local: {prot: 80}}\n",
        "1:17",
        "unknown key 'prot'",
        "did you mean 'port'?",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(tmp_path: Path, case: str) -> None:
    text, place, reason, hint = WRONG[case]
    error = refused(tmp_path, text)
    assert reason in error.reason
    assert error.where == f"{tmp_path}/sealift.yaml:{place}"
    if hint is not None:
        assert error.hint == hint


@pytest.mark.parametrize(
    ("text", "key", "expected", "got"),
    [
        ("sources: 5\n", "sources", "text", "the number 5"),
        ("mirrors: [a]\n", "mirrors", "a mapping", "a list"),
        ("hosts: {a: {address: [x]}}\n", "hosts.a.address", "text", "a list"),
        ("hosts: {a: {roles: [[x]]}}\n", "hosts.a.roles", "text", "a list"),
        ("hosts: {a: 5}\n", "hosts.a", "a mapping", "the number 5"),
        ("roles: {web: nginx}\n", "roles.web", "a list", "the text 'nginx'"),
        ("parallel: many\n", "parallel", "a whole number from 1 to 256", "the text 'many'"),
    ],
)
def test_a_wrong_type_names_file_and_key_and_what_was_expected(
    tmp_path: Path, text: str, key: str, expected: str, got: str
) -> None:
    error = refused(tmp_path, text)
    assert error.reason == f"wrong type of {key!r}"
    assert str(error.where).startswith(f"{tmp_path}/sealift.yaml:1:")
    assert (error.expected, error.got) == (expected, got)


def test_a_number_out_of_range_names_its_key(tmp_path: Path) -> None:
    assert refused(tmp_path, "keep: 0\n").reason == "number out of range of 'keep'"


def test_a_password_in_a_mirror_is_refused_and_not_shown(tmp_path: Path) -> None:
    for url in ("https://me:hunter2@pypi.site", "htps://me:hunter2@pypi.site"):
        error = refused(tmp_path, f"mirrors: {{pypi_index: '{url}'}}\n")
        assert error.reason == "a URL with a user or password"
        assert "hunter2" not in f"{error} {error.expected} {error.got} {error.hint}"


# What the file says is kept beside the store.


def kept(folder: Path) -> Path:
    return folder / ".sealift" / "settings.json"


def test_nothing_is_written_where_there_is_no_folder_for_it(tmp_path: Path) -> None:
    load(tmp_path, MINIMAL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sealift.yaml"]


def test_what_is_kept_is_what_was_said(tmp_path: Path) -> None:
    kept(tmp_path).parent.mkdir()
    text = "hosts: {local: {port: 9000}}\nmirrors: {npm: https://a.b}\nsandbox: off\n"
    first = load(tmp_path, text)
    assert json.loads(kept(tmp_path).read_bytes())["said"]["hosts"] == {"local": {"port": 9000}}
    assert load_settings(tmp_path) == first


def test_another_byte_in_the_file_and_it_is_read_again(tmp_path: Path) -> None:
    kept(tmp_path).parent.mkdir()
    assert load(tmp_path, "hosts: {local: {port: 9000}}\n").hosts["local"].port == 9000
    status = (tmp_path / "sealift.yaml").stat()
    (tmp_path / "sealift.yaml").write_text("hosts: {local: {port: 9001}}\n")
    os.utime(tmp_path / "sealift.yaml", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_settings(tmp_path).hosts["local"].port == 9001


def test_an_error_is_not_kept(tmp_path: Path) -> None:
    kept(tmp_path).parent.mkdir()
    refused(tmp_path, "sorces: x\n")
    assert not kept(tmp_path).exists()
    refused(tmp_path, "sorces: x\n")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"format": 1}'])
def test_a_damaged_copy_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    kept(tmp_path).parent.mkdir()
    kept(tmp_path).write_bytes(content)
    assert load(tmp_path, "hosts: {local: {port: 9000}}\n").hosts["local"].port == 9000


def test_a_copy_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    kept(tmp_path).mkdir(parents=True)
    assert load(tmp_path, MINIMAL).root == tmp_path
    assert [path.name for path in kept(tmp_path).parent.iterdir()] == ["settings.json"]


def test_settings_that_are_kept_load_no_yaml(tmp_path: Path) -> None:
    kept(tmp_path).parent.mkdir()
    load(tmp_path, MINIMAL)
    code = (
        "import sys; from pathlib import Path; from builders.settings import load_settings;"
        f"load_settings(Path({str(tmp_path)!r}));"
        "import builders.source, builders.recipe_digest;"
        "slow = {'yaml', 'difflib', 'subprocess', 'builders.step', 'builders.source_walk'};"
        "print(sorted(slow & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, check=True, text=True
    )
    assert said.stdout == "[]\n"


def test_the_settings_of_this_checkout() -> None:
    found = load_settings(file=Path(__file__).parents[2] / "sealift.yaml")
    assert found.sources_dir == found.root / "examples" / "dashboard"
    assert found.hosts["local"].port == 8080


class TestCluster:
    """What is said of the cluster, and that what is said of phases is kept as it was written."""

    def test_without_one(self, tmp_path: Path) -> None:
        assert load(tmp_path, MINIMAL).cluster is None

    @pytest.mark.parametrize("said", ["cluster:", "cluster: {}"])
    def test_with_nothing_said(self, tmp_path: Path, said: str) -> None:
        assert load(tmp_path, said) == load(tmp_path, said)
        assert load(tmp_path, said).cluster == ClusterSettings("cluster")
        assert load(tmp_path, f"site: hpc1\n{said}").cluster == ClusterSettings("hpc1")

    def test_with_everything(self, tmp_path: Path) -> None:
        text = """\
cluster:
  name: big
  hosts: [head1, "@rest"]
  addresses: {head1: 10.0.0.1, head2: "FE80::1"}
  phases:
    storage: {volume: data}
    redis: false
    slurm:
"""
        found = load(tmp_path, text).cluster
        assert found is not None
        assert (found.name, found.hosts) == ("big", "head1,@rest")
        assert found.addresses == {"head1": "10.0.0.1", "head2": "fe80::1"}
        assert {name: said["sort"] for name, said in found.phases.items()} == {
            "storage": "map",
            "redis": "bool",
            "slurm": "null",
        }
        (tmp_path / ".sealift").mkdir()
        again = [load(tmp_path, text).cluster for _ in range(2)]
        assert again == [found, found]

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ("{host: head1}", "unknown key 'host'"),
            ("{name: 'a b'}", "no name of a cluster"),
            ("{hosts: 'head1; rm'}", "no set of hosts"),
            ("{hosts: []}", "no set of hosts"),
            ("{addresses: {head1: head1.example}}", "no IP address"),
            ("{addresses: {'../x': 10.0.0.1}}", "no host name"),
            ("{phases: {Storage: {}}}", "no name of a phase"),
            ("{phases: {storage: true}}", "wrong type"),
            ("{phases: {storage: [x]}}", "wrong type"),
            ("[head1]", "wrong type"),
        ],
    )
    def test_refused(self, tmp_path: Path, said: str, reason: str) -> None:
        error = refused(tmp_path, f"cluster: {said}\n")
        assert reason in error.reason
        assert f"{tmp_path}/sealift.yaml:1:" in str(error.where)
