"""How often each fault is tried: all of it by `make faults`, a sample in every run of the suite."""

from __future__ import annotations

import os

FULL = os.environ.get("SEALIFT_FAULTS") == "full"
"""Whether every fault is tried as often as is promised, which takes the better part of an hour."""
KILLS = 100 if FULL else 4
"""Random moments at which an operator is killed; stages are tried once besides."""
STAGES = 1 if FULL else 2
"""Of how many stages one is that after which an operator is killed."""
LINK_CUTS = 50 if FULL else 3
"""Random moments of a push at which the link is cut."""
UNCONFIRMED = ("switched", "healthy") if FULL else ("switched",)
"""What a head has told last when the link is cut for so long that it goes back."""
LIVES = ("0", "0.8") if FULL else ("0.8",)
"""Seconds that a service lives which answers well and then ends."""
POWER_CUTS = 20 if FULL else 1
"""Random moments at which the power is cut, in each phase."""
PHASE_KILLS = 50 if FULL else 1
"""Random moments of a run of all phases at which the operator is killed."""
PHASE_PARTITIONS = (("database", 2), ("slurm", 0)) if FULL else (("database", 2),)
"""Phases during which a head is cut off from the others."""
