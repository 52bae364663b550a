"""What a builder function is handed: one step with real inputs, a place to work, and a sandbox.

Resolving the inputs, and what becomes of the output, is for `builders.realise`.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from builders import logs, sandbox
from builders.command import FloodError
from builders.derive import script_files
from builders.recipe import EMPTY
from builders.sandbox import NO_BINDS, Room, SandboxMode
from store.database import DiskFullError
from store.errors import Error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builders.command import Children
    from builders.step import Step

_TAIL = 20
_ROOM = 1 << 16
"""Bytes; with less than this free, a failure is put down to the disk."""


class BuildError(Error):
    """A build that failed, with the last lines that it said.

    Attributes:
        lines: the end of the build log.
    """

    slug = "build-failed"
    exit_code = 1

    def __init__(
        self,
        reason: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        super().__init__(reason, where=where, expected=expected, got=got, hint=hint)
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True)
class Build:
    """One step about to become a store object; made once, for one builder function.

    Attributes:
        step: what is built.
        inputs: role → real store path.
        source: writable copy of the source tree: modes 0644 and 0755, mtime `EPOCH`.
        out: what the builder must create, a file or a directory; absent at the start.
        work: scratch directory, `/build` inside; `source` and `out` lie in it.
        log: the build log; all that commands say goes there.
        log_file: its path, kept also on failure.
        closure: real store paths that commands may read: the inputs and all they refer to.
        mode: which sandbox.
        children: the processes of the whole build, so that they can be stopped.
    """

    step: Step
    inputs: Mapping[str, Path]
    source: Path | None
    out: Path
    work: Path
    log: IO[str]
    log_file: Path
    closure: Sequence[Path]
    mode: SandboxMode
    children: Children

    def inside(self, path: Path) -> str:
        """Spell a real path as commands see it: `work` is `/build`, all else stays."""
        if self.mode is SandboxMode.OFF or not path.is_relative_to(self.work):
            return str(path)
        return str(Path(sandbox.INSIDE) / path.relative_to(self.work))

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] = EMPTY,
        cwd: Path | None = None,
        scratch: Sequence[Path] = (),
        binds: Mapping[Path, str] = NO_BINDS,
    ) -> None:
        """Run a command in the sandbox, with all it says in the log.

        `env` is added to the fixed environment. `cwd` and `scratch` are real paths under `work`
        or places inside; `binds` maps real paths to places inside, read-only.

        Raises:
            BuildError: if the command cannot start or ends with anything but 0.
            SandboxError: if this machine cannot make a sandbox.
            DiskFullError: if it failed and there is no room left.
            StoppedError: if the whole build was told to stop.
        """
        self.log.write("$ " + " ".join(argv) + "\n")
        run = self._run_bare if self.mode is SandboxMode.OFF else self._run_enclosed
        try:
            code = run(argv, env, cwd or self.work, scratch, binds)
        except FloodError as fault:
            raise self.error(f"{Path(argv[0]).name} {fault}, and was killed") from fault
        if code != 0:
            self._check_room()
            raise self.error(f"{Path(argv[0]).name} {_ending(code)}")

    def run_script(self, arguments: Mapping[str, Any], *, scratch: Sequence[Path] = ()) -> None:
        """Run the step's script with the input `python`; it reads `arguments` from a JSON file.

        `scratch` are places under `work` that lie in memory, as for `run`.

        Raises:
            BuildError: if the step names no script, or the script fails.
        """
        if self.step.script is None:
            raise self.error("the step names no script")
        script = _lay_script(self.step.script, self.work / "script")
        file = self.work / "arguments.json"
        file.write_text(json.dumps(arguments, sort_keys=True, ensure_ascii=False))
        python = self.inputs["python"] / "bin" / "python3"
        argv = [str(python), "-I", "-S", self.inside(script), self.inside(file)]
        self.run(argv, scratch=scratch)

    def error(self, reason: str) -> BuildError:
        """Make the error of a failed build, with the end of the log."""
        return BuildError(
            f"{self.step.title}: {logs.plain(reason)}",
            where=str(self.log_file),
            hint=f"sealift log {self.step.key}",
            lines=self._tail(),
        )

    def _run_enclosed(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        scratch: Sequence[Path],
        binds: Mapping[Path, str],
    ) -> int:
        room = Room(
            work=self.work,
            etc=self._etc(),
            temporary=self._temporary(),
            paths=self.closure,
            base=self.inputs.get("base"),
            binds=binds,
            scratch=[self.inside(path) for path in scratch],
            cwd=self.inside(cwd),
        )
        command = sandbox.bubblewrap(room, argv, tool=sandbox.probe(), mark=self.children.mark)
        # The environment is bubblewrap's own, and that of nobody else: it hands it on as it is.
        return self.children.run(command, env=_environment(env), cwd=None, log=self.log)

    def _run_bare(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        scratch: Sequence[Path],
        binds: Mapping[Path, str],
    ) -> int:
        home = self.work.parent / "home"
        home.mkdir(exist_ok=True)
        for real, place in binds.items():
            _copy(real, Path(place))
        for path in scratch:
            path.mkdir(parents=True, exist_ok=True)
        own = {
            "HOME": str(home),
            "TMPDIR": str(self._temporary()),
            "SEALIFT_BUILD": self.children.mark,
        }
        try:
            return self.children.run(argv, env=_environment(own | dict(env)), cwd=cwd, log=self.log)
        except OSError as fault:
            raise self.error(f"{argv[0]} cannot start: {fault.strerror}") from fault

    def _check_room(self) -> None:
        """Say the cause, not its hundred consequences.

        Raises:
            DiskFullError: if nothing more can be written where the build works.
        """
        if shutil.disk_usage(self.work).free < _ROOM:
            raise DiskFullError(
                f"{self.step.title}: the disk is full",
                where=str(self.work),
                hint="sealift store gc",
            )

    def _etc(self) -> Path:
        etc = self.work.parent / "etc"
        if not etc.exists():
            etc.mkdir()
            for name, text in sandbox.ETC.items():
                (etc / name).write_text(text)
        return etc

    def _temporary(self) -> Path:
        temporary = self.work.parent / "tmp"
        temporary.mkdir(exist_ok=True)
        return temporary

    def _tail(self) -> list[str]:
        self.log.flush()
        return logs.last_lines(self.log_file, _TAIL)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {**sandbox.ENVIRONMENT, **extra}


def _lay_script(name: str, folder: Path) -> Path:
    """Copy a script and the modules it imports, which find each other both ways.

    Beside the script, and as `builders.scripts.…` below its `lib`, as they are called where the
    builders import them too.
    """
    package = folder / "lib" / "builders" / "scripts"
    package.mkdir(parents=True, exist_ok=True)
    for file in script_files(name):
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(file, package / file.name)
    return folder / name


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _copy(real: Path, place: Path) -> None:
    """Stand in for a read-only mount where there is none: a copy of its own, writable."""
    if real.is_dir():
        shutil.copytree(real, place, symlinks=True, dirs_exist_ok=True)
        for folder, _, _ in os.walk(place):
            Path(folder).chmod(0o755)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(real, place)
