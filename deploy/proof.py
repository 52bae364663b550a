"""What a proof that nothing leaves a site found: values, its record in JSON, and its verdict.

The record says who was watched, what may be reached, which steps were made, and what each machine
sent to elsewhere in each of them. Signing it is for `deploy.signing`; `deploy.offline` makes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deploy.counting import Counts

FORMAT = 1
ROUTELESS = "somewhere there is no route to"
UNNAMED = "more places than there is room to name"


class NotOfflineError(Error):
    """Something left the site, or tried to; `lines` say what, from where, in which step."""

    slug = "not-offline"
    exit_code = 8

    def __init__(self, reason: str, *, lines: Sequence[str], hint: str) -> None:
        super().__init__(reason, hint=hint)
        self.lines = tuple(lines)


class StepFailedError(Error):
    """A step of the proof that did not come to its end, so nothing is proved."""

    slug = "step-failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one step: how its command ended, after how many seconds, and who sent what."""

    step: str
    command: tuple[str, ...]
    status: int
    seconds: float
    counts: Mapping[str, Counts]


@dataclass(frozen=True, slots=True)
class Sending:
    """Packets of one kind that a machine sent to elsewhere in a step.

    `user` is whose they were and `service` which service of the release that is, where known.
    """

    step: str
    machine: str
    to: str
    packets: int
    user: str | None = None
    service: str | None = None

    def __str__(self) -> str:
        who = "an unknown sender" if self.user is None else self.user
        if self.service is not None:
            who = f"{self.service} (user {self.user})"
        many = "1 packet" if self.packets == 1 else f"{self.packets} packets"
        return f"{self.machine}, {self.step}: {many} of {who} to {self.to}"


@dataclass(frozen=True, slots=True)
class Who:
    """Names of users by machine and number, and of services by user."""

    users: Mapping[str, Mapping[int, str]]
    services: Mapping[str, str]

    def named(self, machine: str, number: int | None) -> tuple[str | None, str | None]:
        """Return the user and the service that a number stands for on a machine."""
        if number is None:
            return None, None
        user = self.users.get(machine, {}).get(number, str(number))
        return user, self.services.get(user)


@dataclass(frozen=True, slots=True)
class Proof:
    """All that a proof found. Times are in seconds since 1970.

    `control` is how many packets each machine was seen to send when it was made to, by IPv4 and by
    IPv6 (None where it has none). `unseen` is what could have left a machine without being counted,
    beside what never can be seen. `about` are further facts: site, release, bundle.
    """

    began: float
    ended: float
    allowed: Mapping[str, Sequence[str]]
    hidden: Mapping[str, Sequence[str]]
    control: Mapping[str, Mapping[str, int | None]]
    results: tuple[Result, ...]
    sendings: tuple[Sending, ...]
    unseen: Mapping[str, Sequence[str]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Packets and attempts of all machines in all steps."""
        return sum(each.packets for each in self.sendings)

    @property
    def offline(self) -> bool:
        """Whether every step was made, and nothing went to elsewhere."""
        return not self.total and all(each.status == 0 for each in self.results)

    def check(self) -> None:
        """Pass a proof that shows what it is to show.

        Raises:
            NotOfflineError: something went to elsewhere; each sender is named.
            StepFailedError: a step failed.
        """
        if self.total:
            raise NotOfflineError(
                f"{self.total} packets were on their way to elsewhere",
                lines=[str(each) for each in self.sendings],
                hint="change what sends them, or name what may be reached inside the site: "
                "--allow ADDRESS",
            )
        for each in self.results:
            if each.status:
                raise StepFailedError(
                    f"the step {each.step} failed, so nothing is proved",
                    where=" ".join(each.command),
                    got=f"exit status {each.status}",
                    hint="see what it said above; the proof can be run again",
                )


def sendings(results: Sequence[Result], who: Who) -> Iterator[Sending]:
    """Name all that was sent, in the order of steps and machines."""
    for result in results:
        for machine, counts in result.counts.items():
            flows = sorted(counts.packets.items(), key=lambda each: (-each[1], str(each[0])))
            for flow, packets in flows:
                user, service = who.named(machine, flow.user)
                yield Sending(result.step, machine, str(flow), packets, user, service)
            for to, packets in ((ROUTELESS, counts.routeless), (UNNAMED, counts.unnamed)):
                if packets:
                    yield Sending(result.step, machine, to, packets)


def dump(proof: Proof) -> bytes:
    """Spell a proof as it is signed: JSON, the same bytes for the same proof."""
    record = {
        "format": FORMAT,
        "kind": "sealift-proof",
        "offline": proof.offline,
        "began": round(proof.began),
        "ended": round(proof.ended),
        **proof.about,
        "allowed": {name: list(nets) for name, nets in proof.allowed.items()},
        "hidden": {name: list(paths) for name, paths in proof.hidden.items()},
        "control": {name: dict(seen) for name, seen in proof.control.items()},
        "unseen": {name: list(what) for name, what in proof.unseen.items()},
        "steps": [
            {
                "name": each.step,
                "command": list(each.command),
                "status": each.status,
                "seconds": round(each.seconds, 1),
                "packets": {name: counts.total for name, counts in each.counts.items()},
            }
            for each in proof.results
        ],
        "packets": [
            {
                "step": each.step,
                "machine": each.machine,
                "to": each.to,
                "packets": each.packets,
                "user": each.user,
                "service": each.service,
            }
            for each in proof.sendings
        ],
        "total": proof.total,
    }
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
