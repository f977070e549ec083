"""The clock: a table of sweeps, each a name, an interval and a function of the domain."""

from __future__ import annotations

import logging
import os
import signal
import socket
from functools import partial

from app import clockwork, logs, waiting
from app.agents.liveness import note_beat
from app.bell import Bell
from app.clockwork import Clockwork, Sweep
from app.control.sweeps import sweep_bell, sweep_executions, sweep_leases
from app.db import Database
from app.dispatch import Dispatch
from app.embedded import attach
from app.leader import Leadership
from app.records import open_database
from app.settings import Settings, load
from app.stopping import stopping

log = logging.getLogger(__name__)


def table(database: Database) -> list[Sweep]:
    """What is looked at, and how often."""
    return [
        Sweep("leases", 5, partial(sweep_leases, database)),
        Sweep("bell", 5, partial(sweep_bell, database)),
        Sweep("executions", 60, partial(sweep_executions, database)),
    ]


def beat(database: Database) -> clockwork.Beat:
    """Where each run is written down: what the clock did last, and that it lives."""

    def write(name: str, seconds: float, done: int) -> None:
        with database.transaction() as tx:
            note_beat(tx, "sweep", name, {"seconds": round(seconds, 4), "done": done})
            note_beat(tx, "clock", socket.gethostname(), {"pid": os.getpid()})

    return write


def run(settings: Settings) -> None:
    """The clock's process: waits for the database, then sweeps until SIGTERM."""
    logs.configure(settings, "clock")
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stopping.set())
    waiting.for_database(settings.database_url)
    database = open_database(settings.database_url, Dispatch(Bell(settings.redis_url)), pool_size=4)
    log.info("clock runs", extra={"host": socket.gethostname(), "pid": os.getpid()})
    Clockwork(Leadership(settings.database_url), table(database), beat(database)).run()
    log.info("clock ended")


if __name__ == "__main__":
    run(attach(load()))
