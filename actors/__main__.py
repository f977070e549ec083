"""The worker's process: one process, some threads. Scale it by starting more of them.

Dramatiq's own command forks children, which a SIGTERM to the process group kills in the middle of
their work, and which go on consuming when their master is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
import uuid
from typing import Final

import dramatiq
import orjson
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.worker import Worker

import actors
from app import broker as brokers
from app import logs, waiting
from app.embedded import attach
from app.settings import Settings, load
from app.stopping import leave_by, stopping
from app.version import VERSION

log = logging.getLogger("actors")

GRACE: Final = 22.0  # seconds for what runs; the rest of the 25 is for handing back
LAST: Final = 25.0


def run(settings: Settings) -> None:
    """Wait for Redis, work until SIGTERM, finish what runs."""
    logs.configure(settings, "worker")
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stopping.set())
    waiting.for_redis(settings.redis_url)
    if stopping.is_set():
        return
    broker = brokers.connect(settings)
    dramatiq.set_broker(broker)
    actors.register(broker)
    # Before the worker starts, or time limits are never looked after.
    broker.emit_after("process_boot")
    worker = Worker(broker, worker_threads=settings.worker_threads)
    worker.start()
    log.info(
        "worker runs",
        extra={
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "threads": settings.worker_threads,
            "queues": sorted(broker.get_declared_queues()),
        },
    )
    _beat_until_told(broker, settings)
    _end(broker, worker)


def _beat_until_told(broker: RedisBroker, settings: Settings) -> None:
    key = brokers.BEATS + uuid.uuid4().hex
    about = orjson.dumps(
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": VERSION,
            "threads": settings.worker_threads,
            "queues": sorted(broker.get_declared_queues()),
        }
    )
    while True:
        with contextlib.suppress(redis.RedisError):
            broker.client.set(key, about, ex=brokers.BEAT_SECONDS * 3)
        if stopping.wait(brokers.BEAT_SECONDS):
            break
    with contextlib.suppress(redis.RedisError):
        broker.client.delete(key)


def _end(broker: RedisBroker, worker: Worker) -> None:
    log.info("worker ends: takes nothing new, finishes what runs")
    leave_by(LAST)
    started = time.monotonic()
    worker.stop(timeout=int(GRACE * 1000))
    with contextlib.suppress(redis.RedisError):
        broker.close()
    log.info("worker ended", extra={"seconds": round(time.monotonic() - started, 1)})
    logging.shutdown()
    if any(thread.is_alive() for thread in worker.workers):
        os._exit(1)


if __name__ == "__main__":
    run(attach(load()))
