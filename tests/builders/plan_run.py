"""Build a synthetic plan in a process of its own, to be killed, interrupted or doubled.

`python -m tests.builders.plan_run STORE SALT [LEDGER]`: steps in the sandbox and in process,
with downloads from SEALIFT_TEST_REGISTRY if set. Every build appends its key to the ledger.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.fetch import Fetcher
from builders.plan import arrange
from builders.realise import realise
from builders.step import Download, Step
from store.local import LocalStore
from tests.builders.registry import integrity
from tests.builders.workbench import BASE, BUILDERS, shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from builders.build import Build
    from builders.realise import Result

WIDTH = 3
MARKER = "77.7"
"""How long the sleeping process of a step would sleep, so that it can be found."""


def content(salt: str, number: int) -> bytes:
    """Give the bytes of a download."""
    return f"{salt}-{number}\n".encode() * 5000


def steps(salt: str, registry: str | None) -> list[Step]:
    """Plan a little of everything."""
    made: list[Step] = [BASE]
    for number in range(WIDTH):
        inputs = {}
        if registry:
            body = content(salt, number)
            url = f"{registry}/{salt}/{number}"
            pinned = Download((url,), integrity(body), len(body))
            made.append(Step(f"fetch:{number}", "file", "r", "fetch", download=pinned))
            inputs["file"] = f"fetch:{number}"
        command = (
            f"sleep {MARKER} & mkdir out; for i in 1 2 3; do echo {salt}-{number}-$i > out/$i; "
            "sleep 0.01; done"
        )
        made.append(shell(f"sandboxed:{number}", command, inputs=inputs))
        made.append(
            Step(
                f"inside:{number}",
                "inside",
                "r",
                "text",
                inputs={"up": f"sandboxed:{number}"},
                arguments={"text": salt},
            )
        )
    ends = {f"i{number}": f"inside:{number}" for number in range(WIDTH)}
    made.append(Step("end", "end", "r", "text", inputs=ends, arguments={"text": salt}))
    return made


def counting(build: Callable[[Build], None], ledger: Path | None) -> Callable[[Build], None]:
    """Append each build to the ledger."""

    def counted(task: Build) -> None:
        if ledger is not None:
            with ledger.open("a") as file:
                file.write(f"{task.step.key}\n")
            time.sleep(0.05)
        build(task)

    return counted


def run(store: LocalStore, salt: str, ledger: Path | None = None, **options: Any) -> Result:
    """Build it all."""
    builders = {name: counting(build, ledger) for name, build in BUILDERS.items()}
    plan = arrange(steps(salt, os.environ.get("SEALIFT_TEST_REGISTRY")), ["end"])
    return realise(plan, store, builders=builders, **options)


def main() -> None:
    """Say when the build begins, and what came of it."""
    folder, salt, *rest = sys.argv[1:]
    ledger = Path(rest[0]) if rest else None
    Fetcher().close()
    with LocalStore.open(Path(folder)) as store:
        try:
            print("ready", flush=True)  # noqa: T201 - the test waits for it
            result = run(store, salt, ledger)
        except KeyboardInterrupt:
            sys.exit(130)
    record = {
        "ok": result.ok,
        "built": sorted(result.built),
        "fetched": sorted(result.fetched),
        "outputs": {key: str(path) for key, path in sorted(result.outputs.items())},
        "failures": [failure.error.reason for failure in result.failures],
    }
    print(json.dumps(record), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
