"""Requirements files as sites write them, and as they must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.requirements import (
    RequirementError,
    Requirements,
    name_of,
    parse_lines,
    read_requirements,
)

if TYPE_CHECKING:
    from pathlib import Path


def read(tmp_path: Path, text: str, *extra: str) -> Requirements:
    file = tmp_path / "requirements.txt"
    file.write_text(text)
    return read_requirements(file, extra, root=tmp_path)


def test_a_file_as_sites_have_it(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "\ufeff# web\n"
        "Flask >= 3.0   # the framework\n"
        "\n"
        "Flask_SQLAlchemy[ asyncio ]~=3.1 ; python_version >= '3.8'\r\n"
        "redis\n"
        "requests==2.32.3 \\\n"
        "    --hash=sha256:aaaa \\\n"
        "    --hash=sha256:bbbb\n",
        "gunicorn",
    )
    assert found.lines == (
        "flask-sqlalchemy[asyncio]~=3.1 ; python_version >= '3.8'",
        "flask>=3.0",
        "gunicorn",
        "redis",
        "requests==2.32.3",
    )
    assert found.names == {"flask", "flask-sqlalchemy", "gunicorn", "redis", "requests"}


def test_the_files_own_word_on_gunicorn_counts(tmp_path: Path) -> None:
    assert read(tmp_path, "Gunicorn==21.2\n", "gunicorn").lines == ("gunicorn==21.2",)


def test_included_files_and_constraints(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("flask\n-c pins.txt\n")
    (tmp_path / "more" / "pins.txt").write_text("werkzeug<4\n")
    found = read(tmp_path, "-r more/base.txt\nredis\n--constraint=more/pins.txt\n")
    assert found.lines == ("flask", "redis")
    assert found.constraints == ("werkzeug<4",)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("git+https://github.com/a/b", "not a package of the index"),
        ("b @ https://example.org/b-1.tar.gz", "not a package of the index"),
        ("https://example.org/b-1.tar.gz", "not a package of the index"),
        ("./b", "not a package of the index"),
        ("/opt/b.whl", "not a package of the index"),
        ("-e .", "option '-e'"),
        ("--index-url https://example.org/simple", "option '--index-url'"),
        ("--extra-index-url=https://example.org", "option '--extra-index-url'"),
        ("--pre", "option '--pre'"),
        ("-r ../outside.txt", "outside of the source"),
        ("-r /etc/hostname", "outside of the source"),
        ("-r missing.txt", "no requirements file"),
        ("-r requirements.txt", "include each other"),
        ("!flask", "not a package of the index"),
    ],
)
def test_what_cannot_be_locked_is_named(tmp_path: Path, line: str, says: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(RequirementError, match=says) as caught:
        read(source, f"flask\n{line}\n")
    assert caught.value.where


def test_the_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequirementError) as caught:
        read(tmp_path, "# one\nflask\nredis \\\n  >=5\n-e .\n")
    assert caught.value.where == f"{tmp_path}/requirements.txt:5"


def test_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(RequirementError, match="no requirements file"):
        read_requirements(tmp_path / "requirements.txt", root=tmp_path)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"fl\xffask\n")
    with pytest.raises(RequirementError, match="not UTF-8"):
        read_requirements(tmp_path / "requirements.txt", root=tmp_path)


def test_the_digest_is_over_meaning(tmp_path: Path) -> None:
    one = read(tmp_path, "Flask>=3\nredis\n").digest("cp311")
    assert one == read(tmp_path, "# new comment\nredis\nflask  >= 3 # why\n").digest("cp311")
    assert one != read(tmp_path, "flask>=3.1\nredis\n").digest("cp311")
    assert one != read(tmp_path, "Flask>=3\nredis\n").digest("cp312")


@given(st.sampled_from(["flask", "Flask", "FLASK"]), st.sampled_from(["", ">=3", "==3.1.3"]))
def test_normalising_twice_changes_nothing(name: str, version: str) -> None:
    once = parse_lines([f"{name} {version}"], "here").lines
    assert parse_lines(once, "here").lines == once
    assert name_of(once[0]) == "flask"
