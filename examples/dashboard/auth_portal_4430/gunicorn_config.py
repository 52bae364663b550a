"""gunicorn settings of this backend: two workers with threads, logs beside the code."""

import os

bind = "127.0.0.1:4430"
workers = 2
threads = 4
worker_class = "gthread"
worker_tmp_dir = "/dev/shm"
preload_app = True
timeout = 60
graceful_timeout = 20
keepalive = 5

os.makedirs("logs", exist_ok=True)
accesslog = "logs/access.log"
errorlog = "logs/error.log"
pidfile = "logs/gunicorn.pid"
capture_output = True
