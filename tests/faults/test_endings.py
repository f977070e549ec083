"""Web told to end while agents wait, and agents that end without a word."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from app.db import Database
from app.settings import Settings
from tests import invariants
from tests.faults.crew import call, start_run, status_of
from tests.faults.town import clock_of
from tests.fresh import Key, People
from tests.served import Serve, serving
from tests.shell.running import until


def test_web_told_to_end_answers_all_who_wait_within_seconds(
    migrated: Settings, database: Database, people: People
) -> None:
    agents = [people.agent() for _ in range(12)]
    told: list[int] = []
    lock = threading.Lock()

    def wait(agent: Key) -> None:
        answer = call(agent, web.url, "GET", f"agents/{agent.id}/work?wait=50")
        with lock:
            told.append(answer.status_code)

    with serving(migrated) as web:
        threads = [threading.Thread(target=wait, args=(agent,)) for agent in agents]
        for thread in threads:
            thread.start()
        until(lambda: seen(database) == len(agents), "every poll has come")
        assert told == []
        began = time.monotonic()
        web.process.process.terminate()
        for thread in threads:
            thread.join(20)
        assert told == [204] * len(agents)
        assert web.process.wait() == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in web.process.said


def seen(database: Database) -> int:
    with database.transaction() as tx:
        asked = "SELECT count(*) AS agents FROM agents WHERE last_seen_at IS NOT NULL"
        return int(tx.fetch(asked)["agents"])


def test_the_job_of_an_agent_that_died_goes_to_another_and_its_late_report_is_refused(
    server: Serve, migrated: Settings, database: Database, people: People, member: Key, folder: Path
) -> None:
    url = server(workers=2)
    run = start_run(member, url, 1, retry_policy={"base_seconds": 0})
    dead, heir = people.agent(), people.agent()
    claim = f"agents/{dead.id}/work?lease_seconds=5"
    [lost] = call(dead, url, "POST", claim).json()["work"]
    reports = f"executions/{run}/events"
    said = {"job_id": lost["job"]["id"], "token": lost["lease"]["token"]}
    assert call(dead, url, "POST", reports, said | {"type": "started"}).status_code == 201
    watch = invariants.Watch(database)
    watch.check()
    with clock_of(migrated, folder):
        answer = call(heir, url, "GET", f"agents/{heir.id}/work?wait=30")
        assert answer.status_code == 200, "the clock has taken it back"
        [work] = answer.json()["work"]
        watch.check()
        assert work["job"]["id"] == lost["job"]["id"]
        assert work["lease"]["attempt"] == 2

        late = call(dead, url, "POST", reports, said | {"type": "completed", "output": "late"})
        assert late.status_code == 409, late.text
        assert late.json()["control"] == "cancel"
        watch.check()
        done = said | {"type": "completed", "output": "in time", "token": work["lease"]["token"]}
        assert call(heir, url, "POST", reports, done).status_code == 201
        late = call(dead, url, "POST", reports, said | {"type": "completed", "output": "late"})
        assert late.status_code == 409
    watch.check()
    assert status_of(member, url, run) == "completed"
    with database.transaction() as tx:
        assert tx.fetch("SELECT result FROM jobs")["result"] == "in time"
