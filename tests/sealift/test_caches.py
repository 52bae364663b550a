"""`sealift export` and `sealift import`, as a user runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from store.cache_keys import SecretKey

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sealift.conftest import Folder


@pytest.fixture
def path(folder: Folder) -> str:
    """Give a site one path that nothing keeps."""
    (folder.root / "note").write_text("a note\n")
    done = folder.run("store", "add", "note")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def emptied(folder: Folder) -> None:
    """Begin anew with a store in the same place."""
    for name in ("store", "var"):
        (folder.root / name).rename(folder.root / f"old-{name}")


def test_what_was_exported_is_imported_and_kept(folder: Folder, path: str) -> None:
    done = folder.run("export", "cache", path)
    assert (done.returncode, done.stdout.strip()) == (0, path), done.stderr
    assert "1 paths, 1 of them new" in done.stderr
    assert "0 of them new" in folder.run("export", "--format", "nix-cache", "cache", path).stderr

    emptied(folder)
    done = folder.run("import", "cache", "--unsigned")
    assert (done.returncode, done.stdout.strip()) == (0, path), done.stderr
    assert "1 paths are new" in done.stderr
    assert "not who made them" in done.stderr
    assert folder.run("store", "cat", path).returncode == 0
    assert "gcroots/imported/note" in folder.run("store", "roots").stdout
    assert folder.run("store", "gc").stdout == ""
    assert "0 paths are new" in folder.run("import", "cache", path, "--unsigned").stderr


def test_somebody_must_say_whose_word_counts(folder: Folder, path: str) -> None:
    assert folder.run("export", "cache", path).returncode == 0
    emptied(folder)
    key = str(SecretKey.generate("site-1").public)
    for more in ((), ("--unsigned", "--trust", key)):
        done = folder.run("import", "cache", *more)
        assert done.returncode == 2
        assert "--unsigned" in done.stderr
    assert list(folder.root.glob("store/*-note")) == []


def test_records(folder: Folder, path: str) -> None:
    name = path.rpartition("/")[2]
    said = json.loads(folder.run("export", "cache", path, "--json").stdout)
    assert said["added"] == said["paths"] == [name]
    assert said["store_dir"] == path.rpartition("/")[0]
    emptied(folder)
    said = json.loads(
        folder.run("import", "cache", "--root", "mine", "--unsigned", "--json").stdout
    )
    assert said["roots"] == {"mine": name}
    assert said["added"] == [name]
    assert said["signed"] is False
    assert folder.run("path-info", "mine").stdout.strip() == path


def test_what_is_no_release_is_not_called_one(folder: Folder, path: str) -> None:
    assert folder.run("export", "cache", path).returncode == 0
    done = folder.run("import", "cache", "--root", "release", "--unsigned")
    assert done.returncode == 2
    assert "[bad-release]" in done.stderr
    assert "gcroots/release" not in folder.run("store", "roots").stdout


def test_a_key_is_made_where_there_is_none(folder: Folder, path: str) -> None:
    words = ("export", "cache", path, "--new-key", "site-1")
    assert folder.run(*words).returncode == 2
    done = folder.run(*words, "--sign-key", "secret")
    assert done.returncode == 0, done.stderr
    public = done.stderr.rpartition("signed by ")[2].strip()
    assert public == str(SecretKey.load(folder.root / "secret").public)
    assert folder.run(*words, "--sign-key", "secret").returncode == 2
    emptied(folder)
    assert folder.run("import", "cache", "--trust", public).returncode == 0
    done = folder.run("import", "cache", "--trust", str(SecretKey.generate("else").public))
    assert done.returncode == 3, "though it is here already"
    assert "[untrusted-path]" in done.stderr


def test_signatures_are_asked_for(folder: Folder, path: str, tmp_path: Path) -> None:
    key, other = SecretKey.generate("site-1"), SecretKey.generate("site-2")
    (tmp_path / "secret").write_text(key.spelled)
    (tmp_path / "public").write_text(f"{key.public}\n")
    assert folder.run("export", "cache", path).returncode == 0
    emptied(folder)
    done = folder.run("import", "cache", "--trust", str(key.public))
    assert (done.returncode, done.stdout) == (3, "")
    assert "[untrusted-path]" in done.stderr

    for name in ("store", "var"):
        (folder.root / name).rename(folder.root / f"empty-{name}")
        (folder.root / f"old-{name}").rename(folder.root / name)
    assert folder.run("export", "cache", path, "--sign-key", "secret").returncode == 0
    emptied(folder)
    done = folder.run("import", "cache", "--trust", str(other.public))
    assert done.returncode == 3
    assert "site-2" in done.stderr
    for text in (str(key.public), "public"):
        done = folder.run("import", "cache", "--trust", str(other.public), "--trust", text)
        assert done.returncode == 0, done.stderr
        assert "not who made them" not in done.stderr


@pytest.mark.parametrize(
    ("words", "slug"),
    [
        (["empty"], "bad-input"),
        (["cache", "--trust", "site:abc"], "bad-cache-key"),
        (["cache", "--trust", "nowhere"], "bad-cache-key"),
        (["cache", "/nix/store/x"], "not-a-store-path"),
        (["cache", f"{'0' * 32}-other"], "missing-reference"),
        (["cache", "--root", "../x"], "bad-input"),
        (["damaged"], "bad-cache"),
    ],
)
def test_what_is_not_imported(folder: Folder, path: str, words: list[str], slug: str) -> None:
    (folder.root / "empty").mkdir()
    for name in ("cache", "damaged"):
        assert folder.run("export", name, path).returncode == 0
    nar = next((folder.root / "damaged" / "nar").iterdir())
    nar.write_bytes(nar.read_bytes()[:-1])
    emptied(folder)
    more = () if "--trust" in words else ("--unsigned",)
    done = folder.run("import", *words, *more)
    assert done.returncode in {2, 3}
    assert f"[{slug}]" in done.stderr, done.stderr
    assert [each.name for each in folder.root.glob("store/*") if each.name != ".links"] == []
    assert list(folder.root.glob("var/gcroots/*")) == []


@pytest.mark.parametrize(
    ("words", "slug"),
    [
        (["cache", "other"], "bad-input"),
        (["cache"], "bad-input"),
        (["cache", "PATH", "--sign-key", "nowhere"], "bad-cache-key"),
        (["cache", "PATH", "--sign-key", "note"], "bad-cache-key"),
        (["note/cache", "PATH"], "cache-unreadable"),
        (["other", "PATH"], "cache-other-store"),
    ],
)
def test_what_is_not_exported(folder: Folder, path: str, words: list[str], slug: str) -> None:
    (folder.root / "other").mkdir()
    (folder.root / "other" / "nix-cache-info").write_text("StoreDir: /nix/store\n")
    done = folder.run("export", *(path if word == "PATH" else word for word in words))
    assert done.returncode in {1, 2}
    assert f"[{slug}]" in done.stderr, done.stderr
    assert list(folder.root.glob("*/*.narinfo")) == []


def test_a_cache_of_another_place_names_that_place(folder: Folder, path: str) -> None:
    folder.run("export", "cache", path)
    (folder.root / "sealift.yaml").write_text("store_dir: elsewhere/store\nstate_dir: state\n")
    done = folder.run("import", "cache", "--unsigned")
    assert done.returncode == 2
    assert "[cache-other-store]" in done.stderr
    assert f"store_dir: {folder.root}/store" in done.stderr


def test_several_tops_have_several_roots(folder: Folder, path: str) -> None:
    (folder.root / "what?").write_text("x")
    (folder.root / "sub").mkdir()
    (folder.root / "sub" / "note").write_text("another")
    more = [folder.run("store", "add", name).stdout.strip() for name in ("what?", "sub/note")]
    assert folder.run("export", "cache", path, *more).returncode == 0
    emptied(folder)
    done = folder.run("import", "cache", "--root", "release", "--unsigned")
    assert done.returncode == 2
    assert "one root cannot keep 3 paths" in done.stderr
    assert folder.run("store", "roots").stdout == ""
    assert [each.name for each in (folder.root / "store").iterdir()] == [".links"]
    assert folder.run("import", "cache", "--unsigned").returncode == 0
    rows = folder.run("store", "roots").stdout.splitlines()
    names = {row.split()[0] for row in rows}
    notes = {f"gcroots/imported/{each.rpartition('/')[2]}" for each in (path, more[1])}
    assert names == {"gcroots/imported/what_", *notes}
