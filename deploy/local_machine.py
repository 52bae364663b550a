"""This machine, asked as heads are: commands that end, and scripts of sh. No SSH takes part."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.carried import SYSTEM
from deploy.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended: its exit status, and what it wrote."""

    status: int
    stdout: bytes
    stderr: str


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """This machine under a name; what runs has administrators' programs in its PATH."""

    name: str

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",  # noqa: A002 - as subprocess calls it
        timeout: float,
        root: bool = True,
    ) -> Done:
        """Run a command to its end, as who this process runs as; `timeout` is in seconds.

        Raises:
            HeadError: it cannot be started, or takes longer.
        """
        del root
        path = f"{os.environ.get('PATH', '')}:{SYSTEM}".strip(":")
        env = {**os.environ, "PATH": path, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                argv, input=input, capture_output=True, timeout=timeout, check=False, env=env
            )
        except OSError as error:
            reason = f"cannot start {argv[0]}: {error.strerror}"
            raise HeadError(reason, where=self.name) from error
        except subprocess.TimeoutExpired:
            reason = f"{argv[0]} does not end within {timeout:g} s"
            raise HeadError(reason, where=self.name) from None
        return Done(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))

    def script(
        self, text: str, args: Sequence[str] = (), *, timeout: float, root: bool = True
    ) -> Done:
        """Run a POSIX shell's script to its end.

        Raises:
            HeadError: as for `run`.
        """
        argv = ("sh", "-s", "--", *args)
        return self.run(argv, input=text.encode(), timeout=timeout, root=root)
