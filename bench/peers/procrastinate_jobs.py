"""Runs in the environment of the peers: one process of procrastinate, doing no-op jobs.

Two uses: `defer` fills the queue, `work` empties it and writes when it began and ended.
"""

import asyncio
import json
import logging
import sys
import time
from typing import Any

from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found,unused-ignore]

BATCH = 1000


def make(url: str, connections: int) -> Any:
    connector = PsycopgConnector(conninfo=url, min_size=connections, max_size=connections)
    return App(connector=connector)


async def defer(url: str, jobs: int) -> None:
    app = make(url, 2)
    noop = app.task(name="noop")(_nothing)
    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, BATCH):
            await noop.batch_defer_async(
                *({"n": n} for n in range(first, min(first + BATCH, jobs)))
            )


async def work(url: str, concurrency: int) -> None:
    """Timed from the first job's start, so that starting a process is not held against it."""
    app = make(url, min(concurrency, 20) + 2)
    done: list[float] = []

    async def noop(n: int) -> None:  # noqa: ARG001 - what was deferred is handed in by name
        done.append(time.monotonic())

    app.task(name="noop")(noop)
    async with app.open_async():
        await app.run_worker_async(
            concurrency=concurrency, wait=False, install_signal_handlers=False
        )
    json.dump(
        {"jobs": len(done), "first": min(done, default=0.0), "last": max(done, default=0.0)},
        sys.stdout,
    )


async def _nothing(n: int) -> None:
    """Only its name is deferred here."""


if __name__ == "__main__":
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    what, database, number = sys.argv[1:]
    asyncio.run({"defer": defer, "work": work}[what](database, int(number)))
