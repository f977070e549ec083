"""Redis killed, emptied, frozen, gone for long: only rings hang on it, and a ring is a hint."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import redis

from app.db import Database
from app.embedded import Valkey
from app.settings import Settings
from tests.faults.crew import Crew, all_complete, call, start_run
from tests.faults.town import clock_of, expect_whole, kill, kill_server
from tests.fresh import Key, People
from tests.served import Served, serving
from tests.shell.running import until

SLOW: Final = 1.0  # no call may take so long because Redis is gone
LOOKING: Final = 6.5  # waiting polls look every 5 s, and somebody has to serve them
AT_ONCE: Final = 1.0


@dataclass
class Place:
    """A web server that lives by a Redis that may be killed."""

    settings: Settings
    web: Served
    valkey: Valkey
    people: People
    member: Key

    def start(self, jobs: int, action: str = "write") -> str:
        return start_run(self.member, self.web.url, jobs, action)

    def is_ready(self) -> httpx.Response:
        return httpx.get(f"{self.web.url}/api/ready", timeout=10)


@pytest.fixture
def place(
    migrated: Settings, fragile_valkey: Valkey, people: People, member: Key
) -> Iterator[Place]:
    settings = replace(migrated, redis_url=fragile_valkey.url)
    with serving(settings, TASKYARD_RATE_LIMITS="true") as web:  # they too live by Redis
        yield Place(settings, web, fragile_valkey, people, member)


@contextmanager
def waiting_poll(place: Place, agent: Key) -> Iterator[dict[str, Any]]:
    """A poll that waits, in a thread; what came of it and when."""
    told: dict[str, Any] = {}

    def wait() -> None:
        answer = call(agent, place.web.url, "GET", f"agents/{agent.id}/work?wait=30")
        told.update(status=answer.status_code, at=time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield told
    finally:
        thread.join(40)


def time_to_wake(place: Place, agent: Key) -> float:
    """How long work that becomes ready takes to reach an agent that has waited for a while."""
    with waiting_poll(place, agent) as told:
        time.sleep(0.7)  # it looks twice before it sleeps, and tells nobody when that is
        place.start(1, "sleep")
        ready = time.monotonic()
        until(lambda: told, "the waiting poll is answered", 35)
    assert told["status"] == 200
    return float(told["at"]) - ready


def sleeper(place: Place) -> Key:
    """An agent whose work nobody else can do."""
    return place.people.agent(capabilities=[{"action": "sleep"}], max_concurrent=50)


def test_redis_killed_started_again_and_emptied_in_a_run_loses_nothing_and_slows_nobody(
    place: Place, database: Database
) -> None:
    runs = [place.start(240)]
    keys = [place.people.agent() for _ in range(4)]
    with Crew(place.web.url, keys, wait=2).at_work() as crew:
        crew.wait_for_more(20)
        kill_server(place.valkey)
        gone = time.monotonic()
        crew.wait_for_more(60)
        slowest = slowest_report(crew, gone)
        place.valkey.start()
        crew.wait_for_more(20)
        with closing(redis.Redis.from_url(place.valkey.url)) as client:
            client.flushall()
        until(all_complete(place.member, place.web.url, runs), "the run completes", 60)
    assert slowest < SLOW
    assert set(crew.seen.codes) <= {200, 201, 204}, "nobody was told of it"
    expect_whole(database, crew, runs)


def test_a_frozen_redis_slows_no_report(place: Place, database: Database) -> None:
    """It takes every call and answers none: worse than one that is gone."""
    runs = [place.start(240)]
    keys = [place.people.agent() for _ in range(4)]
    with Crew(place.web.url, keys, wait=0).at_work() as crew:
        crew.wait_for_more(20)
        kill(place.valkey.pid, signal.SIGSTOP)
        try:
            frozen = time.monotonic()
            crew.wait_for_more(120)
            slowest = slowest_report(crew, frozen)
        finally:
            kill(place.valkey.pid, signal.SIGCONT)
        until(all_complete(place.member, place.web.url, runs), "the run completes", 60)
    assert slowest < SLOW
    assert set(crew.seen.codes) <= {200, 201, 204}
    expect_whole(database, crew, runs)


def slowest_report(crew: Crew, since: float) -> float:
    """Polls may wait by their own wish: reports never do."""
    reports = [took for took, status in crew.answers_since(since) if status == 201]
    assert reports
    return max(reports)


@pytest.mark.parametrize(
    "seconds", [8, pytest.param(60, marks=pytest.mark.slow)], ids=["8 s", "60 s"]
)
def test_without_redis_calls_stay_quick_and_waiting_polls_look_and_it_all_comes_back(
    place: Place, database: Database, folder: Path, seconds: int
) -> None:
    agent = sleeper(place)
    with clock_of(place.settings, folder):
        until(lambda: place.is_ready().status_code == 200, "it is ready", 30)
        assert time_to_wake(place, agent) < AT_ONCE
        kill_server(place.valkey)
        gone = time.monotonic()
        runs = [place.start(40)]
        keys = [place.people.agent() for _ in range(2)]
        with Crew(place.web.url, keys, wait=0).at_work() as crew:
            until(lambda: place.is_ready().status_code == 503, "it says that it is not ready")
            told = place.is_ready().json()
            assert "redis" in told["detail"]
            assert told["checks"]["redis"]["status"] == "missing"
            assert told["checks"]["postgresql"]["status"] == "ok"
            woken = [time_to_wake(place, agent)]
            while time.monotonic() < gone + seconds:
                if all_complete(place.member, place.web.url, runs)():
                    runs.append(place.start(40))
                woken.append(time_to_wake(place, agent))
            until(all_complete(place.member, place.web.url, runs), "the runs complete", 60)
            place.valkey.start()
            until(lambda: place.is_ready().status_code == 200, "it is ready again", 15)
    took = [took for took, _ in crew.answers_since(gone)]
    assert max(took) < SLOW
    assert max(woken) < LOOKING
    assert set(crew.seen.codes) <= {200, 201, 204}
    # A listener that lost Redis for long looks for it every 5 s.
    until(lambda: time_to_wake(place, agent) < AT_ONCE / 2, "rings wake at once again", 20)
    done = crew.seen.acknowledged
    assert len(done) == 40 * len(runs)
