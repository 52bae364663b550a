"""`sealift` and `python -m sealift`: run one command, say what went wrong, exit."""

from __future__ import annotations

import atexit
import gc
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.output import OutputError

INTERRUPTED = 130
_RARELY = 50_000
"""Objects more than were freed, before Python looks for cycles; it is 700 by itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code.

    Every `store.errors.Error` becomes one message on stderr and its family's exit code. Output
    that nobody reads any more ends quietly with 141, output that cannot be written is an error:
    neither may look like an answer. Anything else is a bug and shows its traceback.
    """
    from sealift import output

    if arguments is None:
        # What is left at the end goes with the process: nobody need look for cycles in it. And
        # what lists of many files are read into has none: to look rarely is enough.
        atexit.register(gc.freeze)
        gc.set_threshold(_RARELY)
    output.guard()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _answer(words)
        output.flush()
    except output.OutputError as error:
        return _unwritten(error)
    return code


def _unwritten(lost: OutputError) -> int:
    """Say why output could not be written, if there is anybody to hear it."""
    from sealift import output

    output.drop()
    if lost.closed:
        return output.CLOSED
    error = output.refusal(lost.fault, lost.where)
    with suppress(output.OutputError):
        from sealift.errors import text

        sys.stderr.write(f"{text(error)}\n")
    output.drop()
    return error.exit_code


def _answer(words: list[str]) -> int:
    """Run a command line whose output can be written."""
    from sealift import version
    from store.errors import Error

    if words == version.WORDS:
        sys.stdout.write(f"{version.text()}\n")
        return 0
    try:
        return 0 if _is_unchanged(words) else _run(words)
    except Error as error:
        from sealift.errors import report

        report(error)
        return error.exit_code
    except KeyboardInterrupt:
        return _interrupted()


def _is_unchanged(words: list[str]) -> bool:
    """Answer a build with nothing to do; what it takes is loaded for a build alone."""
    if words[:1] != ["build"]:
        return False
    from sealift import unchanged

    return unchanged.answer(words)


def _run(words: list[str]) -> int:
    """Parse the words and call the command that they name."""
    from click.exceptions import Abort, ClickException, Exit

    from sealift.cli import cli

    try:
        code = cli.main(args=words, prog_name="sealift", standalone_mode=False)
    except ClickException as error:
        error.show()
        return error.exit_code
    except Exit as ended:
        return ended.exit_code
    except Abort as ended:
        # Click makes one of Ctrl-C; without it, somebody was asked and did not agree.
        if isinstance(ended.__cause__, KeyboardInterrupt | EOFError):
            return _interrupted()
        sys.stderr.write("nothing was done\n")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _interrupted() -> int:
    sys.stderr.write("interrupted: nothing is left half done; run the command again\n")
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
