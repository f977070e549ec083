"""PostgreSQL killed, started again, and out of connections, under agents at work."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from typing import Final

import httpx
import psycopg
import pytest

from tests.faults.crew import Crew, all_complete, call, start_run
from tests.faults.town import Town, expect_whole, kill_server
from tests.fresh import Key
from tests.shell.running import until

QUICK: Final = 2.0
FEW: Final = 20  # of 503 that the whole crew may see once it answers again


@pytest.mark.parametrize(
    "sign",
    [signal.SIGQUIT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)],
    ids=["immediate shutdown", "SIGKILL"],
)
def test_a_database_killed_in_a_run_answers_503_at_once_and_then_all_goes_on(
    town: Town, sign: signal.Signals
) -> None:
    member = town.people.user("member")
    keys = [town.people.agent() for _ in range(6)]
    with town.open_web() as web:
        runs = [start_run(member, web.url, 160)]
        with Crew(web.url, keys).at_work() as crew:
            for _ in range(1 if sign == signal.SIGQUIT else 2):
                crew.wait_for_more(30)
                kill_server(town.postgres, sign)
                down = time.monotonic()
                for path in (f"executions/{runs[0]}", "executions", "agents"):
                    expect_503(member, web.url, path)
                expect_503(keys[0], web.url, f"agents/{keys[0].id}/work?wait=20")
                assert httpx.get(f"{web.url}/api/health").status_code == 200
                ready = httpx.get(f"{web.url}/api/ready")
                assert ready.status_code == 503
                assert ready.json()["checks"]["postgresql"]["status"] == "missing"
                until(lambda: crew.seen.codes[503] > 6, "every agent has heard of it")
                while_down = crew.answers_since(down)
                town.postgres.start()
                up = time.monotonic()
                crew.wait_for_more(30)
                unlucky = [one for one in crew.answers_since(up) if one[1] == 503]
                assert len(unlucky) <= FEW, "the pools recover without a storm of errors"
                assert [one for one in while_down if one[1] == 503 and one[0] > QUICK] == []
            until(all_complete(member, web.url, runs), "the run completes", 60)
    assert set(crew.seen.codes) <= {200, 201, 204, 503}, "nothing worse than: try again"
    expect_whole(town.database, crew, runs)


def expect_503(key: Key, url: str, path: str) -> None:
    began = time.monotonic()
    answer = call(key, url, "GET", path)
    assert time.monotonic() - began < QUICK
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["title"] == "Temporarily unavailable"


def test_out_of_connections_is_503_at_once_and_passes_by_itself(town: Town) -> None:
    member = town.people.user("member")
    agent = town.people.agent()
    with town.open_web() as web:
        run = start_run(member, web.url, 4)
        with closing(psycopg.connect(town.postgres.admin_url, autocommit=True)) as admin:
            admin.execute("ALTER DATABASE taskyard CONNECTION LIMIT 0")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'taskyard'"
            )
            for _ in range(2):
                expect_503(member, web.url, f"executions/{run}")
                expect_503(agent, web.url, f"agents/{agent.id}/work")
                expect_503(agent, web.url, f"agents/{agent.id}/work?wait=20")
            admin.execute("ALTER DATABASE taskyard CONNECTION LIMIT -1")
        with Crew(web.url, [agent]).at_work() as crew:
            until(all_complete(member, web.url, [run]), "the run completes")
    assert set(crew.seen.codes) <= {200, 201, 204}
    expect_whole(town.database, crew, [run])
