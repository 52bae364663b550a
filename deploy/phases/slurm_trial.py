"""Whether Slurm works: what is asked of it, and what is tried for real.

Questions return why something is not as it is to be, or nothing, as `Crew.wait` wants it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.phases import slurm_answers as answers
from deploy.phases.errors import CommandError, PhaseError
from deploy.phases.slurm_accounts import SHOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member
    from deploy.phases.slurm_roles import Roles

ANSWER_SECONDS = 30.0
JOB_SECONDS = 60.0
IMMEDIATE = 20
"""Seconds that a job on idle nodes may wait until it begins."""
ACCOUNT_SECONDS = 45.0
TRIES = 2
"""The first job over several nodes that have just come up may fail: `io_init_msg_unpack`."""
_FIELDS = "format=jobid,state,nnodes"


def unaccounted(member: Member) -> str:
    """Say why the accounting does not answer a head."""
    ended = member.run(*SHOW, "cluster", "format=cluster", check=False)
    return "" if ended.status == 0 else _said(ended.stderr or ended.stdout) or "no answer"


def silent(member: Member, controllers: Sequence[str]) -> str:
    """Say which of these controllers do not answer a head."""
    pinged = answers.controllers(member.run("scontrol", "ping", check=False).stdout)
    down = [each for each in controllers if not pinged.get(each)]
    return f"no controller answers on {', '.join(down)}" if down else ""


def unready(crew: Crew, roles: Roles, asker: Member) -> str:
    """Say which nodes at hand do not take jobs; those that somebody shut are let be."""
    found = _nodes(asker)
    if found is None:
        return "no controller answers"
    here = {each.name for each in crew.members}.intersection(roles.nodes)
    known = {each.name: each for each in found}
    faults = [known[each].fault if each in known else f"{each} is unknown" for each in here]
    return ", ".join(sorted(filter(None, faults)))


def run(crew: Crew, roles: Roles, asker: Member) -> list[str]:
    """Try everything; return what was tried, one line each.

    Raises:
        PhaseError: something does not work.
    """
    reached = [each for each in roles.controllers if each not in crew.missing]
    told = [_key(crew)]
    crew.wait("the controllers answer", lambda: silent(asker, reached), ANSWER_SECONDS)
    told.append(f"controllers answer on {', '.join(reached)}")
    crew.wait("the accounting answers", lambda: unaccounted(asker), ANSWER_SECONDS)
    crew.wait("the nodes are ready", lambda: unready(crew, roles, asker), ANSWER_SECONDS)
    return told + _work(crew, asker)


def _key(crew: Crew) -> str:
    """Let each head read what the one before it signed."""
    heads = crew.everybody
    for sender, reader in zip(heads, (*heads[1:], heads[0]), strict=True):
        signed = sender.run("munge", "--no-input").stdout
        read = reader.run("unmunge", input=signed, check=False)
        if read.status:
            raise PhaseError(
                f"{reader.name} does not trust what {sender.name} signs",
                where=reader.name,
                got=_said(read.stdout + read.stderr),
                hint="the same key and the same time on both: run the phases again",
            )
    return f"messages are trusted between {', '.join(each.name for each in heads)}"


def _work(crew: Crew, asker: Member) -> list[str]:
    """Run a job on all nodes that have nothing to do, and find it in the accounts."""
    found = _nodes(asker) or ()
    shut = [f"{each.name} takes no jobs: {each.reason}" for each in found if each.shut]
    # What the controller says of a head that was lost is true only after `node_timeout`.
    idle = [each.name for each in found if each.idle and each.name not in crew.missing]
    if not idle:
        return [*shut, "all nodes are at work: no job was tried"]
    number = _job(crew, asker, idle)
    crew.wait(f"job {number} is accounted", lambda: _unfinished(asker, number), ACCOUNT_SECONDS)
    return [*shut, f"job {number} ran on {', '.join(idle)}", f"job {number} is in the accounts"]


def _job(crew: Crew, asker: Member, idle: Sequence[str]) -> int:
    """Run a task on each idle node; return the number of the job."""
    for left in reversed(range(TRIES)):
        try:
            return _tasks(asker, idle)
        except CommandError:
            if not left:
                raise
            crew.tell(asker.name, "the first job failed: once more")
    raise AssertionError


def _tasks(asker: Member, idle: Sequence[str]) -> int:
    """Run a task on each node, and see that it was there.

    Raises:
        CommandError: the job failed.
        PhaseError: a node did not run its task.
    """
    count = str(len(idle))
    ended = asker.run(
        *("srun", "--quiet", "--nodes", count, "--ntasks", count, "--nodelist", ",".join(idle)),
        *(f"--immediate={IMMEDIATE}", "--time=1", "--job-name=sealift-verify", "--chdir=/"),
        *("printenv", "SLURM_JOB_ID", "SLURMD_NODENAME"),
        timeout=JOB_SECONDS,
    )
    words = ended.stdout.split()
    lacking = sorted(set(idle) - set(words))
    numbers = answers.numbers(ended.stdout)
    if lacking or len(numbers) != 1:
        reason = f"a job of {count} tasks did not run on {', '.join(lacking) or 'its nodes'}"
        raise PhaseError(reason, where=asker.name, got=_said(ended.stdout + ended.stderr))
    return next(iter(numbers))


def _unfinished(asker: Member, number: int) -> str:
    """Say why a job is not in the accounts as completed."""
    ended = asker.run(
        *(
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--jobs={number}",
            f"--{_FIELDS}",
        ),
        check=False,
    )
    states = ["".join(row[1:2]) for row in answers.rows(ended.stdout) if row[:1] == (str(number),)]
    if "COMPLETED" in states:
        return ""
    return f"its state there is {states[0]}" if states else _said(ended.stderr) or "it is not there"


def _nodes(asker: Member) -> tuple[answers.Node, ...] | None:
    ended = asker.run("sinfo", "--json", check=False)
    return answers.nodes(ended.stdout) if ended.status == 0 else None


def _said(text: str) -> str:
    """Return the last lines that a command wrote."""
    return text.strip()[-300:]
