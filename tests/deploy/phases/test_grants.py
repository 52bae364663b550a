"""Databases and users: what is made, and what is seen to be lacking."""

from __future__ import annotations

import pytest

from deploy.phases.grants import (
    Former,
    Lacking,
    Wish,
    create,
    drop,
    former,
    hosts,
    lacking,
    question,
)

WISH = Wish({"slurm_acct_db": "slurm"}, {"slurm": "DB_PASSWORD"}, hosts(["10.0.0.1"]))
ROWS = [
    ["database", "sealift", "", "1"],
    ["database", "slurm_acct_db", "", "1"],
    *(["user", "slurm", each, "1"] for each in WISH.hosts),
    *(["grant", f"slurm@{each}", "slurm\\_acct\\_db", "1"] for each in WISH.hosts),
]


def without(*row: str) -> list[list[str]]:
    return [each for each in ROWS if each[: len(row)] != list(row)]


def test_users_come_from_the_head_itself_and_from_the_others() -> None:
    assert WISH.hosts == ("localhost", "127.0.0.1", "10.0.0.1")


def test_no_password_stands_in_the_sql_and_no_name_is_a_pattern() -> None:
    text = create(WISH)
    assert text.count("'@secret:DB_PASSWORD:mysql@'") == 2 * len(WISH.hosts)
    assert "GRANT ALL PRIVILEGES ON `slurm\\_acct\\_db`.* TO 'slurm'@'10.0.0.1';" in text
    assert "CREATE DATABASE IF NOT EXISTS `slurm_acct_db`;" in text
    assert "@secret:DB_PASSWORD:mysql@" in question(WISH)
    assert WISH.secrets == ("DB_PASSWORD",)


def test_nothing_is_lacking_where_all_is_there() -> None:
    assert lacking(WISH, ROWS) == ()


def test_each_thing_that_lacks_is_told() -> None:
    assert lacking(WISH, without("database", "slurm_acct_db")) == (
        Lacking("database", "slurm_acct_db"),
    )
    assert lacking(WISH, without("user", "slurm", "10.0.0.1")) == (Lacking("user", "slurm"),)
    assert lacking(WISH, without("grant", "slurm@127.0.0.1")) == (
        Lacking("grant", "slurm_acct_db to slurm"),
    )
    wrong = [[*row[:3], "0"] if row[0] == "user" else row for row in ROWS]
    assert lacking(WISH, wrong) == (Lacking("password", "slurm"),)
    assert len(lacking(WISH, [])) == 4


def test_a_grant_on_a_pattern_is_not_the_grant_that_is_wanted() -> None:
    wide = [["slurm_acct_db" if each == "slurm\\_acct\\_db" else each for each in r] for r in ROWS]
    assert lacking(WISH, wide) == (Lacking("grant", "slurm_acct_db to slurm"),)


def test_users_of_hosts_that_the_cluster_had_before_are_told_and_dropped() -> None:
    rows = [*ROWS, ["user", "slurm", "10.0.0.9", "0"], ["user", "slurm", "fd00::9", "1"]]
    left = former(WISH, rows)
    assert left == (Former("slurm", "10.0.0.9"), Former("slurm", "fd00::9"))
    assert drop(left[:1]) == "DROP USER IF EXISTS 'slurm'@'10.0.0.9';\n"
    assert former(WISH, ROWS) == ()
    assert lacking(WISH, rows) == ()


@pytest.mark.parametrize(
    ("user", "host"),
    [
        ("slurm", "%"),
        ("slurm", "10.0.0.%"),
        ("slurm", "10.0.0.0/255.255.255.0"),
        ("slurm", "login1"),
        ("slurm", "::1"),
        ("slurm", "10.0.0.1"),
        ("other", "10.0.0.9"),
    ],
)
def test_what_the_phase_never_made_is_not_dropped(user: str, host: str) -> None:
    assert former(WISH, [*ROWS, ["user", user, host, "0"]]) == ()


def test_a_database_whose_user_there_is_not_is_ownerless() -> None:
    assert Wish({"a": "nobody", "b": "slurm"}, {"slurm": "X"}, ()).ownerless == ("a",)
