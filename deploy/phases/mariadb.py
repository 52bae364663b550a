"""MariaDB on the heads of a cluster: how it is looked at, asked and logged in to.

What follows from what is seen is decided in `deploy.phases.galera`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from deploy.phases import absence, galera, galera_node, grants
from deploy.phases.errors import CommandError, DatabaseRefusedError, PhaseError, WrongPasswordError
from deploy.phases.galera_node import BEGAN, DATA, Disk, Live, Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member

UNIT = "mariadb.service"
RECOVER_SECONDS = 600.0
READY = "active"
"""MariaDB has told systemd that it takes clients."""
ALIVE = ("active", "activating", "reloading", "deactivating")
STATUS = "SHOW GLOBAL STATUS LIKE 'wsrep_%'"
_BEGAN = PurePosixPath(BEGAN).name
DENIED = ("ERROR 1045", "ERROR 1698")
LATER = ("ERROR 1047", "ERROR 1205", "ERROR 1213")
"""What is said while heads come and go, and to a write that met another head's."""


LOGIN = """\
MYSQL_PWD=$(cat; echo .)
export MYSQL_PWD="${MYSQL_PWD%.}"
exec mariadb --no-defaults --host=127.0.0.1 --user="$1" --connect-timeout=5 -e 'SELECT 1'
"""
"""Takes the password as it is: in a file of settings a quote, `#` or `\\` would mean something."""


def look(crew: Crew) -> list[Node]:
    """Look at every head that was reached, in their order."""
    ours = {each.name for each in crew.members}
    found = crew.each(lambda each: _node(each, ours=each.name in ours), crew.everybody)
    order = [each.name for each in next(iter(crew.configurations.values())).hosts]
    return sorted(found.values(), key=lambda each: order.index(each.head))


def _node(member: Member, *, ours: bool) -> Node:
    state = member.units(UNIT)[UNIT].active
    live, said = _live(member) if state in ALIVE else (None, "")
    if state == READY and live is None:
        # One that has just ended, or was too busy for a moment, is not one that is silent.
        state = member.units(UNIT)[UNIT].active
        live, said = _live(member) if state in ALIVE else (None, "")
    folder, began = _folder(member)
    return Node(
        member.name,
        member.address,
        ours=ours,
        running=state in ALIVE,
        ready=state == READY,
        live=live,
        said=said,
        began=began,
        disk=folder,
    )


def _live(member: Member) -> tuple[Live | None, str]:
    """Ask a node that runs; None where it does not answer, and what came instead."""
    ended = member.run(*_client(), input=STATUS, check=False)
    if any(each in ended.stderr for each in DENIED):
        raise WrongPasswordError(
            f"MariaDB on {member.name} does not let root in by its socket",
            where=member.name,
            got=ended.stderr.strip()[-200:],
            hint="ALTER USER root@localhost IDENTIFIED VIA unix_socket",
        )
    pairs = (line.partition("\t") for line in ended.stdout.splitlines())
    if ended.status:
        return None, ended.stderr.strip()[-200:]
    return galera_node.live({name: value for name, _, value in pairs}), ""


def _folder(member: Member) -> tuple[Disk, bool]:
    """Look at a node's data, and at whether it was ever in a cluster."""
    state = absence.look(member, DATA, ("cat", f"{DATA}/grastate.dat"))
    names = _names(member)
    began = _BEGAN in names
    return galera_node.disk(state, [each for each in names if each != _BEGAN], began=began), began


def _names(member: Member) -> list[str]:
    """Return the folders in the data directory, and what else there tells of the past.

    Raises:
        PhaseError: they cannot be read, which is not to say that there are none.
    """
    find = (
        # With a slash, the data directory may be a link.
        *("find", f"{DATA}/", str(PurePosixPath(BEGAN).parent), "-mindepth", "1", "-maxdepth", "1"),
        *("(", "-type", "d", "-o", "-name", galera_node.VIEW, "-o", "-name", _BEGAN, ")"),
        *("-printf", "%f\\n"),
    )
    return absence.look(member, DATA, find).splitlines()


def databases(member: Member) -> tuple[str, ...]:
    """Return the databases whose data lie on a head, but for those of every MariaDB."""
    return tuple(sorted(galera_node.own(each for each in _names(member) if each != _BEGAN)))


def give_up(member: Member) -> None:
    """Remove all data of a MariaDB that does not run.

    Raises:
        CommandError: some of it cannot be removed.
    """
    # Debian's mark of the version stays: the packages may stay, and ask for it.
    keep = ("-not", "-name", "debian-*.flag")
    member.run("find", f"{DATA}/", "-xdev", "-mindepth", "1", *keep, "-delete", timeout=600.0)


def forget(member: Member) -> None:
    """Let a head forget that it was in a cluster."""
    member.run("rm", "-f", BEGAN)


def unwell(crew: Crew) -> str:
    """Say why the cluster is not well; nothing if it is."""
    nodes = look(crew)
    out = [each.head for each in nodes if not each.within]
    if out:
        return f"{', '.join(out)} not in the cluster, or not synced"
    if galera.apart(nodes):
        return "there are two clusters"
    return ""


def recovered(member: Member) -> Disk:
    """Find out how far the data of a stopped node go, as its own recovery says.

    Raises:
        DatabaseRefusedError: it cannot say.
    """
    argv = ("/usr/sbin/mariadbd", "--user=mysql", "--wsrep-recover", "--disable-log-error")
    ended = member.run(*argv, timeout=RECOVER_SECONDS, check=False)
    found = galera_node.recovered(ended.stderr + ended.stdout)
    if found is None or found[0] == galera_node.NO_HISTORY or found[1] < 0:
        raise DatabaseRefusedError(
            f"{member.name} cannot say how far its data go",
            where=member.name,
            got=(ended.stderr.strip() or ended.stdout.strip())[-400:],
            hint="restore it from another head: move /var/lib/mysql aside there, and run it again"
            " when the others serve",
        )
    return replace(_folder(member)[0], history=found[0], position=found[1])


def log(member: Member) -> str:
    """Return the last lines that MariaDB wrote which speak of errors."""
    argv = ("journalctl", "-u", UNIT, "-n", "200", "-o", "cat", "--no-pager")
    lines = member.run(*argv, check=False).stdout.splitlines()
    wrong = [line for line in lines if "ERROR" in line or "not the first" in line]
    return "\n".join((wrong or lines)[-3:])


def sql(member: Member, text: str, names: Sequence[str] = ()) -> str:
    """Have a head's MariaDB do SQL, in which markers stand for the secrets of these names.

    Raises:
        CommandError: it refuses.
    """
    return member.run(*_client(), input=text, secrets=names).stdout


def later(member: Member, text: str) -> str:
    """Have a head's MariaDB do SQL; if that is to be tried again, return why, else nothing.

    Raises:
        CommandError: it refuses for another reason.
    """
    try:
        sql(member, f"SET SESSION innodb_lock_wait_timeout = 5; {text}")
    except CommandError as error:
        if any(each in error.stderr for each in LATER):
            return error.stderr.strip()[-200:]
        raise
    return ""


def rows(member: Member, wish: grants.Wish) -> list[list[str]]:
    """Ask for what `grants.lacking` and `grants.former` compare."""
    said = sql(member, grants.question(wish), wish.secrets)
    return [line.split("\t") for line in said.splitlines()]


def let_in(wish: grants.Wish, member: Member) -> None:
    """Log in as each user, as a service does: over TCP, with a password.

    Raises:
        PhaseError: one is not let in.
    """
    for user, secret in wish.users.items():
        argv = ("/bin/sh", "-c", LOGIN, "login", user)
        ended = member.run(*argv, input=f"@secret:{secret}@", secrets=(secret,), check=False)
        if ended.status:
            reason = f"{user} cannot log in on {member.name} with {secret}"
            raise PhaseError(reason, where=member.name, got=ended.stderr.strip()[-200:])


def _client() -> tuple[str, ...]:
    return ("mariadb", "--batch", "--raw", "--skip-column-names", "--connect-timeout=5")
