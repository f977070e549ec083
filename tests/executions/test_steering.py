"""Start, pause, resume, cancel, retry: every action from every state, and what changes with it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Final

import pytest

from app.control.sweeps import sweep_executions
from app.db import Database
from tests.executions.stages import STATES, claim, report, run_in
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run

LEADS_TO: Final[dict[str, dict[str, str]]] = {
    "start": {"created": "queued"},
    "pause": {"queued": "paused", "running": "paused", "blocked": "paused"},
    "resume": {"paused": "queued"},
    "cancel": dict.fromkeys(
        ("created", "queued", "running", "blocked", "paused", "failed"), "cancelled"
    ),
    "retry": {"failed": "queued"},
}


def state(key: Key, execution: uuid.UUID) -> dict[str, Any]:
    answer = key.get(f"/api/executions/{execution}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def events(database: Database, execution: uuid.UUID) -> list[str]:
    with database.transaction() as tx:
        rows = tx.execute(
            "SELECT type FROM execution_events WHERE execution_id = %s ORDER BY number",
            [execution],
        ).fetchall()
    return [row["type"] for row in rows]


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("action", LEADS_TO)
def test_an_action_leads_where_it_may_and_is_refused_elsewhere(
    database: Database, people: People, member: Key, status: str, action: str
) -> None:
    made = run_in(database, people, member.id, status)
    before = events(database, made.id)
    assert state(member, made.id)["status"] == status
    answer = member.patch(f"/api/executions/{made.id}", {"action": action, "reason": "because"})
    to = LEADS_TO[action].get(status)
    if to is None:
        assert answer.status_code == 409, answer.text
        assert answer.json["hint"]
        assert state(member, made.id)["status"] == status
        assert events(database, made.id) == before
    else:
        assert answer.status_code == 200, answer.text
        assert answer.json["status"] == to
        assert answer.json["status_reason"]
        assert len(events(database, made.id)) > len(before)


def test_a_pause_stops_handing_out_and_a_resume_goes_on(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": [], "b": []})
    agent = people.agent(max_concurrent=5)
    piece = claim(agent)
    member.patch(f"/api/executions/{made.id}", {"action": "pause"})
    told = agent.get(f"/api/agents/{agent.id}/work").json
    assert told["work"] == []
    assert told["control"][0]["control"] == "pause"
    # What was granted before is accepted.
    assert report(agent, made, piece, "completed")["status"] == "completed"
    shown = member.patch(f"/api/executions/{made.id}", {"action": "resume"}).json
    assert shown["status"] == "running"
    assert claim(agent)["job"]["code"] == "b"


def test_cancelling_ends_the_leases_and_takes_no_completion(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    piece = claim(agent)
    shown = member.patch(f"/api/executions/{made.id}", {"action": "cancel", "reason": "Enough."})
    assert shown.json["status_reason"] == "Enough."
    assert shown.json["counts"] == {"cancelled": 1}
    late = {"type": "completed", "job_id": piece["job"]["id"], "token": piece["lease"]["token"]}
    answer = agent.post(f"/api/executions/{made.id}/events", late)
    assert answer.status_code == 409
    assert answer.json["control"] == "cancel"


def test_a_retry_gives_failed_jobs_new_attempts(
    database: Database, people: People, member: Key
) -> None:
    made = run_in(database, people, member.id, "failed")
    shown = member.patch(f"/api/executions/{made.id}", {"action": "retry"}).json
    assert shown["status"] == "queued"
    assert shown["summary"] is None
    assert claim(people.agent())["lease"]["attempt"] == 2


def test_after_a_time_out_a_retry_begins_the_deadline_anew(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []}, execution={"timeout_seconds": 3600})
    past = {"deadline_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}
    for retrying in ({"whole": True}, {"whole": False}):
        set_columns(database, made, **past)
        assert sweep_executions(database) == 1
        shown = state(member, made.id)
        assert (shown["status"], shown["timed_out"]) == ("failed", True)
        if retrying["whole"]:
            answer = member.patch(f"/api/executions/{made.id}", {"action": "retry"})
        else:
            member.post(f"/api/executions/{made.id}/jobs/{made.jobs['a']}/cancel")
            answer = member.post(f"/api/executions/{made.id}/jobs/{made.jobs['a']}/retry")
        assert answer.status_code == 200, answer.text
        assert sweep_executions(database) == 0
        shown = state(member, made.id)
        assert (shown["status"], shown["timed_out"]) == ("queued", False)
        left = dt.datetime.fromisoformat(shown["deadline_at"]) - dt.datetime.now(dt.UTC)
        assert 3500 < left.total_seconds() <= 3600


def test_name_priority_deadline_and_budget_change(database: Database, member: Key) -> None:
    own = {"priority": 2}
    made = make_run(database, member.id, {"a": [], "b": []}, b=own)
    deadline = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).replace(microsecond=0)
    answer = member.patch(
        f"/api/executions/{made.id}",
        {
            "name": "Another name",
            "priority": "critical",
            "deadline": deadline.isoformat(),
            "budget": {"tokens": 1000, "usd": 2.5},
        },
    )
    assert answer.status_code == 200, answer.text
    shown = answer.json
    assert (shown["name"], shown["priority"]) == ("Another name", 9)
    assert dt.datetime.fromisoformat(shown["deadline_at"]) == deadline
    assert shown["budget"] == {"tokens": 1000, "usd": 2.5}
    jobs = member.get(f"/api/executions/{made.id}/jobs").json["items"]
    assert [job["priority"] for job in jobs] == [9, 2], "a job's own priority stays"
    changed = member.patch(
        f"/api/executions/{made.id}", {"deadline": None, "budget": {"usd": None}}
    )
    assert changed.json["deadline_at"] is None
    assert changed.json["budget"] == {"tokens": 1000, "usd": None}
    told = member.get(f"/api/executions/{made.id}/events?type=execution_changed").json["items"]
    assert [set(event["data"]["changed"]) for event in told] == [
        {"name", "priority", "deadline_at", "budget_tokens", "budget_usd"},
        {"deadline_at", "budget_usd"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": "only this"},
        {"action": "delete"},
        {"deadline": "2020-01-01T00:00:00Z"},
        {"deadline": "tomorrow"},
        {"priority": 10},
        {"priority": "urgent"},
        {"budget": {"tokens": 0}},
        {"budget": {"euros": 1}},
        {"name": "two\nlines"},
    ],
)
def test_what_is_no_change_is_refused(
    database: Database, member: Key, body: dict[str, Any]
) -> None:
    made = make_run(database, member.id, {"a": []})
    answer = member.patch(f"/api/executions/{made.id}", body)
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"]


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_of_what_is_final_only_the_name_changes(
    database: Database, people: People, member: Key, status: str
) -> None:
    made = run_in(database, people, member.id, status)
    assert member.patch(f"/api/executions/{made.id}", {"name": "Kept"}).json["name"] == "Kept"
    refused = member.patch(f"/api/executions/{made.id}", {"priority": 9})
    assert refused.status_code == 409
    assert refused.json["hint"]


def test_a_spent_budget_pauses_asks_and_goes_on_only_when_it_is_raised(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []}, execution={"budget_tokens": 100})
    agent = people.agent()
    report(agent, made, claim(agent), "usage", tokens=150)
    shown = state(member, made.id)
    assert (shown["status"], shown["spent"]["tokens"]) == ("paused", 150)
    assert [one["kind"] for one in shown["blockers"]] == ["question"]
    path = f"/api/executions/{made.id}"
    refused = member.patch(path, {"action": "resume"})
    assert refused.status_code == 409
    assert "budget" in refused.json["hint"]
    assert member.patch(path, {"action": "resume", "budget": {"tokens": 120}}).status_code == 409
    assert state(member, made.id)["budget"]["tokens"] == 100, "a refused action changes nothing"
    shown = member.patch(path, {"action": "resume", "budget": {"tokens": 500}}).json
    assert (shown["status"], shown["blockers"]) == ("running", [])


def test_lowering_the_budget_below_what_was_spent_pauses(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    report(agent, made, claim(agent), "usage", cost=1.5)
    shown = member.patch(f"/api/executions/{made.id}", {"budget": {"usd": 1}}).json
    assert shown["status"] == "paused"
    assert shown["status_reason"] == "The budget is spent."


def test_a_deadline_set_while_paused_counts_from_the_moment_it_was_set(
    database: Database, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    path = f"/api/executions/{made.id}"
    member.patch(path, {"action": "pause"})
    set_columns(database, made, paused_at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=5))
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    for body in ({"deadline": deadline.isoformat()}, {"action": "resume"}):
        shown = member.patch(path, body).json
        told = dt.datetime.fromisoformat(shown["deadline_at"])
        assert abs((told - deadline).total_seconds()) < 30


def set_columns(database: Database, made: MadeRun, **columns: Any) -> None:
    with database.transaction() as tx:
        for name, value in columns.items():
            tx.execute(f"UPDATE executions SET {name} = %s WHERE id = %s", [value, made.id])
