"""Each protection of the hand-off has its test: `make mutants` takes them out by turns."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from typing import Any

import pytest

from app.control import steering
from app.control.sweeps import sweep_leases
from app.db import Database
from app.errors import Refused
from app.executions.loading import load_job
from app.executions.run import hold
from app.handoff.leases import live_lease
from tests.fresh import Key, People
from tests.handoff.runs import make_run


def claim(agent: Key) -> dict[str, Any]:
    answer = agent.get(f"/api/agents/{agent.id}/work")
    assert answer.status_code == 200, answer.text
    [piece] = answer.json["work"]
    found: dict[str, Any] = piece
    return found


def complete(agent: Key, piece: dict[str, Any], **more: Any) -> int:
    said = {
        "type": "completed",
        "job_id": piece["job"]["id"],
        "token": piece["lease"]["token"],
        **more,
    }
    return agent.post(f"/api/executions/{piece['execution_id']}/events", said).status_code


def status_of(database: Database, job: uuid.UUID) -> str:
    with database.transaction() as tx:
        return str(tx.fetch("SELECT status FROM jobs WHERE id = %s", [job])["status"])


def test_a_change_of_what_has_changed_since_is_refused(database: Database, member: Key) -> None:
    made = make_run(database, member.id, {"a": []})
    with pytest.raises(Refused), database.transaction() as tx:
        run = hold(tx, made.id)
        run.log("noted", actor="test")
        tx.execute("UPDATE executions SET last_event = last_event + 7 WHERE id = %s", [made.id])
        run.write(tx)
    with database.transaction() as tx:
        row = tx.fetch("SELECT last_event FROM executions WHERE id = %s", [made.id])
        found = tx.fetch(
            "SELECT count(*) AS n FROM execution_events WHERE execution_id = %s", [made.id]
        )
    assert row["last_event"] == found["n"]


def test_a_move_from_another_state_is_refused(database: Database, member: Key) -> None:
    made = make_run(database, member.id, {"a": []})
    with pytest.raises(Refused), database.transaction() as tx:
        run = hold(tx, made.id)
        job = load_job(tx, run, made.jobs["a"])
        run.move(job, "job_skipped", "skipped", actor="test")
        tx.execute("UPDATE jobs SET status = 'blocked', offered = false WHERE id = %s", [job.id])
        run.settle()
        run.write(tx)
    assert status_of(database, made.jobs["a"]) == "ready"


def test_an_ended_lease_is_never_written_again(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    claim(people.agent())
    with pytest.raises(Refused), database.transaction() as tx:
        run = hold(tx, made.id)
        lease = live_lease(tx, run, load_job(tx, run, made.jobs["a"]))
        assert lease is not None
        tx.execute(
            "UPDATE leases SET ended_at = now(), outcome = 'expired' WHERE id = %s", [lease.id]
        )
        lease.keep(run.now)
        run.change_lease(lease)
        run.touch()
        run.write(tx)
    with database.transaction() as tx:
        row = tx.fetch("SELECT outcome FROM leases WHERE execution_id = %s", [made.id])
    assert row["outcome"] is None


def test_a_move_that_is_not_in_the_table_is_refused(database: Database, member: Key) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"]})
    with pytest.raises(Refused), database.transaction() as tx:
        run = hold(tx, made.id)
        run.move(load_job(tx, run, made.jobs["b"]), "job_completed", "completed", actor="test")


def test_a_report_after_the_lease_has_ended_changes_nothing(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    piece = claim(agent)
    with database.transaction() as tx:
        tx.execute("UPDATE leases SET expires_at = now() - interval '1 s'")
    assert sweep_leases(database) == 1
    again = claim(people.agent())
    said = {"type": "completed", "job_id": piece["job"]["id"], "token": piece["lease"]["token"]}
    late = agent.post(f"/api/executions/{made.id}/events", said)
    # Told as what it is, not caught by the guards of the write as a clash of two hands.
    assert (late.status_code, late.json["control"]) == (409, "cancel")
    assert status_of(database, made.jobs["a"]) == "leased"
    assert again["lease"]["attempt"] == 2


def test_a_forged_token_opens_nothing(database: Database, people: People, member: Key) -> None:
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    piece = claim(agent)
    lease, _, _ = piece["lease"]["token"].partition(".")
    piece["lease"]["token"] = f"{lease}.{'A' * 24}"
    assert complete(agent, piece) == 409
    assert status_of(database, made.jobs["a"]) == "leased"


def test_another_agents_token_opens_nothing(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": [], "b": []})
    one, other = people.agent(), people.agent()
    piece = claim(one)
    claim(other)
    assert complete(other, piece) == 409
    assert status_of(database, uuid.UUID(piece["job"]["id"])) == "leased"
    assert made.id == uuid.UUID(piece["execution_id"])


def test_a_key_opens_no_other_agents_work(database: Database, people: People, member: Key) -> None:
    make_run(database, member.id, {"a": []})
    one, other = people.agent(), people.agent()
    assert one.get(f"/api/agents/{other.id}/work").status_code == 403
    assert one.get(f"/api/agents/{other.id}/leases").status_code == 403


def test_a_revoked_key_is_refused_at_the_next_call(
    database: Database, people: People, member: Key
) -> None:
    make_run(database, member.id, {"a": []})
    agent = people.agent()
    piece = claim(agent)
    with database.transaction() as tx:
        tx.execute("UPDATE api_tokens SET revoked_at = now() WHERE id = %s", [agent.token_id])
    assert agent.get(f"/api/agents/{agent.id}/work").status_code == 401
    assert complete(agent, piece) == 401


def test_an_agent_at_its_limit_gets_no_more(
    database: Database, people: People, member: Key
) -> None:
    make_run(database, member.id, {"a": [], "b": []})
    agent = people.agent(max_concurrent=1)
    claim(agent)
    answer = agent.get(f"/api/agents/{agent.id}/work")
    assert answer.json["work"] == []
    assert "limit" in answer.json["control"][0]["reason"]


def test_changes_of_one_execution_wait_for_each_other(database: Database, member: Key) -> None:
    made = make_run(database, member.id, {"a": []})
    held, done = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with database.transaction() as tx:
            run = hold(tx, made.id)
            held.set()
            done.wait(0.5)  # as long as the other one needs, were it not to wait
            run.log("noted", actor="first")
            run.write(tx)
            order.append("first")

    def second() -> None:
        held.wait()
        with database.transaction() as tx:
            run = hold(tx, made.id)
            run.log("noted", actor="second")
            run.write(tx)
            order.append("second")
        done.set()

    threads = [threading.Thread(target=act) for act in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]


def test_nothing_is_handed_out_in_a_pause(database: Database, people: People, member: Key) -> None:
    made = make_run(database, member.id, {"a": [], "b": []})
    agent = people.agent()
    piece = claim(agent)
    with database.transaction() as tx:
        steering.pause(tx, hold(tx, made.id), actor="test")
    with database.transaction() as tx:
        offered = tx.fetch("SELECT count(*) AS n FROM jobs WHERE offered")["n"]
    assert offered == 0
    assert people.agent().get(f"/api/agents/{agent.id}/work").status_code == 403
    other = people.agent()
    assert other.get(f"/api/agents/{other.id}/work").status_code == 204
    # A completion under a lease granted before is taken all the same.
    assert complete(agent, piece) == 201


def test_no_lease_runs_out_in_a_pause(database: Database, people: People, member: Key) -> None:
    made = make_run(database, member.id, {"a": []})
    claim(people.agent())
    with database.transaction() as tx:
        steering.pause(tx, hold(tx, made.id), actor="test")
    database.shift += dt.timedelta(hours=5)
    try:
        assert sweep_leases(database) == 0
        with database.transaction() as tx:
            steering.resume(tx, hold(tx, made.id), actor="test")
        assert sweep_leases(database) == 0
    finally:
        database.shift -= dt.timedelta(hours=5)
    assert status_of(database, made.jobs["a"]) == "leased"


def test_a_sweep_looks_again_before_it_ends_a_lease(
    database: Database, people: People, member: Key
) -> None:
    """The heartbeat comes between the sweep's look and its hold: here, while the sweep waits."""
    made = make_run(database, member.id, {"a": []})
    claim(people.agent())
    with database.transaction() as tx:
        tx.execute("UPDATE leases SET expires_at = now() - interval '1 s'")
    swept: list[int] = []
    sweeping = threading.Thread(target=lambda: swept.append(sweep_leases(database)))
    with database.transaction() as tx:
        hold(tx, made.id)
        sweeping.start()
        waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while tx.fetch(waiting)["n"] == 0:
            pass
        tx.execute("UPDATE leases SET expires_at = now() + interval '1 hour'")
    sweeping.join(10)
    assert swept == [0]
    assert status_of(database, made.jobs["a"]) == "leased"
