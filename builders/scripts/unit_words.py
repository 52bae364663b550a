"""How a text is spelled in a unit so that systemd reads what was meant. Pure.

What it would read otherwise is spelled by `word` and `setting`, and refused if it cannot be.
"""

from __future__ import annotations

import re
import sys

URL = "SEALIFT_URL"
"""The variable that says how browsers reach a head."""
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def word(text: str) -> str:
    """Spell one word of a command line: systemd.service(5), COMMAND LINES."""
    return setting(text.replace("$", "$$"))


def setting(text: str) -> str:
    """Spell one value in quotes, where specifiers and C escapes hold: systemd.syntax(7)."""
    return f'"{bare(text.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34)))}"'


def bare(text: str) -> str:
    """Spell a value that takes the whole line, where only specifiers hold."""
    if FORBIDDEN.search(text):
        sys.exit(f"systemd cannot carry {text!r}: it holds a control character")
    return text.replace("%", "%%")


def fill(text: str, known: dict[str, str]) -> str:
    """Put in what every head knows alike."""
    for name, value in known.items():
        text = text.replace(name, value)
    return text


def located(spelled: str) -> str:
    """Let systemd choose the folder of secrets, and the head its URL."""
    return spelled.replace("{credentials}", "%d").replace("{url}", f"${{{URL}}}")


def joined(lines: list[str]) -> str:
    """End each line."""
    return "".join(f"{line}\n" for line in lines)
