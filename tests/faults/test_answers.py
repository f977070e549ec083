"""Answers that never arrive, of calls that were served."""

from __future__ import annotations

import uuid

import httpx
import pytest

from app.db import Database
from tests.faults.crew import Crew, all_complete, call, start_run
from tests.faults.lossy import every, lossy_road
from tests.faults.town import expect_whole
from tests.fresh import Key, People
from tests.served import Serve
from tests.shell.running import until

JOBS = 100


def test_each_third_answer_lost_loses_and_doubles_no_work(
    server: Serve, database: Database, people: People, member: Key
) -> None:
    url = server(workers=2)
    runs = [start_run(member, url, JOBS)]
    keys = [people.agent() for _ in range(4)]
    with lossy_road(url, every(3)) as road, Crew(road.url, keys).at_work() as crew:
        until(all_complete(member, url, runs), "the run completes", 60)
        until(lambda: crew.done == JOBS, "every completion is acknowledged at last")
    assert road.lost > JOBS / 4
    assert crew.seen.repeated > 0
    assert crew.seen.afresh == 0, "the server had served each call whose answer was lost"
    expect_whole(database, crew, runs)


def test_a_lost_claim_and_a_lost_completion_said_again_bring_the_same_work_again(
    server: Serve, database: Database, people: People, member: Key
) -> None:
    url = server(workers=2)
    run = start_run(member, url, 12)
    agent = people.agent(max_concurrent=3)
    fates = iter([True, True, False, True, True, False, False])
    with lossy_road(url, lambda: next(fates)) as road:
        path = f"agents/{agent.id}/work?max=2&claim={uuid.uuid4().hex}"
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                call(agent, road.url, "GET", path)
        held = call(agent, url, "GET", f"agents/{agent.id}/leases").json()["work"]
        work = call(agent, road.url, "GET", path).json()["work"]
        assert tokens(work) == tokens(held)
        assert len(work) == 2
        done = {
            "type": "completed",
            "job_id": work[0]["job"]["id"],
            "token": work[0]["lease"]["token"],
            "output": "once",
        }
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                call(agent, road.url, "POST", f"executions/{run}/events?next=1", done)
        held = call(agent, url, "GET", f"agents/{agent.id}/leases").json()["work"]
        again = call(agent, road.url, "POST", f"executions/{run}/events?next=1", done).json()
        assert again["repeated"] is True
        assert again["status"] == "completed"
        assert tokens(again["work"]) == tokens(held) - tokens(work)
        assert len(again["work"]) == 1
        assert call(agent, road.url, "GET", path).json()["work"][0]["lease"] == work[1]["lease"]


def tokens(work: list[dict[str, dict[str, str]]]) -> set[str]:
    return {piece["lease"]["token"] for piece in work}
