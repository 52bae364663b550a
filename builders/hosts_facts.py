"""What another inventory says of one host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """How a host is reached; None where nothing is said.

    `platform` tells whether the platform's services are for it; of a compute node they are not.
    """

    address: str | None = None
    user: str | None = None
    port: int | None = None
    key: str | None = None
    gateway: str | None = None
    priority: int | None = None
    sudo: str | None = None
    platform: bool = True


def renamed(name: str) -> str:
    """Return what a host is called here, where names have no underscore."""
    return name.replace("_", "-")


def note(name: str) -> str:
    """Say that a host has another name here; for one of which `renamed` is not the same."""
    return f"the name {name}: names have no underscore; it is {renamed(name)} now"
