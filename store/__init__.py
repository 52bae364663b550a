"""Immutable, content-addressed store objects and the local store that holds them."""
