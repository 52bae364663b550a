"""What can be set for one head: its ports, and how patient it is. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a head; seconds throughout.

    `port` is the web server's, which is asked with `tls` where that is set; `port_offset` is added
    to every service's own. A service is healthy after `probes` good answers in a row; each answer
    must come within `probe_timeout`. A process that has just begun must go on answering until
    `settle_seconds` after the first of these answers, or after it counts as running.
    """

    port: int = 8080
    port_offset: int = 0
    address: str = "127.0.0.1"
    tls: bool = False
    start_seconds: int = 1
    stop_seconds: int = 10
    probes: int = 3
    probe_interval: float = 0.05
    probe_timeout: float = 10.0
    settle_seconds: float = 2.0
    web_timeout: float = 15.0
