"""Bytes and numbers of things as people read them."""

from __future__ import annotations

MEGABYTE = 1_000_000


def megabytes(size: int) -> str:
    """Say how many megabytes it is, be it ever so little."""
    return f"{size / MEGABYTE:.1f} MB"


def amount(size: int) -> str:
    """Say how much it is; of less than a megabyte, how many kilobytes."""
    return megabytes(size) if size >= MEGABYTE else f"{size / 1000:.1f} kB"


def counted(number: int, noun: str) -> str:
    """Say how many there are of something that is called so if it is one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
