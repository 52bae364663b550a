"""What tests of every package may use."""

from __future__ import annotations

pytest_plugins = ("tests.lab.fixtures",)
