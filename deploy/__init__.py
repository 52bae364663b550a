"""From a closure to a running, health-checked service."""
