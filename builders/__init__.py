"""From recipes to store objects: load, plan, fetch, build in a sandbox."""
