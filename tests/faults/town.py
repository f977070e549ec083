"""Servers that a test may kill, an app over them, and what must hold when the fault is over."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from flask import Flask

from app import create_app, migrating
from app.cli.processes import CLOCK
from app.db import Database
from app.embedded import DataFolder, Postgres, Valkey
from app.embedded.account import servers_account
from app.settings import Settings
from tests import invariants
from tests.conftest import make_test_folder
from tests.faults.crew import Crew
from tests.fresh import People
from tests.served import Served, serving
from tests.shell.running import Running, until


@dataclass
class Town:
    """An app over a PostgreSQL of this test's own, with the durability of production."""

    settings: Settings
    postgres: Postgres
    database: Database
    people: People

    @contextmanager
    def open_web(self, workers: int = 2) -> Iterator[Served]:
        with serving(self.settings, workers) as served:
            yield served


@pytest.fixture
def fragile_valkey() -> Iterator[Valkey]:
    """A Valkey that the test may kill, running."""
    with ExitStack() as stack:
        folder = DataFolder(make_test_folder(stack))
        sockets = folder.open_sockets(servers_account())
        stack.callback(folder.close_sockets, sockets)
        valkey = Valkey(folder.valkey, sockets, fast=True)
        stack.callback(valkey.stop)
        valkey.start()
        yield valkey


@pytest.fixture
def fragile_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may kill, running, which keeps what it has acknowledged."""
    with ExitStack() as stack:
        folder = DataFolder(make_test_folder(stack))
        sockets = folder.open_sockets(servers_account())
        stack.callback(folder.close_sockets, sockets)
        postgres = Postgres(folder.postgres, sockets)
        stack.callback(postgres.stop)
        postgres.start()
        yield postgres


@pytest.fixture
def town(settings: Settings, fragile_postgres: Postgres) -> Iterator[Town]:
    own = replace(settings, database_url=fragile_postgres.url, rate_limits=False)
    app: Flask = create_app(own)
    migrating.upgrade(app)
    database: Database = app.extensions["taskyard.db"]
    yield Town(own, fragile_postgres, database, People(app.test_client(), database))
    database.engine.dispose()


@contextmanager
def clock_of(settings: Settings, folder: Path) -> Iterator[Running]:
    """The clock as production runs it."""
    environ = settings.environ() | {"TASKYARD_LOG_FORMAT": "text"}
    with Running(CLOCK, folder, **environ) as clock:
        clock.wait_for("leads")
        yield clock
        if clock.process.poll() is None:
            assert clock.end() == 0, clock.said


def kill(pid: int | None, sign: signal.Signals = signal.SIGKILL) -> None:
    assert pid is not None
    os.kill(pid, sign)


def kill_server(server: Postgres | Valkey, sign: signal.Signals = signal.SIGKILL) -> None:
    kill(server.pid, sign)
    until(lambda: not server.running, "the server is gone")


def expect_whole(database: Database, crew: Crew, executions: list[str]) -> None:
    """Nothing lost, nothing doubled: every promise holds, and what was acknowledged is stored."""
    database.engine.dispose()  # its connections may be of a server that is gone
    moment = invariants.check(database)
    for execution in executions:
        assert moment.executions[uuid.UUID(execution)].status == "completed"
    with database.transaction() as tx:
        rows = tx.execute("SELECT id, status, result FROM jobs").fetchall()
    stored = {str(row["id"]): (row["status"], row["result"]) for row in rows}
    for job, output in crew.seen.outputs.items():
        assert stored[job] == ("completed", output), "what was acknowledged is what is stored"
    completed = [event.job_id for event in moment.events if event.type == "job_completed"]
    assert len(completed) == len(set(completed)), "each is completed once"
    assert len(completed) == len(moment.jobs)
    assert len(moment.leases) == len(moment.jobs), "each was handed out once: no lease was lost"
