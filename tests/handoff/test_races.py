"""Races between real processes: whoever comes first wins, and there is one winner.

Two web servers of a process each, so that both are sure to be asked; a third of two workers.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest

from app.control.sweeps import sweep_bell, sweep_leases
from app.db import Database
from app.executions.run import hold
from app.settings import Settings
from tests.fresh import Key, People
from tests.handoff.crowd import Door, Volley, together
from tests.handoff.runs import MadeRun, make_run
from tests.invariants import check
from tests.served import serving

POLLERS = 50
AGAIN = range(12)  # how often each race is run: who wins differs


@pytest.fixture(scope="module")
def webs(migrated: Settings) -> Iterator[list[str]]:
    """Three masters, four processes."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(migrated, workers)).url for workers in (1, 1, 2)]


def claim(door: Door, query: str = "") -> list[dict[str, Any]]:
    answer = door.work(query)
    assert answer.status_code in (200, 204), answer.text
    work: list[dict[str, Any]] = answer.json()["work"] if answer.status_code == 200 else []
    return work


def lapse(database: Database, made: MadeRun) -> None:
    """As if nothing had been heard in time: real processes share no clock of ours."""
    with database.transaction() as tx:
        hold(tx, made.id)
        tx.execute(LAPSE, {"id": made.id})


LAPSE = """
UPDATE leases SET expires_at = now() - interval '1 s' WHERE execution_id = %(id)s
  AND ended_at IS NULL
"""


def fetch(database: Database, query: str, **params: Any) -> Any:
    with database.transaction() as tx:
        return tx.fetch(query, params)


def crowd_around(
    database: Database, people: People, member: Key, webs: list[str], jobs: int
) -> None:
    """All ask at once for the one job that there is; the one who has it frees the next."""
    names = [f"j{place}" for place in range(jobs)]
    needs = {name: names[max(0, place - 1) : place] for place, name in enumerate(names)}
    made = make_run(database, member.id, needs)
    agents = [people.agent() for _ in range(POLLERS)]
    volley = Volley(webs, agents)
    paths = [f"/api/agents/{agent.id}/work" for agent in agents]
    with httpx.Client(timeout=60) as client:
        for name in names:
            answers = volley.fire(paths)
            assert {status for status, _ in answers} <= {200, 204}, answers
            won = [(place, told) for place, (_, told) in enumerate(answers) if told]
            assert len(won) == 1, f"{name} was handed out {len(won)} times"
            place, told = won[0]
            [piece] = told["work"]
            assert piece["job"]["code"] == name
            said = {
                "type": "completed",
                "job_id": piece["job"]["id"],
                "token": piece["lease"]["token"],
            }
            url = f"{webs[place % len(webs)]}/api/executions/{made.id}/events"
            answer = client.post(url, json=said, headers=agents[place].headers)
            assert answer.status_code == 201, answer.text
    volley.close()
    check(database)
    assert fetch(database, "SELECT count(*) AS n FROM leases")["n"] == jobs


def test_fifty_pollers_and_one_job_make_one_lease(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    crowd_around(database, people, member, webs, 60)


@pytest.mark.slow
def test_fifty_pollers_and_one_job_make_one_lease_ten_thousand_times(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    crowd_around(database, people, member, webs, 10_000)


def test_one_of_two_different_completions_counts(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    for _ in AGAIN:
        made = make_run(database, member.id, {"a": []})
        agent = people.agent()
        doors = [Door(url, agent) for url in webs[:2]]
        [piece] = claim(doors[0])
        answers = together(
            partial(doors[0].report, piece, "completed", output="one"),
            partial(doors[1].report, piece, "completed", output="two"),
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        won = ("one", "two")[answers[1].status_code == 201]
        job = fetch(database, "SELECT * FROM jobs WHERE id = %(id)s", id=made.jobs["a"])
        assert (job["status"], job["result"]) == ("completed", won)
    check(database)


def test_the_same_completion_twice_at_once_has_one_effect_and_one_answer(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    for _ in AGAIN:
        make_run(database, member.id, {"a": [], "b": [], "c": []})
        agent = people.agent(max_concurrent=3)
        doors = [Door(url, agent) for url in webs]
        [piece] = claim(doors[0])
        calls = [partial(door.report, piece, "completed", "?next=1", output=1) for door in doors]
        answers = [answer.json() for answer in together(*calls)]
        assert sorted(bool(told.get("repeated")) for told in answers) == [False, True, True]
        assert len({told["number"] for told in answers}) == 1
        assert len({tuple(one["lease"]["id"] for one in told["work"]) for told in answers}) == 1
    check(database)


def test_the_same_poll_many_times_at_once_gets_the_same_lease(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    for place in AGAIN:
        make_run(database, member.id, {"a": [], "b": [], "c": []})
        agent = people.agent(max_concurrent=9)
        volley = Volley(webs, [agent] * 9)
        answers = volley.fire([f"/api/agents/{agent.id}/work?claim=c{place}"] * 9)
        given = {
            one["lease"]["id"] for _, told in answers for one in (told or {"work": []})["work"]
        }
        assert len(given) == 1, answers
        volley.close()
    check(database)


@pytest.mark.parametrize("action", ["cancel", "pause"])
def test_a_completion_meets_a_cancel_or_a_pause(
    database: Database, people: People, member: Key, webs: list[str], action: str
) -> None:
    for _ in AGAIN:
        made = make_run(database, member.id, {"a": [], "b": ["a"]})
        agent = people.agent()
        worker, person = Door(webs[0], agent), Door(webs[1], member)
        [piece] = claim(worker)
        done, steered = together(
            partial(worker.report, piece, "completed", "?next=1"),
            partial(person.call, "PATCH", f"/api/executions/{made.id}", {"action": action}),
        )
        assert steered.status_code == 200, steered.text
        job = fetch(database, "SELECT * FROM jobs WHERE id = %(id)s", id=made.jobs["a"])
        if action == "pause":
            assert done.status_code == 201, done.text
        else:
            assert done.status_code in (201, 409), done.text
            # Final: whatever the completion brought is cancelled too.
            assert worker.report(piece, "heartbeat").status_code == 409
        assert job["status"] == ("completed" if done.status_code == 201 else "cancelled")
        held = fetch(
            database,
            "SELECT count(*) AS n FROM leases WHERE execution_id = %(id)s AND ended_at IS NULL",
            id=made.id,
        )
        assert action == "pause" or held["n"] == 0
        check(database)


@pytest.mark.parametrize("kind", ["completed", "heartbeat", "failed"])
def test_a_report_meets_the_sweep_of_its_lease(
    database: Database, people: People, member: Key, webs: list[str], kind: str
) -> None:
    more = {"error": {"class": "transient"}} if kind == "failed" else {}
    outcomes = set()
    for _ in AGAIN:
        made = make_run(database, member.id, {"a": [], "b": ["a"]})
        agent = people.agent()
        door = Door(webs[0], agent)
        [piece] = claim(door)
        assert door.report(piece, "started").status_code == 201
        lapse(database, made)
        said, swept = together(
            partial(door.report, piece, kind, **more), partial(sweep_leases, database)
        )
        job = fetch(database, "SELECT * FROM jobs WHERE id = %(id)s", id=made.jobs["a"])
        assert (said.status_code, swept) in ((201, 0), (409, 1)), said.text
        outcomes.add(swept)
        expected = {"completed": "completed", "heartbeat": "running", "failed": "ready"}
        assert job["status"] == ("ready" if swept else expected[kind])
        assert job["attempts_used"] == (1 if swept or kind == "failed" else 0)
        with database.transaction() as tx:
            tx.execute(
                "UPDATE leases SET expires_at = now() + interval '1 h' WHERE ended_at IS NULL"
            )
        check(database)


def test_one_of_two_decisions_counts(
    database: Database, people: People, member: Key, admin: Key, webs: list[str]
) -> None:
    for _ in AGAIN:
        made = make_run(database, member.id, {"a": []}, every={"approval": "before"})
        query = "SELECT id FROM checkpoints WHERE job_id = %(job)s"
        asked = fetch(database, query, job=made.jobs["a"])["id"]
        path = f"/api/checkpoints/{asked}"
        answers = together(
            partial(Door(webs[0], admin).call, "POST", path, {"decision": "approve"}),
            partial(
                Door(webs[1], admin).call, "POST", path, {"decision": "reject", "reason": "no"}
            ),
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        job = fetch(database, "SELECT status FROM jobs WHERE id = %(id)s", id=made.jobs["a"])
        assert job["status"] == ("ready" if answers[0].status_code == 200 else "failed")
    check(database)


def test_two_clocks_end_each_lease_once(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    runs = [make_run(database, member.id, {"a": [], "b": [], "c": []}) for _ in range(6)]
    agent = people.agent(max_concurrent=18)
    door = Door(webs[0], agent)
    pieces = claim(door, "?max=18")
    assert len(pieces) == 18
    for piece in pieces:
        assert door.report(piece, "started").status_code == 201
    for made in runs:
        lapse(database, made)
    ended = together(*[partial(sweep_leases, database)] * 3)
    assert sum(ended) == 18
    used = fetch(database, "SELECT min(attempts_used) AS a, max(attempts_used) AS z FROM jobs")
    assert (used["a"], used["z"]) == (1, 1)
    check(database)


def test_an_agent_that_asks_in_parallel_stays_at_its_limit(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    for _ in AGAIN:
        make_run(database, member.id, {f"j{place}": [] for place in range(30)})
        agent = people.agent(max_concurrent=4)
        volley = Volley(webs, [agent] * 12)
        answers = volley.fire([f"/api/agents/{agent.id}/work?max=3"] * 12)
        given = [one["lease"]["id"] for _, told in answers if told for one in told["work"]]
        assert len(given) == len(set(given)) == 4
        volley.close()
    check(database)


def test_a_poll_meets_the_retirement_of_its_agent(
    database: Database, people: People, member: Key, operator: Key, webs: list[str]
) -> None:
    make_run(database, member.id, {f"j{place}": [] for place in range(30)})
    for _ in AGAIN:
        agent = people.agent(max_concurrent=9)
        polls = [partial(Door(url, agent).work, "?max=3") for url in webs]
        retire = Door(webs[1], operator)
        *_, retired = together(*polls, partial(retire.call, "DELETE", f"/api/agents/{agent.id}"))
        assert retired.status_code == 200, retired.text
        query = "SELECT count(*) AS n FROM leases WHERE agent_id = %(id)s AND ended_at IS NULL"
        assert fetch(database, query, id=agent.id)["n"] == 0
    check(database)


def test_an_assignment_meets_the_retirement_of_its_agent(
    database: Database, people: People, member: Key, operator: Key, webs: list[str]
) -> None:
    for _ in AGAIN:
        made = make_run(database, member.id, {"a": []})
        agent = people.agent()
        path = f"/api/executions/{made.id}/jobs/{made.jobs['a']}/assign"
        owner, retire = Door(webs[0], member), Door(webs[1], operator)
        assigned, retired = together(
            partial(owner.call, "POST", path, {"agent_id": str(agent.id)}),
            partial(retire.call, "DELETE", f"/api/agents/{agent.id}"),
        )
        assert assigned.status_code in (200, 404), assigned.text
        assert retired.status_code == 200, retired.text
        query = "SELECT lane FROM jobs WHERE id = %(id)s"
        assert fetch(database, query, id=made.jobs["a"])["lane"] == "write"
    check(database)


class Turmoil:
    """Agents, people and clocks who do anything at any time, for some seconds."""

    def __init__(self, database: Database, people: People, owner: Key, webs: list[str]) -> None:
        self.database, self.webs, self.owner = database, webs, owner
        self.agents = [people.agent(max_concurrent=3) for _ in range(6)]
        every = {"max_attempts": 2, "retry_policy": {"base_seconds": 0.1}}
        self.runs = [
            make_run(
                database,
                owner.id,
                {f"j{n}": [f"j{n - 1}"] if n % 5 else [] for n in range(40)},
                every=every,
            )
            for _ in range(4)
        ]
        self.pieces: list[tuple[Key, dict[str, Any]]] = []
        self.answered: list[httpx.Response] = []
        self.over = threading.Event()

    def act(self, dice: random.Random, client: httpx.Client) -> None:
        url, made = dice.choice(self.webs), dice.choice(self.runs)
        chance = dice.random()
        if chance < 0.35 or not self.pieces:
            agent = dice.choice(self.agents)
            answer = client.get(
                f"{url}/api/agents/{agent.id}/work?max={dice.randint(1, 3)}", headers=agent.headers
            )
            if answer.status_code == 200:
                self.pieces += [(agent, piece) for piece in answer.json()["work"]]
        elif chance < 0.8:
            agent, piece = dice.choice(self.pieces)
            kind = dice.choice(
                ("started", "heartbeat", "completed", "completed", "failed", "released")
            )
            said: dict[str, Any] = {
                "type": kind,
                "job_id": piece["job"]["id"],
                "token": piece["lease"]["token"],
            }
            if kind == "failed":
                said["error"] = {"class": dice.choice(("transient", "fatal"))}
            answer = client.post(
                f"{url}/api/executions/{piece['execution_id']}/events?next={dice.randint(0, 1)}",
                json=said,
                headers=agent.headers,
            )
            if answer.status_code == 201:
                self.pieces += [(agent, one) for one in answer.json().get("work", ())]
        elif chance < 0.9:
            act = dice.choice(("retry", "skip", "complete", "cancel"))
            job = dice.choice(list(made.jobs.values()))
            body: dict[str, Any] = {"reason": "because"}
            path = f"{url}/api/executions/{made.id}/jobs/{job}/{act}"
            answer = client.post(path, json=body, headers=self.owner.headers)
        elif chance < 0.97:
            action = dice.choice(("pause", "resume", "resume", "retry"))
            answer = client.patch(
                f"{url}/api/executions/{made.id}",
                json={"action": action},
                headers=self.owner.headers,
            )
        else:
            lapse(self.database, made)
            sweep_leases(self.database)
            sweep_bell(self.database)
            return
        self.answered.append(answer)

    def run(self, seed: int) -> None:
        dice = random.Random(seed)
        with httpx.Client(timeout=60) as client:
            while not self.over.is_set():
                self.act(dice, client)


def rage(
    database: Database, people: People, member: Key, webs: list[str], seconds: float
) -> Turmoil:
    turmoil = Turmoil(database, people, member, webs)
    timer = threading.Timer(seconds, turmoil.over.set)
    timer.start()
    together(*(partial(turmoil.run, seed) for seed in range(16)))
    bad = [answer.text for answer in turmoil.answered if answer.status_code >= 500]
    assert not bad, f"{len(bad)} of {len(turmoil.answered)}: {bad[:3]}"
    assert any(answer.status_code == 201 for answer in turmoil.answered)
    check(database)
    return turmoil


def test_nobody_waits_for_each_other_in_a_circle(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    rage(database, people, member, webs, 5)


@pytest.mark.slow
def test_nobody_waits_for_each_other_in_a_circle_for_a_minute(
    database: Database, people: People, member: Key, webs: list[str]
) -> None:
    rage(database, people, member, webs, 60)
