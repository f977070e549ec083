"""How gunicorn serves Taskyard. `taskyard web` and the Procfile both start it with this file."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from app import logs
from app.settings import SettingsInvalid, load

try:
    settings = load()
except SettingsInvalid as fault:
    sys.stderr.write(f"{fault}\n")
    sys.exit(2)

logs.configure(settings, "web")

# prometheus-client looks here when it is first imported, so it must be named before the app is.
# A folder of this master's own: two of them on one machine would count each other's workers.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="taskyard-metrics-")
metrics = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

bind = f"{settings.host}:{settings.port}"
workers = settings.web_concurrency
worker_class = "app.web.Worker"
worker_connections = 4000
# Hundreds of agents come back in the same second after an outage.
backlog = 4096
keepalive = 30
timeout = 60
graceful_timeout = 20
control_socket_disable = True
logger_class = "app.web.Words"
accesslog = None
# The app believes as many proxies as TASKYARD_TRUSTED_PROXIES says; gunicorn believes none.
forwarded_allow_ips = ""


def on_starting(_server: Arbiter) -> None:
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True, exist_ok=True)


def post_fork(_server: Arbiter, _worker: Worker) -> None:
    # Until the worker has a handler of its own it has a copy of the master's, which would put a
    # SIGTERM where nobody looks; the master would then wait for it to the end of its patience.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def child_exit(_server: Arbiter, worker: Worker) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid, str(metrics))


def on_exit(_server: Arbiter) -> None:
    shutil.rmtree(metrics, ignore_errors=True)
