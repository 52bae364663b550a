"""How browsers reach a head, told to its services: one variable in a file that units read.

The file lies in memory and is written before services are started, so it is there after any start
of the machine. In commands of units the variable stands for `{url}`.
"""

from __future__ import annotations

import re
from pathlib import Path

from deploy.errors import BadMessageError

FILE = Path("/run/sealift/site.env")
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(?:/[A-Za-z0-9._~/-]*)?")


def tell(url: str, file: Path = FILE) -> None:
    """Write the variable; where nobody knows the URL, services go without.

    Raises:
        BadMessageError: `url` is none.
    """
    if not url:
        file.unlink(missing_ok=True)
        return
    if not _URL.fullmatch(url):
        reason = "this is no URL at which browsers could reach the head"
        raise BadMessageError(reason, got=repr(url), expected="for example https://head1/")
    text = f"SEALIFT_URL={url.rstrip('/')}\n"
    if file.is_file() and file.read_text("utf-8") == text:
        return
    file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}")
    fresh.write_text(text, "utf-8")
    fresh.replace(file)
