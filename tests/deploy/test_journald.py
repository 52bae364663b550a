"""What the journal is asked for: the end of what a service wrote, in the order in which it did."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from deploy import journald

if TYPE_CHECKING:
    from pathlib import Path

# As that of systemd 252 does: `--lines` counts from where the reading begins.
JOURNALCTL = """#!{python}
import sys
lines = ["line %d" % n for n in range(30)]
if "--sync" in sys.argv:
    sys.exit()
(count,) = (int(word[8:]) for word in sys.argv if word.startswith("--lines="))
reverse, since = "--reverse" in sys.argv, any(word.startswith("--since=") for word in sys.argv)
if reverse:
    lines.reverse()
print("\\n".join(lines[:count] if reverse or since else lines[-count:]))
"""


@pytest.mark.parametrize("since", [0.0, 1.0])
def test_the_end_of_the_journal_is_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: float
) -> None:
    program = tmp_path / "journalctl"
    program.write_text(JOURNALCTL.format(python=sys.executable))
    program.chmod(0o755)
    # The folder goes first, where it is looked for by whoever starts it.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(journald, "_ENV", {"PATH": str(tmp_path)})
    assert journald.output("api", 3, since=since) == ("line 27", "line 28", "line 29")
