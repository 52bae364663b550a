"""Build a Python project's wheel (PEP 517) with the build backend of an environment.

Runs in the sandbox under the toolchain's Python; argv[1] names a JSON file with `tools` (store
path of an environment that has build and the project's backend), `source` and `out`.

Nothing is installed for it: what the project requires to be built must be in that environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def main(*, tools: str, source: str, out: str) -> None:
    """Build the wheel into the new folder `out`."""
    argv = [f"{tools}/bin/python3", "-I", "-B", "-m", "build", "--wheel", "--no-isolation"]
    done = subprocess.run([*argv, "--outdir", out, source], check=False)
    if done.returncode != 0:
        sys.exit("the project's wheel cannot be built")
    found = sorted(path.name for path in Path(out).iterdir())
    if len(found) != 1 or not found[0].endswith("-py3-none-any.whl"):
        sys.exit(f"not one wheel that any Python 3 takes: {', '.join(found)}")


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
