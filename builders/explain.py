"""Say what a build would do, step by step, and why.

Compares each step's derivation with the newest one remembered. A step whose inputs are still to
be built has no derivation yet: what can be said of it is which of them come first.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from builders.contents import QUIET
from builders.derive import FETCH
from builders.logs import plain
from store.derivation import Derivation, changes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from builders.plan import Plan
    from builders.resolve import Resolver
    from builders.step import SourceTree, Step
    from store.local import LocalStore

SOURCES = "sources"
"""The memo that holds each built source tree's files, by the tree's digest."""
_SHOWN = 3
_LONG = 40
_SECRET = re.compile(
    r"secret|token|passw|passphrase|pwd|credential|private|(?:[._]|^)(?:\w*_)?(?:key|auth|salt|dsn)"
    r"(?:_\w*)?$|apikey",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]*@|PRIVATE KEY")


class Action(StrEnum):
    """What a build would do with a step."""

    FETCH = "fetch"
    BUILD = "build"


@dataclass(frozen=True, slots=True)
class Decision:
    """What would be done with a step that is not there, and why."""

    key: str
    name: str
    action: Action
    reasons: tuple[str, ...]
    size: int | None = None
    """Bytes of a download, where the lock knows."""
    title: str = ""
    """The key as people read it."""

    @property
    def why(self) -> str:
        """The first reasons in one line, and how many more there are."""
        return _few(self.reasons, "; ")

    def to_json(self) -> dict[str, Any]:
        """Give the record of `--json`."""
        return {
            "key": self.key,
            "name": self.name,
            "action": self.action.value,
            "reasons": list(self.reasons),
            "size": self.size,
        }


def explain(
    plan: Plan, resolver: Resolver, store: LocalStore, missing: Collection[str]
) -> tuple[Decision, ...]:
    """Decide for every step that is not there, in the plan's order.

    `missing` are the steps whose inputs are known and whose output is not.
    """
    absent = (plan.steps[key] for key in plan.order if key not in resolver.paths)
    return tuple(_decide(step, plan, resolver, store, missing) for step in absent)


def remember_source(store: LocalStore, tree: SourceTree) -> None:
    """Keep a tree's files, so that a later build can name those that changed."""
    files = {file.path: [file.sha256, file.executable] for file in tree.files}
    store.memo_put(SOURCES, tree.digest, json.dumps(files).encode())


def _decide(
    step: Step, plan: Plan, resolver: Resolver, store: LocalStore, missing: Collection[str]
) -> Decision:
    size = step.download.size if step.download is not None else None
    action = Action.FETCH if step.builder == FETCH else Action.BUILD
    reasons = _reasons(step, plan, resolver, store, missing)
    return Decision(step.key, step.name, action, reasons, size, _title(step))


def _title(step: Step) -> str:
    """Name a step as people know it: what is fetched by its file, since its key is a hash."""
    return step.name if step.builder == FETCH else step.title


def _reasons(
    step: Step, plan: Plan, resolver: Resolver, store: LocalStore, missing: Collection[str]
) -> tuple[str, ...]:
    known = store.last_derivation(step.key)
    if known is None:
        return ("no earlier download" if step.builder == FETCH else "no earlier build",)
    old = Derivation.from_json(known[0])
    pending = {role for role, key in step.inputs.items() if key not in resolver.paths}
    reasons = _compare(old, step, resolver, store, pending)
    if not reasons and step.key in missing:
        return ("its output is no longer in the store",)
    return (*reasons, *_first(step, pending, plan))


def _compare(
    old: Derivation,
    step: Step,
    resolver: Resolver,
    store: LocalStore,
    pending: Collection[str],
) -> tuple[str, ...]:
    """Say what differs, as far as inputs are known."""
    new = resolver.preview(step, {role: old.inputs[role] for role in pending if role in old.inputs})
    return tuple(_spell(change, old, new, step, store) for change in changes(old, new))


def _spell(change: str, old: Derivation, new: Derivation, step: Step, store: LocalStore) -> str:
    what, _, name = change.partition(" ")
    match what:
        case "source":
            told = _spell_source(old.source, step.source, store)
        case "input":
            told = f"input {name} changed: {_base(old.inputs, name)} → {_base(new.inputs, name)}"
        case "argument":
            told = _spell_argument(name, _arguments(old), _arguments(new))
        case "script":
            told = f"builder's script changed: {step.script}"
        case "version":
            told = f"builder changed: {step.builder} {old.version} → {new.version}"
        case "fixed":
            told = f"lock pins other bytes: {old.fixed} → {new.fixed}"
        case _:
            told = f"{what} changed: {getattr(old, what)} → {getattr(new, what)}"
    return told


def _spell_source(digest: str | None, tree: SourceTree | None, store: LocalStore) -> str:
    kept = store.memo_get(SOURCES, digest) if digest is not None else None
    if kept is None or tree is None:
        return "source changed"
    old: dict[str, Any] = json.loads(kept)
    new: dict[str, Any] = {file.path: [file.sha256, file.executable] for file in tree.files}
    changed = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    files = "1 file" if len(changed) == 1 else f"{len(changed)} files"
    return f"source changed: {files} ({_few(changed)})"


def _arguments(derivation: Derivation) -> dict[str, Any]:
    arguments: dict[str, Any] = json.loads(derivation.to_json())["arguments"]
    return arguments


def _spell_argument(name: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """Name the values that differ, however deep they lie."""
    return _few([*_leaves(name, old.get(name), new.get(name))])


def _leaves(path: str, old: object, new: object) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _leaves(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from _leaves(f"{path}[{place}]", *pair)
    else:
        shown = path.removeprefix("about.")
        values = _value(old), _value(new)
        hidden = _SECRET.search(path) or any(_SECRET_VALUE.search(value) for value in values)
        yield f"{shown}: changed" if hidden else f"{shown}: {_cut(values[0])} → {_cut(values[1])}"


def _value(value: object) -> str:
    if value is None:
        return "none"
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _base(inputs: Mapping[str, str], role: str) -> str:
    return inputs[role].rpartition("/")[2] if role in inputs else "none"


def _first(step: Step, pending: Collection[str], plan: Plan) -> tuple[str, ...]:
    """Say what comes first; of bills of materials only if nothing else does."""
    keys = {step.inputs[role] for role in pending}
    told = [key for key in keys if not key.endswith(QUIET)] or keys
    names = sorted(_title(plan.steps[key]) if key in plan.steps else key for key in told)
    return (f"to be made first: {_few(names)}",) if names else ()


def _few(rows: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{between.join(rows[:_SHOWN])}{more}"
