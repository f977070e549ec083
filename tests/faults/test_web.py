"""Web killed in the middle of a storm of hand-offs, around its commits."""

from __future__ import annotations

import random
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from app.db import Database
from app.settings import Settings
from tests.faults.crew import Crew, all_complete, start_run
from tests.faults.town import expect_whole
from tests.fresh import Key, People
from tests.served import Served, serving
from tests.shell.running import until

AGENTS = 8
JOBS = 120


def workers_of(web: Served) -> list[psutil.Process]:
    return psutil.Process(web.process.pid).children()


def kill_one(web: Served, lots: random.Random) -> None:
    until(lambda: workers_of(web), "there is a worker to kill")
    with suppress(psutil.NoSuchProcess):
        lots.choice(workers_of(web)).kill()


@pytest.mark.parametrize(
    "kills", [10, pytest.param(60, marks=pytest.mark.slow)], ids=["ten", "sixty"]
)
def test_workers_killed_around_commits_lose_and_double_nothing(
    migrated: Settings, database: Database, people: People, member: Key, kills: int
) -> None:
    lots = random.Random(kills)
    crew_keys = [people.agent() for _ in range(AGENTS)]
    with serving(migrated) as web:
        runs = [start_run(member, web.url, JOBS)]
        with Crew(web.url, crew_keys).at_work() as crew:
            done = 0
            # On, until kills have hit both sides of a commit: unstored, and stored but unanswered.
            while done < kills or not (crew.seen.repeated and crew.seen.afresh):
                assert done < 6 * kills, "no kill has hit both sides of a commit"
                if JOBS * len(runs) - crew.done < JOBS:
                    runs.append(start_run_through(web, member))
                crew.wait_for_more(lots.randint(1, 25))
                kill_one(web, lots)
                done += 1
            until(all_complete(member, web.url, runs), "the runs complete", 60)
    assert crew.seen.lost > 0
    assert crew.done <= JOBS * len(runs)
    expect_whole(database, crew, runs)


def start_run_through(web: Served, member: Key) -> str:
    """Starting is not said again by this test, so it is said while two workers are there."""
    until(lambda: len(workers_of(web)) == 2, "both workers are there")
    return start_run(member, web.url, JOBS)


def test_a_master_killed_and_started_again_loses_and_doubles_nothing(
    migrated: Settings, database: Database, people: People, member: Key, folder: Path
) -> None:
    crew_keys = [people.agent() for _ in range(AGENTS)]
    with ExitStack() as stack:
        web = stack.enter_context(serving(migrated, TMPDIR=str(folder)))
        runs = [start_run(member, web.url, JOBS)]
        crew = stack.enter_context(Crew(web.url, crew_keys).at_work())
        crew.wait_for_more(30)
        family = workers_of(web)
        web.process.process.kill()
        web.process.wait()
        # Orphans end by themselves: the next master must not share the yard with them for long.
        assert psutil.wait_procs(family, timeout=10)[1] == []
        web = stack.enter_context(serving(migrated, TMPDIR=str(folder)))
        crew.url = web.url
        until(all_complete(member, web.url, runs), "the run completes", 60)
    assert crew.seen.lost > 0
    expect_whole(database, crew, runs)
