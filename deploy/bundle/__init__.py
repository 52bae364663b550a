"""Bundles: the signed files that carry a release across the gap, and how they are read."""
