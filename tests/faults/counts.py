"""How often each fault is tried: all of it by `make faults`, a sample in every run of the suite."""

from __future__ import annotations

import os

FULL = os.environ.get("SEALIFT_FAULTS") == "full"
"""Whether every fault is tried as often as is promised, which takes the better part of an hour."""
KILLS = 100 if FULL else 8
"""Random moments at which an operator is killed; every stage is tried once besides."""
LINK_CUTS = 50 if FULL else 5
"""Random moments of a push at which the link is cut."""
POWER_CUTS = 20 if FULL else 2
"""Random moments at which the power is cut, in each phase."""
