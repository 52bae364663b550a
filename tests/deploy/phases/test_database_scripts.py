"""What runs on a head before MariaDB: as it is rendered, with programs that note how they are run.

Paths of the scripts are led to folders of the test. `systemctl start` does what comes before the
start of MariaDB, as its unit has it.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.phases.mariadb import LOGIN
from tests.builders.phase_site import PhaseSite

RECIPE = Path(__file__).parents[3] / "recipes/phases/database.yaml"
NEW = "_WSREP_NEW_CLUSTER=--wsrep-new-cluster\n"
STATE = "uuid: 1\nsafe_to_bootstrap: 0\n"
PROGRAMS = {
    "systemctl": 'echo "systemctl $*" >>"$NOTES"; exec /bin/sh "$BEGIN"',
    # Of peers, those answer that have a file.
    "socat": 'peer=${3#TCP:}; [ -e "$SAID/${peer%%:*}" ]',
    "setpriv": 'while [ "$1" != -- ]; do user="$user $1"; shift; done; shift; '
    'echo "as$user: $1" >>"$NOTES"; exec "$@"',
    "mariadb-install-db": """\
echo "$*" >>"$NOTES"
[ ! -e "$SAID/torn" ] || { mkdir "$DATA/mysql"; exit 1; }
mkdir "$DATA/mysql" "$DATA/sys" && echo new >"$DATA/ibdata1\"""",
    "mariadb": 'printf %s "$MYSQL_PWD" >"$NOTES"; echo "$*" >>"$SAID/argv"',
}


@dataclass
class Head:
    """A folder that is a head."""

    root: Path
    site: PhaseSite

    def __post_init__(self) -> None:
        for each in ("data", "run", "said", "bin"):
            (self.root / each).mkdir()
        for name, text in PROGRAMS.items():
            (self.root / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.root / "bin" / name).chmod(0o755)
        (self.root / "begin").write_text(self.text("sealift-begin"))

    @property
    def data(self) -> Path:
        return self.root / "data"

    def text(self, name: str) -> str:
        text = self.site.text(f"/etc/mysql/{name}", "head1", "database")
        for path, here in (("/var/lib/mysql", "data"), ("/run/sealift-galera", "run")):
            text = text.replace(path, str(self.root / here))
        return text

    def does(self, text: str, *argv: str, given: str = "") -> int:
        """Run a script; return its status."""
        facts = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "NOTES": str(self.root / "notes"),
            "SAID": str(self.root / "said"),
            "DATA": str(self.data),
            "BEGIN": str(self.root / "begin"),
        }
        words = ["/bin/sh", "-c", text, "script", *argv]
        ended = subprocess.run(
            words, env=facts, input=given.encode(), capture_output=True, check=False, timeout=60
        )
        return ended.returncode

    def first(self) -> int:
        return self.does(self.text("sealift-first"))

    def begin(self) -> int:
        return self.does(self.text("sealift-begin"))

    def says(self, peer: str) -> None:
        (self.root / "said" / peer).touch()

    @property
    def notes(self) -> str:
        path = self.root / "notes"
        return path.read_text() if path.exists() else ""

    @property
    def start(self) -> str:
        """What MariaDB is going to be started with."""
        path = self.root / "run/start"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def head(tmp_path: Path) -> Head:
    site = PhaseSite(tmp_path.resolve())
    site.settings()
    text = RECIPE.read_text()
    site.recipe("database", re.sub(r"(?m)^(inputs|packages|after): .*\n", "", text))
    root = tmp_path / "head"
    root.mkdir()
    return Head(root, site)


def system(head: Head) -> None:
    (head.data / "mysql").mkdir()


def test_who_is_called_for_is_the_first_node_of_one_start(head: Head) -> None:
    system(head)
    (head.data / "grastate.dat").write_text(STATE)
    assert head.first() == 0
    assert head.start == NEW
    assert "safe_to_bootstrap: 1" in (head.data / "grastate.dat").read_text()
    assert "mariadb-install-db" not in head.notes
    assert head.begin() == 0
    assert head.start == ""


def test_nobody_is_the_first_whom_another_answers(head: Head) -> None:
    system(head)
    head.says("10.0.0.13")
    assert head.first() != 0
    assert head.start == ""


def test_a_start_that_nobody_called_for_joins(head: Head) -> None:
    head.says("10.0.0.13")
    assert head.begin() == 0
    assert head.start == ""


def test_what_was_asked_by_somebody_who_is_gone_does_not_count(head: Head) -> None:
    (head.root / "run/first").write_text("1 1\n")
    assert head.begin() == 0
    assert head.start == ""
    assert not (head.root / "run/first").exists()


def test_system_tables_that_are_gone_are_made_anew(head: Head) -> None:
    assert head.first() == 0
    assert "--auth-root-authentication-method=socket --auth-root-socket-user=mysql" in head.notes
    assert (head.data / "mysql").is_dir()
    assert not (head.data / ".sealift-making").exists()
    assert head.start == NEW


def test_system_tables_that_were_half_made_are_made_anew(head: Head) -> None:
    (head.root / "said/torn").touch()
    assert head.first() != 0
    assert head.start == ""
    (head.root / "said/torn").unlink()
    assert head.first() == 0
    assert (head.data / "ibdata1").read_text() == "new\n"
    assert not (head.data / ".sealift-making").exists()


def test_system_tables_of_data_that_are_there_stay(head: Head) -> None:
    """Data without them are damaged, and not for a script to take away."""
    (head.data / "grastate.dat").write_text(STATE)
    (head.data / "ibdata1").write_text("kept")
    head.first()
    assert "install-db" not in head.notes
    assert (head.data / "ibdata1").read_text() == "kept"


def test_root_writes_nothing_where_mariadb_could_have_laid_a_link(head: Head) -> None:
    head.first()
    (head.data / "grastate.dat").write_text(STATE)
    head.first()
    lines = [each for each in head.notes.splitlines() if each.startswith("as")]
    own = "as --reuid mysql --regid mysql --clear-groups"
    assert {each.partition(":")[0] for each in lines} == {own}
    does = {each.partition(": ")[2] for each in lines}
    assert does == {"touch", "rm", "mariadb-install-db", "sed"}


@pytest.mark.parametrize("word", ["plain", 'a"b', "a'b", "a#b", "a\\tb", " a ", "a\nb\n", "ä$(x)`"])
def test_a_password_is_said_to_mariadb_as_it_is(head: Head, word: str) -> None:
    assert head.does(LOGIN, "slurm", given=word) == 0
    assert head.notes == word
    assert "--user=slurm" in (head.root / "said/argv").read_text()
