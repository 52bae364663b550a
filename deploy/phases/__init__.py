"""The phases of a cluster: what several heads are made, in order, and how each step is tried."""
