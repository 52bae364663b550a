"""Which accounts and users Slurm's database lacks, and the commands that add them. Pure.

Accounts that the settings do not name are left as they are: a site adds its own as it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ADD = ("sacctmgr", "--immediate", "--quiet", "add")
SHOW = ("sacctmgr", "--noheader", "--parsable2", "show")


@dataclass(frozen=True, slots=True)
class Lacking:
    """What is to be added to a cluster's accounts; `cluster` tells whether it is itself."""

    name: str
    cluster: bool
    accounts: tuple[str, ...]
    users: tuple[tuple[str, str], ...]
    """Users with their accounts."""

    def __bool__(self) -> bool:
        return bool(self.cluster or self.accounts or self.users)

    def told(self) -> list[str]:
        """Say each addition in the present tense."""
        return [
            *([f"add the cluster {self.name} to the accounting"] if self.cluster else []),
            *(f"add the account {each}" for each in self.accounts),
            *(f"add {user} to the account {account}" for user, account in self.users),
        ]

    def commands(self) -> list[tuple[str, ...]]:
        """Return the commands that add it, in an order in which each finds what it names."""
        own = f"cluster={self.name}"
        return [
            *([(*ADD, "cluster", self.name)] if self.cluster else []),
            *(
                (*ADD, "account", each, own, f"description={each}", "organization=sealift")
                for each in self.accounts
            ),
            *((*ADD, "user", user, f"account={account}", own) for user, account in self.users),
        ]


def lacking(
    name: str,
    wanted: Mapping[str, Sequence[str]],
    clusters: Iterable[Sequence[str]],
    associations: Iterable[Sequence[str]],
) -> Lacking:
    """Compare wanted users by account with rows of clusters, and of (account, user)."""
    have = {(row[0], row[1] if len(row) > 1 else "") for row in associations}
    known = any(row and row[0] == name for row in clusters)
    return Lacking(
        name=name,
        cluster=not known,
        accounts=tuple(each for each in wanted if (each, "") not in have),
        users=tuple(
            (user, account)
            for account, users in wanted.items()
            for user in users
            if (account, user) not in have
        ),
    )
