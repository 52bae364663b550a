"""How a path was built: an in-toto statement beside the store, one for each path built here.

The predicate is SLSA's provenance v1. It holds times, so it is no part of the store path; what is
built again to the same bytes overwrites it, what is found built does not. When it is written is
for `builders.workshop`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.derive import FETCH
from store.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.revision import Revision
    from builders.sandbox import SandboxMode
    from builders.workshop import Task
    from store.info import PathInfo
    from store.local import LocalStore
    from store.path import StorePath

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:sealift:build:1"
"""What the parameters mean: docs/architecture.md, Formats. A name, not an address."""
BUILDER = "urn:sealift:builder"
_FOLDER = "provenance"
_PREFIX = f"{FETCH}:"
_DAY = 86_400.0


class BadRecordError(IntegrityError):
    """A record of a build that cannot be read."""

    slug = "bad-provenance"


@dataclass(frozen=True, slots=True)
class Run:
    """When and how a step was built; seconds since the epoch, `invocation` one word a run."""

    invocation: str
    mode: SandboxMode
    began: float
    ended: float
    revision: Revision | None = None


def statement(
    task: Task, info: PathInfo, closure: Sequence[PathInfo], run: Run, store_dir: str
) -> dict[str, Any]:
    """Say what was built of what, by whom and when; `closure` knows the inputs."""
    hashes = {each.path: each.nar_sha256 for each in closure}
    inputs = [
        _input(role, path, hashes[path], task.step.inputs[role], store_dir)
        for role, path in sorted(task.inputs.items())
    ]
    return {
        "_type": STATEMENT,
        "subject": [_subject(info)],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "recipe": task.step.recipe,
                    "step": task.step.key,
                    "builder": task.step.builder,
                    "storeDir": store_dir,
                    "sandbox": run.mode.value,
                },
                "internalParameters": {
                    "derivation": json.loads(task.derivation.to_json()),
                    "derivationDigest": task.digest,
                },
                "resolvedDependencies": [*_source(task, run.revision), *inputs],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": dict(_builder())},
                "metadata": {
                    "invocationId": run.invocation,
                    "startedOn": _moment(run.began),
                    "finishedOn": _moment(run.ended),
                },
            },
        },
    }


def keep(store: LocalStore, path: StorePath, said: Mapping[str, Any]) -> None:
    """Write the record of a path, whole or not at all, in place of an older one."""
    file = _file(store, path)
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_name(f".{os.urandom(8).hex()}")
    try:
        with fresh.open("w", encoding="utf-8") as out:
            json.dump(said, out, indent=1, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def load(store: LocalStore, path: StorePath) -> dict[str, Any] | None:
    """Read the record of a path; None if it was not built here.

    Raises:
        BadRecordError: it is damaged, or another path's.
    """
    file = _file(store, path)
    try:
        said = json.loads(file.read_bytes())
        name = said["subject"][0]["name"]
        definition, run = (said["predicate"][key] for key in ("buildDefinition", "runDetails"))
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as fault:
        raise BadRecordError(f"the record is damaged: {fault}", where=str(file)) from fault
    if not (isinstance(definition, dict) and isinstance(run, dict)):
        raise BadRecordError("the record is damaged: it tells of no build", where=str(file))
    if name != str(path):
        raise BadRecordError(
            "the record is another path's", where=str(file), expected=str(path), got=str(name)
        )
    return dict(said)


def prune(store: LocalStore) -> int:
    """Remove the records of paths that are no longer in the store; count them."""
    # In this order: a record is written after its path was added.
    files = list((store.var_dir / _FOLDER).glob("*"))
    known = {f"{info.path}.json" for info in store.paths()}
    gone = 0
    for file in files:
        with suppress(FileNotFoundError):
            if file.name not in known and not _is_being_written(file):
                file.unlink()
                gone += 1
    return gone


def _is_being_written(file: Path) -> bool:
    return file.name.startswith(".") and time.time() - file.stat().st_mtime < _DAY


def _file(store: LocalStore, path: StorePath) -> Path:
    return store.var_dir / _FOLDER / f"{path}.json"


def _subject(info: PathInfo) -> dict[str, Any]:
    digest = {"sha256": info.nar_sha256}
    return {"name": str(info.path), "digest": digest, "annotations": {"hashOf": "nar"}}


def _input(role: str, path: StorePath, nar: str, key: str, store_dir: str) -> dict[str, Any]:
    """Describe an input; one that was fetched also by the hash that pins it."""
    annotations = {"hashOf": "nar", "step": key}
    if key.startswith(_PREFIX):
        annotations["pinned"] = key.removeprefix(_PREFIX)
    return {
        "name": role,
        "uri": f"file://{store_dir}/{path}",
        "digest": {"sha256": nar},
        "annotations": annotations,
    }


def _source(task: Task, revision: Revision | None) -> list[dict[str, Any]]:
    """Describe the source by the digest of what went in, and by its commit if it is that."""
    tree = task.step.source
    if tree is None:
        return []
    digest = {"sealiftTree": tree.digest}
    annotations: dict[str, Any] = {"files": len(tree.files), "revision": None, "dirty": None}
    if revision is not None:
        if revision.commit is not None and revision.dirty is False:
            digest["gitCommit"] = revision.commit
        annotations |= {"revision": revision.commit, "dirty": revision.dirty}
        annotations |= {"path": revision.path} if revision.commit is not None else {}
        annotations |= {"reason": revision.reason} if revision.reason else {}
    return [{"name": "source", "digest": digest, "annotations": annotations}]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@lru_cache(maxsize=1)
def _builder() -> tuple[tuple[str, str], ...]:
    """Say which sealift this is: its version, and a digest of the code that decides outputs."""
    hasher = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for package in ("builders", "store"):
        for file in sorted((root / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                data = file.read_bytes()
                hasher.update(f"{file.relative_to(root)}:{len(data)}:".encode() + data)
    with suppress(PackageNotFoundError):
        return ("sealift", version("sealift")), ("code", hasher.hexdigest())
    return (("code", hasher.hexdigest()),)
