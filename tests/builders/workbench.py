"""A store, a few shell builders and a base system made of this machine's own shell.

So that the engine is tried with real sandboxes and real processes, and no download.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from builders.plan import arrange
from builders.realise import Result, realise
from builders.sandbox import SandboxError, SandboxMode, probe
from builders.step import SourceFile, SourceTree, Step
from store.names import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builders.build import Build
    from builders.events import Event, EventKind
    from store.local import LocalStore

TOOLS = ("sh", "cat", "cp", "env", "id", "ln", "ls", "mkdir", "rm", "sleep", "stat", "touch", "dd")


def works() -> bool:
    """Tell whether bubblewrap can be used here."""
    try:
        probe()
    except SandboxError:
        return False
    return True


@lru_cache(maxsize=1)
def host_files() -> tuple[tuple[str, str], ...]:
    """List a few of the host's tools with the libraries they need, and where they go."""
    found: dict[str, str] = {}
    for tool in TOOLS:
        real = shutil.which(tool, path="/usr/bin:/bin")
        assert real is not None
        found[f"usr/bin/{tool}"] = os.path.realpath(real)
        listed = subprocess.run(["ldd", real], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            place = library.removeprefix("/usr")
            found[f"usr{place}"] = os.path.realpath(library)
    return tuple(found.items())


def lay_base(build: Build) -> None:
    """Lay a base system at the output."""
    for place, real in host_files():
        target = build.out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real, target)


def lay_python(build: Build) -> None:
    """Lay an "interpreter" that shows its script and copies its arguments to the output."""
    tool = build.out / "bin" / "python3"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\nls -R "${3%/*}"\ncat "$4" > out\n')
    tool.chmod(0o755)


def run_shell(build: Build) -> None:
    """Run the step's command with a shell in the sandbox; its output is what it leaves."""
    roles = {f"in_{role}": str(path) for role, path in build.inputs.items()}
    build.run(["/bin/sh", "-euc", build.step.arguments["command"]], env=roles)


def write_text(build: Build) -> None:
    """Write the argument `text`, and what the inputs hold, without any process."""
    inputs = [path.read_text() for _, path in sorted(build.inputs.items()) if path.is_file()]
    build.out.write_text("".join([build.step.arguments["text"], *inputs]))


BUILDERS = {"base": lay_base, "python": lay_python, "shell": run_shell, "text": write_text}
BASE = Step("base", "base", "base", "base")


def shell(key: str, command: str, **fields: Any) -> Step:
    """Plan a step that runs a shell command over the base system."""
    inputs = {"base": "base", **fields.pop("inputs", {})}
    return Step(
        key, store_name(key), key, "shell", inputs=inputs, arguments={"command": command}, **fields
    )


def text(key: str, content: str, *inputs: str, **fields: Any) -> Step:
    """Plan a step that writes text, and after it that of its inputs, in process."""
    roles = {name.replace(":", "-"): name for name in inputs}
    return Step(
        key, store_name(key), key, "text", inputs=roles, arguments={"text": content}, **fields
    )


@dataclass
class Bench:
    """A store to build in, and all events so far."""

    store: LocalStore
    builders: Mapping[str, Any] = field(default_factory=lambda: BUILDERS)
    mode: SandboxMode = SandboxMode.BUBBLEWRAP
    events: list[Event] = field(default_factory=list)

    def build(self, steps: Sequence[Step], *targets: str, **options: Any) -> Result:
        """Realise the targets; the last step if none is named."""
        known = [BASE, *(step for step in steps if step is not BASE)]
        plan = arrange(known, targets or (steps[-1].key,))
        self.events.clear()
        return realise(
            plan,
            self.store,
            builders=self.builders,
            sandbox_mode=self.mode,
            observe=self.events.append,
            **options,
        )

    def read(self, result: Result, key: str, inside: str = "") -> str:
        """Read a file of an output."""
        assert not result.failures, [failure.error.reason for failure in result.failures]
        return (self.store.real(result.outputs[key]) / inside).read_text()

    def told(self, kind: EventKind) -> list[str]:
        """List the keys of events of a kind, in order."""
        return [event.key for event in self.events if event.kind is kind]


def source_tree(root: Path) -> SourceTree:
    """Look at a folder as a recipe's source would."""
    files = []
    for path in sorted(root.rglob("*")):
        link = str(path.readlink()) if path.is_symlink() else None
        if link is None and not path.is_file():
            continue
        content = link.encode() if link is not None else path.read_bytes()
        executable = link is None and os.access(path, os.X_OK)
        sha = hashlib.sha256(content).hexdigest()
        files.append(SourceFile(str(path.relative_to(root)), executable, sha, link))
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    return SourceTree(root, tuple(files), digest)
