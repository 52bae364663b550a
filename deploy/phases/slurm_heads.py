"""What stands against a run of Slurm's phase on these heads and not on others. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.phases.phase import Finding, Kind
from deploy.phases.upgrade import upgrades

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.phases.crew import Crew
    from deploy.phases.slurm_roles import Roles

KEY = "/etc/munge/munge.key"


def apart(crew: Crew, roles: Roles) -> Iterator[Finding]:
    """Refuse what would leave heads that cannot speak with each other."""
    yield from _lonely(crew, roles)
    yield from _torn(crew)
    yield from _key_alone(crew)


def refusal(head: str, what: str, slug: str, hint: str) -> Finding:
    """Return a finding that ends the run before anything is changed."""
    return Finding(head, what, Kind.REFUSAL, slug=slug, hint=hint)


def _lonely(crew: Crew, roles: Roles) -> Iterator[Finding]:
    """Refuse nodes without any controller to register with."""
    at_hand = {each.name for each in crew.members} | set(crew.missing)
    at_hand |= {each.name for each in crew.witnesses if crew.states[each.name].laid}
    if not at_hand.intersection(roles.controllers):
        names = ", ".join(roles.controllers)
        yield refusal(
            "",
            "no controller is there for these heads",
            "no-controller",
            f"let it be done on {names} too",
        )


def _torn(crew: Crew) -> Iterator[Finding]:
    """Refuse another key on some heads: the others would not hear them any more."""
    changed = [m.name for m in crew.members if _changes(crew, m.name, KEY)]
    others = [m.name for m in crew.witnesses if crew.states[m.name].laid]
    others += crew.missing
    if changed and others:
        yield refusal(
            "",
            f"the key of munge changes on {', '.join(changed)}, and not on {', '.join(others)}",
            "key-torn",
            "change it on all heads of the phase at once",
        )


def _key_alone(crew: Crew) -> Iterator[Finding]:
    """Refuse another key along with newer packages, which go from head to head."""
    states = [crew.states[each.name] for each in crew.members]
    if any(_changes(crew, m.name, KEY) for m in crew.members) and any(map(upgrades, states)):
        yield refusal(
            "",
            "the key of munge changes, and packages that are laid on one head after the other",
            "key-torn",
            "first the key, with the release that is laid: sealift phase run slurm --release …",
        )


def _changes(crew: Crew, head: str, path: str) -> bool:
    """Tell whether a file that was laid on a head would get another content."""
    state = crew.states[head]
    return state.laid and any(each.path == path for each in state.files)
