"""gunicorn settings as services have them: an address and files of its own, beside the code."""

from pathlib import Path

bind = "127.0.0.1:5101"
workers = 2
threads = 4
worker_class = "gthread"
worker_tmp_dir = "/dev/shm"  # noqa: S108 (memory, where a heartbeat never waits for a disk)
preload_app = True
timeout = 30
graceful_timeout = 10
keepalive = 5

Path("logs").mkdir(exist_ok=True)
accesslog = "logs/access.log"
errorlog = "logs/error.log"
pidfile = "logs/gunicorn.pid"
