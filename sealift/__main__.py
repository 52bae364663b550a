"""`sealift` and `python -m sealift`: run one command, say what went wrong, exit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code.

    Every `store.errors.Error` becomes one message on stderr and its family's exit code; anything
    else is a bug and shows its traceback.
    """
    from click.exceptions import Abort, ClickException, Exit

    from sealift.cli import cli
    from store.errors import Error

    try:
        code = cli.main(args=arguments, prog_name="sealift", standalone_mode=False)
    except Error as error:
        from sealift.errors import report

        report(error)
        return error.exit_code
    except ClickException as error:
        error.show()
        return error.exit_code
    except Exit as ended:
        return ended.exit_code
    except (Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted: nothing is left half done; run the command again\n")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
