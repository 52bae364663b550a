"""Sizes as people write them: 4GiB, 700MB."""

from __future__ import annotations

import re

import click

_SIZE = re.compile(r"(\d{1,15})\s*([kKMGT]?i?)B?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


class Size(click.ParamType[int]):
    """A number of bytes; k, M, G and T are powers of 1000, Ki, Mi, Gi and Ti of 1024."""

    name = "SIZE"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read one, or fail as options do."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None or match[2] == "i":
            self.fail(f"{value!r} is no size; 4GiB and 700MB are.", param, ctx)
        base = 1024 if match[2].endswith("i") else 1000
        power: int = _POWERS[match[2].removesuffix("i")]
        size: int = int(match[1]) * base**power
        return size
