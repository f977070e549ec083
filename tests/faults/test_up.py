"""All of `taskyard up` killed in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import create_app
from app.db import Database
from app.embedded import attach
from app.settings import load
from tests.faults.crew import Crew, all_complete, start_run
from tests.faults.town import expect_whole
from tests.fresh import People
from tests.served import free_port
from tests.shell.running import TASKYARD, Running, until

READY = "Taskyard is ready at "


@contextmanager
def up(data: Path, port: int) -> Iterator[Running]:
    command = (*TASKYARD, "up", "--data", str(data), "--port", str(port))
    with Running(command, data.parent, TMPDIR=str(data.parent)) as running:
        running.wait_for(READY, 60)
        yield running
        if running.process.poll() is None:
            assert running.end(seconds=40) == 0, running.said


@pytest.mark.slow
def test_a_run_goes_on_after_taskyard_was_killed_and_keeps_what_it_acknowledged(
    folder: Path,
) -> None:
    data, port = folder / "data", free_port()
    url = f"http://127.0.0.1:{port}"
    with up(data, port) as first:
        app = create_app(attach(load({"TASKYARD_DATA": str(data)})))
        database: Database = app.extensions["taskyard.db"]
        people = People(app.test_client(), database)
        member = people.user("member")
        runs = [start_run(member, url, 200)]
        with Crew(url, [people.agent() for _ in range(4)]).at_work() as crew:
            crew.wait_for_more(40)
            first.process.kill()
            first.wait()
            with up(data, port):
                assert crew.done < 200, "it was killed in the middle"
                until(all_complete(member, url, runs), "the run completes", 60)
                expect_whole(database, crew, runs)
                database.engine.dispose()
    assert crew.seen.lost > 0
