"""Which steps are done already: inputs become paths, derivations are looked up, level by level.

A step whose output is known again is never built, even if its inputs were (early cutoff). Decides
and remembers; building is for `builders.schedule`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builders.derive import PLATFORM, derive

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from builders.plan import Plan
    from builders.step import Step
    from store.derivation import Derivation
    from store.path import StorePath

    Lookup = Callable[[Collection[str]], Mapping[str, StorePath]]


class Resolver:
    """The outputs known so far, and the derivations of all steps whose inputs are known.

    Attributes:
        paths: key → output.
        derivations: key → derivation.
    """

    def __init__(
        self, plan: Plan, store_dir: str, lookup: Lookup, *, platform: str = PLATFORM
    ) -> None:
        """Know nothing yet; `lookup` gives outputs by derivation digest, many at once."""
        self.paths: dict[str, StorePath] = {}
        self.derivations: dict[str, Derivation] = {}
        self.digests: dict[str, str] = {}
        self._plan = plan
        self._store_dir = store_dir
        self._lookup = lookup
        self._platform = platform
        self._users = plan.users()
        self._lacking = {key: len(set(plan.steps[key].inputs.values())) for key in plan.order}
        self._ready = [key for key in plan.order if not self._lacking[key]]

    def advance(self) -> tuple[list[str], list[str]]:
        """Go as far as possible without building; give what was found and what is to be done.

        One look-up per level, not per step.
        """
        found: list[str] = []
        missing: list[str] = []
        while self._ready:
            level, self._ready = self._ready, []
            for key in level:
                self._derive(self._plan.steps[key])
            known = self._lookup([self.digests[key] for key in level])
            for key in level:
                path = known.get(self.digests[key])
                if path is None:
                    missing.append(key)
                else:
                    found.append(key)
                    self.settle(key, path)
        return found, missing

    def settle(self, key: str, path: StorePath) -> None:
        """Take a step's output as known."""
        self.paths[key] = path
        for user in self._users[key]:
            self._lacking[user] -= 1
            if not self._lacking[user]:
                self._ready.append(user)

    def title(self, key: str) -> str:
        """Spell a key as people read it."""
        step = self._plan.steps.get(key)
        return key if step is None else step.title

    def users(self, key: str) -> list[str]:
        """Name the steps that have this one as an input."""
        return self._users[key]

    def unsettled(self, key: str) -> list[str]:
        """Name the inputs of a step that are not known yet."""
        needed = dict.fromkeys(self._plan.steps[key].inputs.values())
        return [each for each in needed if each not in self.paths]

    def preview(self, step: Step, guessed: Mapping[str, str]) -> Derivation:
        """Derive a step as if the inputs that are not known yet were those guessed, by role."""
        return derive(step, {**guessed, **self._known(step)}, self._platform)

    def downstream(self, key: str) -> list[str]:
        """Name all steps that need this one, directly or not."""
        found: dict[str, None] = {}
        waiting = [*self._users[key]]
        while waiting:
            user = waiting.pop()
            if user not in found:
                found[user] = None
                waiting += self._users[user]
        return list(found)

    def _derive(self, step: Step) -> None:
        derivation = derive(step, self._known(step), self._platform)
        self.derivations[step.key] = derivation
        self.digests[step.key] = derivation.digest

    def _known(self, step: Step) -> dict[str, str]:
        return {
            role: f"{self._store_dir}/{self.paths[key]}"
            for role, key in step.inputs.items()
            if key in self.paths
        }


def longest_first(
    plan: Plan, keys: Collection[str], seconds: Callable[[str], float]
) -> dict[str, float]:
    """Weigh steps by the time from their start to the end of the longest chain that waits.

    `seconds` estimates one step; only `keys` count, the others take no time.
    """
    users = plan.users()
    chosen = frozenset(keys)
    weights: dict[str, float] = {}
    for key in reversed(plan.order):
        behind = max((weights[user] for user in users[key]), default=0.0)
        weights[key] = behind + (seconds(key) if key in chosen else 0.0)
    return weights
