"""Slurm taken back: what its jobs and its state stand against, and what of them is given up.

All goes by what is laid on the heads. What runs is stopped by `deploy.phases.slurm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from deploy.phases import slurm_answers as answers
from deploy.phases.absence import look, there
from deploy.phases.errors import (
    JobsAliveError,
    JobsUnknownError,
    OtherStateError,
    PhaseError,
    PhaseTimeoutError,
)
from deploy.phases.phase import Finding, Kind
from deploy.phases.slurm_roles import CONTROLLER, Roles

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deploy.phases.crew import Crew
    from deploy.phases.member import Member

QUEUE = "queue"
"""What undo cannot take back: jobs that run or wait."""
CONFIGURATION = "/etc/slurm/slurm.conf"
GIVEN_UP = f"let them end, or --yes-destroy {QUEUE}"
CANCEL_SECONDS = 60.0
"""How long jobs that are cancelled have until they are gone."""
_SHALLOW = 3
"""A folder of so many parts, `/` being one, lies in a volume that is mounted somewhere."""
_OWN = ("-mindepth", "1", "-not", "-name", "alive-*", "-print", "-quit")
"""Arguments of find: whether there is more than what the fence writes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the state of a cluster of this name lies."""

    folder: str
    cluster: str

    @property
    def mount(self) -> str:
        """Where the volume is mounted that it lies on."""
        return str(PurePosixPath(self.folder).parent)


def before(crew: Crew, destroy: Collection[str]) -> list[Finding]:
    """Say what undoing destroys, and what stands against it; changes nothing."""
    place = _place(crew)
    jobs = _alive(crew, place)
    if QUEUE in destroy:
        return [*_cancelling(jobs), *_removing(crew, place)]
    if jobs is None:
        what = "no controller says whether jobs run or wait"
        hint = f"sealift phase run slurm, and undo it then; or --yes-destroy {QUEUE}"
        return [Finding("", what, Kind.REFUSAL, slug=JobsUnknownError.slug, hint=hint)]
    if jobs:
        what = f"{len(jobs)} jobs run or wait, {jobs[0].number} among them"
        return [Finding("", what, Kind.REFUSAL, slug=JobsAliveError.slug, hint=GIVEN_UP)]
    return []


def give_up(crew: Crew, destroy: Collection[str]) -> None:
    """Cancel jobs where that was asked for by name, and see to it that there are none else.

    Raises:
        PhaseError: something stands against it; nothing was changed.
    """
    for each in before(crew, destroy):
        if each.kind is Kind.REFUSAL:
            raise _error(each, crew)
    jobs = _alive(crew, _place(crew))
    if not jobs:
        return
    crew.tell("", f"cancel {len(jobs)} jobs")
    asked = _heads(crew)[0]
    asked.run("scancel", "--quiet", *(str(each.number) for each in jobs))
    try:
        crew.wait("the jobs are gone", lambda: _left(crew), CANCEL_SECONDS)
    except PhaseTimeoutError as error:
        crew.tell("", f"{error.got}: not waited for")


def forget(crew: Crew) -> None:
    """Remove the state, once more after a look that it is the cluster's.

    Raises:
        PhaseError: it is not.
    """
    place = _place(crew)
    for each in _removing(crew, place):
        if each.kind is Kind.REFUSAL:
            raise _error(each, crew)
        if each.head and place is not None:
            crew.tell(each.head, each.what)
            line = ("rm", "--recursive", "--force", "--one-file-system", place.folder)
            crew.member(each.head).run(*line)


def _heads(crew: Crew) -> tuple[Member, ...]:
    """Return the heads, controllers first."""
    laid = next(iter(crew.configurations.values()), None)
    controllers = Roles.of(laid).controllers if laid is not None else ()
    return tuple(sorted(crew.members, key=lambda each: each.name not in controllers))


def _place(crew: Crew) -> Place | None:
    """Read where the state lies from what was laid, and not from what lies in /etc now."""
    for member in crew.members:
        laid = crew.configurations.get(member.name)
        sources = [f.source for f in laid.files if str(f.path) == CONFIGURATION] if laid else []
        for source in filter(None, sources):
            said = member.run("cat", str(laid.path / source) if laid else source, check=False)
            found = answers.settings(said.stdout)
            if said.status == 0 and {"StateSaveLocation", "ClusterName"} <= found.keys():
                return Place(found["StateSaveLocation"], found["ClusterName"])
    return None


def _alive(crew: Crew, place: Place | None) -> Sequence[answers.Job] | None:
    """Return the jobs that run or wait; None where nobody knows."""
    for member in _heads(crew):
        said = member.run("squeue", "--json", check=False)
        if said.status == 0:
            return [each for each in answers.jobs(said.stdout) if each.alive]
    return () if _never(crew, place) else None


def _never(crew: Crew, place: Place | None) -> bool:
    """Tell whether no controller ever had a job: none runs, and none wrote any down."""
    if place is None or any(m.units(CONTROLLER)[CONTROLLER].running for m in crew.members):
        return False
    member = _mounted(crew, place)
    if member is None:
        return False
    return not there(member, f"{place.folder}/job_state")


def _mounted(crew: Crew, place: Place) -> Member | None:
    """Return a head on which the volume is mounted."""
    for member in _heads(crew):
        if member.run("mountpoint", "--quiet", place.mount, check=False).status == 0:
            return member
    return None


def _left(crew: Crew) -> str:
    jobs = _alive(crew, None)
    return f"{len(jobs)} jobs end yet" if jobs else ""


def _cancelling(jobs: Sequence[answers.Job] | None) -> list[Finding]:
    if jobs is None:
        what = "give up what jobs there are: no controller tells of them"
    elif jobs:
        what = f"cancel {len(jobs)} jobs"
    else:
        return []
    return [Finding("", what, Kind.IRREVERSIBLE)]


def _removing(crew: Crew, place: Place | None) -> list[Finding]:
    """Say what of the state is removed, and on which head; it is on a volume that all share."""
    member = None if place is None else _mounted(crew, place)
    if place is None or member is None:
        what = "leave the state of the controllers: the volume that it is on is not mounted"
        return [Finding("", what, Kind.NOTE)]
    if not there(member, place.folder):
        return []
    if why := _foreign(member, place):
        hint = f"look at it on {member.name}, and remove by hand what is to go"
        slug = OtherStateError.slug
        return [Finding(member.name, why, Kind.REFUSAL, slug=slug, hint=hint)]
    return [Finding(member.name, f"remove {place.folder}", Kind.IRREVERSIBLE)]


def _foreign(member: Member, place: Place) -> str:
    """Say why a folder is not the state of this cluster, as far as that can be seen."""
    path = PurePosixPath(place.folder)
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < _SHALLOW:
        return f"{path} is no folder for the state of Slurm"
    if member.run("test", "-h", place.folder, check=False).status == 0:
        return f"{path} is a link"
    if member.run("mountpoint", "--quiet", place.folder, check=False).status == 0:
        return f"something is mounted at {path}"
    file = f"{place.folder}/clustername"
    if there(member, file):
        theirs = look(member, file, ("cat", file)).strip()[:80]
        ours = theirs == place.cluster
        return "" if ours else f"{path} is the state of {theirs!r}, not of {place.cluster!r}"
    # Before its first start a controller has written nothing, and the fence its own mark.
    more = look(member, place.folder, ("find", place.folder, *_OWN)).strip()
    return f"{path} holds {more[:80]}, and not the name of a cluster" if more else ""


def _error(finding: Finding, crew: Crew) -> PhaseError:
    kinds = {each.slug: each for each in (JobsAliveError, JobsUnknownError, OtherStateError)}
    kind = kinds.get(finding.slug, PhaseError)
    return kind(finding.what, where=finding.head or crew.phase, hint=finding.hint)
