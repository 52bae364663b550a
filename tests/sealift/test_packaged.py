"""sealift as sealift builds it: one file is the whole tool; wheel, PEX and shiv start too."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builders.linkage import elf_files, missing
from builders.scripts.one_file import MARK
from tests.builders.workbench import works
from tests.sealift.packaged import (
    REPOSITORY,
    SEALIFT,
    Artefact,
    bare_root,
    build,
    run,
    run_bare,
    tiny,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.network,
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(not works(), reason="bubblewrap does not work here"),
]

HEAVY = {"fabric", "pex", "paramiko", "yaml", "urllib3", "cyclonedx", "rich"}
"""What is loaded by the commands that need it alone."""
DAMAGED = "sealift: this file is damaged"


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return build(tmp_path_factory.mktemp("packaged").resolve())


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """Give a folder for trees, and leave none: they are large."""
    folder = tmp_path.resolve() / "cache"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def unpacked(artefact: Artefact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Start the one file once; give the folder that it unpacked itself to."""
    folder = tmp_path_factory.mktemp("unpacked").resolve()
    done = run(artefact.one, "--version", env={"SEALIFT_CACHE": str(folder)})
    assert done.returncode == 0, done.stderr
    return folder


def env(cache: Path) -> dict[str, str]:
    return {"SEALIFT_CACHE": str(cache)}


def trees(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []


# On a bare machine.


def test_a_machine_with_glibc_and_nothing_else(artefact: Artefact, tmp_path: Path) -> None:
    root = bare_root(artefact, tmp_path / "root")
    first = run_bare(root, "--version")
    assert (first.returncode, first.stdout, first.stderr) == (0, "sealift 0.1.0\n", "")
    (tree,) = (root / "home" / ".cache" / "sealift").iterdir()
    made = tree.stat()
    assert made.st_mode & 0o777 == 0o700
    assert "Commands:" in run_bare(root, "--help").stdout
    listed = run_bare(root, "list")
    assert (listed.returncode, listed.stdout.split()[:2]) == (0, ["base", "deb"]), listed.stderr
    now = tree.stat()
    assert (now.st_ino, now.st_ctime_ns) == (made.st_ino, made.st_ctime_ns)
    shutil.rmtree(tree)


def test_a_machine_with_glibc_and_nothing_else_locks(artefact: Artefact, tmp_path: Path) -> None:
    root = bare_root(artefact, tmp_path / "root")
    recipes = REPOSITORY / "recipes"
    for name in ("patchelf", "python-3.11"):
        shutil.copy(recipes / "toolchains" / f"{name}.yaml", root / "site" / "recipes")
    small = "kind: env\nrequirements: [packaging]\n"
    (root / "site" / "recipes" / "small.yaml").write_text(small)
    nobody = "mirrors: {pypi_index: 'http://127.0.0.1:9/simple'}\n"
    (root / "site" / "sealift.yaml").write_text(f"sources: .\n{nobody}")
    done = run_bare(root, "lock", "small")
    # It is uv's own word that nobody is there: the program runs.
    assert "libgcc_s" not in done.stderr
    assert "http://127.0.0.1:9/simple/packaging/" in done.stderr
    shutil.rmtree(root / "home" / ".cache")


def test_a_machine_with_glibc_and_nothing_else_makes_keys(
    artefact: Artefact, tmp_path: Path
) -> None:
    """By the ssh-keygen that it carries, which wants to know whose process it is."""
    root = bare_root(artefact, tmp_path / "root")
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text(f"user:x:{os.getuid()}:0::/home:/bin/sh\n")
    done = run_bare(root, "key", "init", "--identity", "site@lab", "--no-passphrase")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("site@lab ")
    assert (root / "site" / "keys" / "signing.pub").read_text().startswith("ssh-ed25519 ")
    shutil.rmtree(root / "home" / ".cache")


def test_all_that_is_carried_needs_glibc_and_itself_alone(unpacked: Path) -> None:
    (tree,) = (path for path in unpacked.iterdir() if not path.name.startswith("."))
    files = elf_files([tree])
    assert str(tree / "python" / "bin" / "uv") in files
    assert missing(files, tree / "python") == []


def test_without_proc_that_is_said(artefact: Artefact, tmp_path: Path) -> None:
    root = bare_root(artefact, tmp_path / "root")
    done = run_bare(root, "--version", more=["--tmpfs", "/proc"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "sealift: /proc is not mounted"


def test_a_home_that_cannot_be_written(artefact: Artefact, tmp_path: Path) -> None:
    root = bare_root(artefact, tmp_path / "root")
    sealed = ["--ro-bind", str(root / "home"), "/home"]
    done = run_bare(root, "--version", more=sealed)
    assert (done.returncode, done.stdout) == (0, "sealift 0.1.0\n"), done.stderr
    done = run_bare(root, "--version", more=[*sealed, "--remount-ro", "/tmp"])  # noqa: S108
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "sealift: nowhere to unpack to",
        "  at        /home/.cache/sealift: No such file or directory",
        f"  at        /tmp/sealift-{os.geteuid()}: No such file or directory",
        "  hint      name a folder of your own: SEALIFT_CACHE=FOLDER",
    ]


def test_no_home_at_all(artefact: Artefact, tmp_path: Path) -> None:
    root = bare_root(artefact, tmp_path / "root")
    done = run_bare(root, "--version", more=["--unsetenv", "HOME"])
    assert (done.returncode, done.stdout) == (0, "sealift 0.1.0\n"), done.stderr
    assert not (root / "home" / ".cache").exists()


def test_a_full_disk_is_one_error_and_leaves_nothing(artefact: Artefact, tmp_path: Path) -> None:
    root = bare_root(artefact, tmp_path / "root")
    (root / "small").mkdir()
    small = ["--size", "30000000", "--tmpfs", "/small", "--setenv", "SEALIFT_CACHE", "/small/a"]
    done = run_bare(root, "--version", more=small)
    assert done.returncode == 1
    assert "  at        /small/a: no room: " in done.stderr
    assert done.stderr.count("\n") == 3


def test_a_disk_that_fills_up_meanwhile(artefact: Artefact, cache: Path) -> None:
    def limit() -> None:
        # Stands in for a quota, which nobody can ask for beforehand: uv alone is larger.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000_000, 30_000_000))

    done = subprocess.run(
        [artefact.one, "--version"],
        env=env(cache),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "sealift: cannot be unpacked: python/bin/uv: File too large\n"
    assert trees(cache) == []
    assert run(artefact.one, "--version", env=env(cache)).returncode == 0


def test_no_glibc_is_said(artefact: Artefact, tmp_path: Path) -> None:
    root = bare_root(artefact, tmp_path / "root")
    shutil.rmtree(root / "lib64")
    done = run_bare(root, "--version")
    assert (done.returncode, done.stdout) == (1, "")
    reason = "sealift: this machine has no glibc: the interpreter needs 2.36 or later\n"
    assert done.stderr == reason
    assert trees(root / "home" / ".cache" / "sealift") == []


# Starting.


def test_four_first_starts_at_once(artefact: Artefact, cache: Path) -> None:
    started = [
        subprocess.Popen(
            [artefact.one, "--version"], env=env(cache), stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert [process.communicate()[0] for process in started] == ["sealift 0.1.0\n"] * 4
    assert len(trees(cache)) == 1


def test_killed_at_any_moment_it_leaves_nothing_that_counts(
    artefact: Artefact, cache: Path
) -> None:
    kills = 0
    for moment in (0.02, 0.1, 0.3, 0.5):
        with subprocess.Popen([artefact.one, "--version"], env=env(cache)) as process:
            time.sleep(moment)
            if process.poll() is None:
                kills += 1
                process.kill()
    assert kills
    done = run(artefact.one, "--version", env=env(cache))
    assert (done.returncode, done.stdout) == (0, "sealift 0.1.0\n"), done.stderr
    (tree,) = trees(cache)
    assert not tree.startswith(".")


def test_what_another_is_making_is_left_alone(artefact: Artefact, tmp_path: Path) -> None:
    one, cache = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "cache"
    held, dead = cache / ".new-held", cache / ".new-dead"
    for folder in (held, dead):
        folder.mkdir(parents=True)
        (folder / "part").write_text("half")
    with subprocess.Popen(
        ["flock", "--exclusive", held, "sh", "-c", "echo held; read end"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        cache.chmod(0o700)
        assert run(one, env=env(cache)).returncode == 0
        assert (held.exists(), dead.exists()) == (True, False)
        holder.communicate(b"\n")


def test_words_and_code_are_handed_on(artefact: Artefact, tmp_path: Path) -> None:
    one, cache = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "cache"
    words = ["a b", "", "--c", "ö\n"]
    done = run(one, *words, env=env(cache))
    (tree,) = trees(cache)
    assert done.stdout == "\n".join(["-ISB", f"{cache}/{tree}/sealift.py", *words, ""])


def test_an_interpreter_that_does_not_run_is_not_kept(artefact: Artefact, tmp_path: Path) -> None:
    script = tmp_path / "python3"
    script.write_text("#!/bin/sh\necho version GLIBC_2.99 not found >&2\nexit 1\n")
    script.chmod(0o755)
    broken = {"python/bin/python3": script}
    one = tiny(artefact.launcher, tmp_path / "one", runtime=broken)
    done = run(one, env=env(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "version GLIBC_2.99 not found",
        "sealift: the interpreter does not run here: it needs glibc 2.36 or later",
    ]
    assert trees(tmp_path / "cache") == []


def test_a_tree_that_lost_parts_is_made_again(artefact: Artefact, tmp_path: Path) -> None:
    one, cache = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "cache"
    assert run(one, env=env(cache)).returncode == 0
    (tree,) = cache.iterdir()
    (tree / "sealift.py").unlink()
    assert run(one, env=env(cache)).returncode == 0
    assert (tree / "sealift.py").read_text() == "start\n"
    assert trees(cache) == [tree.name]


@pytest.mark.parametrize("lost", ["**/click", "lib/*/encodings", "lib/*/lib-dynload", "bin/uv"])
def test_a_tree_that_a_sweeper_went_through_is_made_again(
    artefact: Artefact, unpacked: Path, cache: Path, lost: str
) -> None:
    shutil.copytree(unpacked, cache, symlinks=True)
    (tree,) = (path for path in cache.iterdir() if not path.name.startswith("."))
    (place,) = (tree / "python").glob(lost)
    subprocess.run(["rm", "-r", place], check=True)
    for _ in range(2):
        done = run(artefact.one, "--help", env=env(cache))
        assert (done.returncode, done.stderr) == (0, "")
    assert place.exists()
    assert trees(cache) == [tree.name]


def test_a_tree_that_only_lost_bytecode_is_kept(artefact: Artefact, tmp_path: Path) -> None:
    code = {"python/lib/__pycache__/a.pyc": b"a", "python/lib/a.py": b""}
    one, cache = tiny(artefact.launcher, tmp_path / "one", runtime=code), tmp_path / "cache"
    assert run(one, env=env(cache)).returncode == 0
    (tree,) = cache.iterdir()
    shutil.rmtree(tree / "python" / "lib" / "__pycache__")
    assert run(one, env=env(cache)).returncode == 0
    assert not (tree / "python" / "lib" / "__pycache__").exists()


@pytest.mark.parametrize(
    ("mode", "owner", "says"),
    [
        (0o777, 0, "others can replace it"),
        (0o770, 12345, "others can replace it"),
        (0o1777, 0, None),
        (0o755, 12345, None),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_below_one_that_others_write_to(
    artefact: Artefact, tmp_path: Path, mode: int, owner: int, says: str | None
) -> None:
    one, above = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "above"
    cache = above / "between" / "cache"
    cache.parent.mkdir(parents=True)
    os.chown(above, 0, owner)
    above.chmod(mode)
    done = run(one, env=env(cache))
    assert (done.returncode == 0) == (says is None), done.stderr
    assert says is None or f"{cache}: {says}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_below_that_of_somebody_else(artefact: Artefact, tmp_path: Path) -> None:
    one, above = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "above"
    above.mkdir()
    os.chown(above, 12345, 0)
    (tmp_path / "link").symlink_to(above)
    done = run(one, env=env(tmp_path / "link" / "cache"))
    assert f"{above}/cache: a folder above it belongs to somebody else" in done.stderr


@pytest.mark.parametrize("root", ["/", "//", "/usr/.."])
def test_the_root_of_all_is_no_place(artefact: Artefact, tmp_path: Path, root: str) -> None:
    one = tiny(artefact.launcher, tmp_path / "one")
    done = run(one, env={"SEALIFT_CACHE": root})
    assert done.returncode == 1
    assert "  at        /: it holds all of the machine" in done.stderr


@pytest.mark.parametrize(
    ("mode", "says"), [(0o777, "others can write to it"), (0o770, "others can write to it")]
)
def test_a_folder_that_others_can_write_to_is_not_used(
    artefact: Artefact, tmp_path: Path, mode: int, says: str
) -> None:
    one, cache = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "cache"
    assert run(one, env=env(cache)).returncode == 0
    cache.chmod(mode)
    done = run(one, env=env(cache))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{cache}: {says}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(artefact: Artefact, tmp_path: Path) -> None:
    one, home = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "home"
    cache = home / ".cache" / "sealift"
    cache.mkdir(parents=True)
    os.chown(cache, 12345, 12345)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = run(one, env={"HOME": str(home), "TMPDIR": str(temporary)})
    assert done.returncode == 0, done.stderr
    assert trees(cache) == []
    assert trees(temporary) == ["sealift-0"]


def test_a_cache_that_is_no_absolute_path(artefact: Artefact, tmp_path: Path) -> None:
    one = tiny(artefact.launcher, tmp_path / "one")
    done = run(one, env={"SEALIFT_CACHE": "here"}, cwd=tmp_path)
    assert done.stderr == "sealift: SEALIFT_CACHE is no absolute path: here\n"


def test_relative_places_of_the_environment_count_as_none(
    artefact: Artefact, tmp_path: Path
) -> None:
    one = tiny(artefact.launcher, tmp_path / "one")
    places = {"XDG_CACHE_HOME": "x", "HOME": "h", "TMPDIR": str(tmp_path)}
    assert run(one, env=places, cwd=tmp_path).returncode == 0
    assert trees(tmp_path / f"sealift-{os.geteuid()}")
    assert not (tmp_path / "x").exists()


# Damage.


def test_each_byte_counts(artefact: Artefact, tmp_path: Path) -> None:
    one, cache = tiny(artefact.launcher, tmp_path / "one"), tmp_path / "cache"
    whole = one.read_bytes()
    start = artefact.launcher.stat().st_size
    for at in range(start, len(whole), 7):
        one.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        done = run(one, env=env(cache))
        assert (done.returncode, done.stdout) == (1, ""), at
        assert done.stderr.splitlines()[0] == DAMAGED
    assert trees(cache) == []
    one.write_bytes(whole)
    assert run(one, env=env(cache)).returncode == 0


@pytest.mark.parametrize("cut", [1, 22, 100, 600])
def test_a_file_cut_short(artefact: Artefact, tmp_path: Path, cut: int) -> None:
    one = tiny(artefact.launcher, tmp_path / "one")
    one.write_bytes(one.read_bytes()[:-cut])
    assert run(one, env=env(tmp_path / "cache")).stderr.startswith(DAMAGED)


def test_more_than_there_was(artefact: Artefact, tmp_path: Path) -> None:
    one = tiny(artefact.launcher, tmp_path / "one")
    one.write_bytes(one.read_bytes() + b"\0")
    assert run(one, env=env(tmp_path / "cache")).stderr.startswith(DAMAGED)


def test_a_launcher_that_carries_nothing(artefact: Artefact, tmp_path: Path) -> None:
    one = tmp_path / "one"
    shutil.copy(artefact.launcher, one)
    assert run(one, env=env(tmp_path / "cache")).stderr.startswith(DAMAGED)


@pytest.mark.parametrize(
    "name",
    ["../out", "a/../../out", "/out", "a//out", "./out", "a/..", "..", "sealift.py/x"],
)
def test_a_name_that_leads_out(artefact: Artefact, tmp_path: Path, name: str) -> None:
    one = tiny(artefact.launcher, tmp_path / "one", runtime={name: b"out"})
    done = run(one, env=env(tmp_path / "deep" / "cache"))
    assert done.returncode == 1
    assert trees(tmp_path / "deep" / "cache") == []
    assert not list(tmp_path.glob("**/out"))


@pytest.mark.parametrize("target", ["../out", "/etc", "a/../../b", ".."])
def test_a_link_that_leads_out(artefact: Artefact, tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    one = tiny(artefact.launcher, tmp_path / "one", runtime={"link": tmp_path / "link"})
    done = run(one, env=env(tmp_path / "cache"))
    assert done.stderr.startswith(DAMAGED)
    assert trees(tmp_path / "cache") == []


def test_two_packages_that_claim_one_place(artefact: Artefact, tmp_path: Path) -> None:
    claims = {f".deps/{name}-1-py3-none-any.whl/x.py": name.encode() for name in "ab"}
    one = tiny(artefact.launcher, tmp_path / "one", pex=claims)
    assert run(one, env=env(tmp_path / "cache")).stderr.startswith(DAMAGED)


# The whole tool.


def test_the_stamp_is_the_only_one(artefact: Artefact) -> None:
    assert artefact.launcher.read_bytes().count(MARK) == 1


def test_it_is_a_zip_archive_and_a_pex(artefact: Artefact, tmp_path: Path) -> None:
    with zipfile.ZipFile(artefact.one) as archive:
        assert archive.testzip() is None
        assert "PEX-INFO" in archive.namelist()
    done = run(
        Path(sys.executable), str(artefact.one), "--version", env={"PEX_ROOT": str(tmp_path)}
    )
    assert (done.returncode, done.stdout) == (0, "sealift 0.1.0\n"), done.stderr


@pytest.mark.parametrize("form", ["pex", "shiv"])
def test_pex_and_shiv_start_and_list(artefact: Artefact, tmp_path: Path, form: str) -> None:
    roots = {"PEX_ROOT": str(tmp_path / "root"), "SHIV_ROOT": str(tmp_path / "root")}
    program = artefact.path / f"sealift.{form}"
    for words, says in ((["--version"], "sealift 0.1.0"), (["list"], "base ")):
        done = run(Path(sys.executable), str(program), *words, env=roots, cwd=artefact.site)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout


def test_the_wheel_starts(artefact: Artefact, tmp_path: Path) -> None:
    (wheel,) = artefact.path.glob("sealift-0.1.0-py3-none-any.whl")
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*argv, "--target", tmp_path / "lib", wheel], check=True)
    # Its requirements are those of the tests; sealift itself must come from the wheel.
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    found = {"PYTHONPATH": f"{tmp_path / 'lib'}:{packages}"}
    done = run(
        Path(sys.executable),
        *("-P", "-c", "import sealift.__main__ as m; print(m.__file__); m.main(['list'])"),
        env=found,
        cwd=artefact.site,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "lib"))
    assert "base " in done.stdout


def test_the_one_file_locks_and_builds(artefact: Artefact, unpacked: Path, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    repository = Path(__file__).resolve().parents[2] / "recipes"
    for name in ("base", "patchelf", "python-3.11"):
        (recipes / "locks").mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / "toolchains" / f"{name}.yaml", recipes)
        shutil.copy(repository / "locks" / f"{name}.json", recipes / "locks")
    (recipes / "small.yaml").write_text("kind: env\nrequirements: [packaging]\n")
    (tmp_path / "sealift.yaml").write_text(
        f"store_dir: {artefact.path.parent}\nstate_dir: state\nsources: .\n"
    )
    bare = {**env(unpacked), "PATH": "/usr/bin:/bin"}
    for name in ("SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        bare |= {name: os.environ[name]} if name in os.environ else {}
    for words in (["lock", "small"], ["build", "small"]):
        done = run(artefact.one, *words, env=bare, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_dir()


def test_it_refers_to_nothing(artefact: Artefact) -> None:
    done = run(SEALIFT, "path-info", "--json", "sealift", env={}, cwd=artefact.site)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["references"] == []
    assert str(artefact.path.parent).encode() not in artefact.one.read_bytes()


def loaded(python: list[str], words: list[str], cwd: Path) -> set[str]:
    done = subprocess.run(
        [*python[:1], "-X", "importtime", *python[1:], *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["build", "base"]])
def test_what_does_little_loads_little(
    artefact: Artefact, unpacked: Path, words: list[str]
) -> None:
    (tree,) = (path for path in unpacked.iterdir() if not path.name.startswith("."))
    one = [str(tree / "python" / "bin" / "python3"), "-ISB", str(tree / "sealift.py")]
    for python in (one, [sys.executable, "-m", "sealift"]):
        loaded(python, words, artefact.site)
        found = loaded(python, words, artefact.site)
        assert "sealift" in found
        assert not found & HEAVY
