"""Databases and users of the database phase: what SQL makes them, and what they lack. Pure.

Passwords are markers (`@secret:NAME:mysql@`) for which the head writes the hash that MariaDB keeps,
so neither the operator's end nor the head's process list ever has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OWN = "sealift"
"""The database in which the phase tries what it verifies."""
LOCAL = ("localhost", "127.0.0.1")
_PLUGIN = "mysql_native_password"


@dataclass(frozen=True, slots=True, order=True)
class Lacking:
    """One thing that is not as it is to be: `what` is database, user, password or grant."""

    what: str
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Former:
    """A user of an address that is none of the cluster's any more: no new password reaches it."""

    user: str
    address: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What there is to be: databases with the user that each belongs to, users with their secret.

    `hosts` are where users may come from.
    """

    databases: Mapping[str, str]
    users: Mapping[str, str]
    hosts: tuple[str, ...]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of all passwords."""
        return tuple(sorted(set(self.users.values())))

    @property
    def ownerless(self) -> tuple[str, ...]:
        """Databases of users that there are none of."""
        return tuple(name for name, user in self.databases.items() if user not in self.users)


def hosts(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return where users come from: the head itself, and the others of the cluster."""
    return (*LOCAL, *addresses)


def create(wish: Wish) -> str:
    """Return the SQL that makes all that is wished for; what is there already stays."""
    lines = [f"CREATE DATABASE IF NOT EXISTS {_name(each)};" for each in (OWN, *wish.databases)]
    for user, secret in wish.users.items():
        for host in wish.hosts:
            proof = f"IDENTIFIED VIA {_PLUGIN} USING '@secret:{secret}:mysql@'"
            lines.append(f"CREATE USER IF NOT EXISTS {_user(user, host)} {proof};")
            lines.append(f"ALTER USER {_user(user, host)} {proof};")
    for database, user in wish.databases.items():
        where = _name(_literal(database))
        lines += [
            f"GRANT ALL PRIVILEGES ON {where}.* TO {_user(user, host)};" for host in wish.hosts
        ]
    return "\n".join((*lines, ""))


def drop(users: Iterable[Former]) -> str:
    """Return the SQL that lets users in no more."""
    return "".join(f"DROP USER IF EXISTS {_user(each.user, each.address)};\n" for each in users)


def question(wish: Wish) -> str:
    """Return the SQL whose rows `lacking` and `former` read."""
    lines = ["SELECT 'database', SCHEMA_NAME, '', 1 FROM information_schema.SCHEMATA;"]
    for user, secret in wish.users.items():
        lines += [_user_question(user, secret), _grant_question(user)]
    return "\n".join((*lines, ""))


def _user_question(user: str, secret: str) -> str:
    """Ask whose password is the secret; names have a grammar without quotes."""
    return (
        f"SELECT 'user', User, Host, JSON_VALUE(Priv, '$.plugin') <=> '{_PLUGIN}'"  # noqa: S608
        f" AND JSON_VALUE(Priv, '$.authentication_string') <=> '@secret:{secret}:mysql@'"
        f" FROM mysql.global_priv WHERE User = '{user}';"
    )


def _grant_question(user: str) -> str:
    return (
        "SELECT 'grant', CONCAT(User, '@', Host), Db,"  # noqa: S608
        " Insert_priv = 'Y' AND Create_priv = 'Y' AND Drop_priv = 'Y'"
        f" FROM mysql.db WHERE User = '{user}';"
    )


def lacking(wish: Wish, rows: Sequence[Sequence[str]]) -> tuple[Lacking, ...]:
    """Compare what is wished for with what `question` brought."""
    found = {(what, first, second): right == "1" for what, first, second, right in rows}
    return (*_databases(wish, found), *_users(wish, found), *_grants(wish, found))


def former(wish: Wish, rows: Sequence[Sequence[str]]) -> tuple[Former, ...]:
    """Return those users that are there for addresses which the cluster had before.

    Of names and patterns (`%`) the phase makes none: whose they are is for the site to know.
    """
    found = {Former(user, host) for what, user, host, _ in rows if what == "user"}
    return tuple(
        sorted(each for each in found if each.user in wish.users and _left(wish, each.address))
    )


def _left(wish: Wish, host: str) -> bool:
    try:
        return host not in wish.hosts and not ip_address(host).is_loopback
    except ValueError:
        return False


def _databases(wish: Wish, found: Mapping[tuple[str, str, str], bool]) -> list[Lacking]:
    wanted = (OWN, *wish.databases)
    return [Lacking("database", each) for each in wanted if ("database", each, "") not in found]


def _users(wish: Wish, found: Mapping[tuple[str, str, str], bool]) -> list[Lacking]:
    """A user that is there for some hosts alone is one that is not there."""
    lacks = []
    for user in wish.users:
        rights = [found.get(("user", user, host)) for host in wish.hosts]
        if False in rights:
            lacks.append(Lacking("password", user))
        elif None in rights:
            lacks.append(Lacking("user", user))
    return lacks


def _grants(wish: Wish, found: Mapping[tuple[str, str, str], bool]) -> list[Lacking]:
    return [
        Lacking("grant", f"{database} to {user}")
        for database, user in wish.databases.items()
        if not all(
            found.get(("grant", f"{user}@{host}", _literal(database))) for host in wish.hosts
        )
    ]


def _literal(database: str) -> str:
    """Spell the name of a database where a grant has patterns."""
    return database.replace("_", "\\_").replace("%", "\\%")


def _name(name: str) -> str:
    return f"`{name}`"


def _user(user: str, host: str) -> str:
    return f"'{user}'@'{host}'"
