"""A phase's configuration on the head itself: packages, users, folders, files and units."""
