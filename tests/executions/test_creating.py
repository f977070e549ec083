"""Executions of plans, made over HTTP."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from app.db import Database
from tests.executions.stages import claim
from tests.fresh import Key, People
from tests.plans.making import grid, phase, plan, subtask, task


@pytest.fixture
def plan_id(member: Key) -> str:
    answer = member.post("/api/plans", grid(2, 1, 2))
    assert answer.status_code == 202, answer.text
    made: str = answer.json["id"]
    return made


def test_an_execution_is_made_and_waits_for_its_start(member: Key, plan_id: str) -> None:
    answer = member.post("/api/executions", {"plan_id": plan_id})
    assert answer.status_code == 201, answer.text
    shown = answer.json
    assert (shown["status"], shown["name"], shown["plan_id"]) == ("created", "A plan", plan_id)
    assert shown["counts"] == {"pending": 4}
    assert (shown["threshold"], shown["ordering"], shown["priority"]) == (0.7, "phased", 5)
    assert shown["deadline_at"] is None
    started = member.patch(f"/api/executions/{shown['id']}", {"action": "start"}).json
    assert started["status"] == "queued"
    assert started["deadline_at"] is not None
    assert started["counts"] == {"pending": 3, "ready": 1}


def test_everything_that_can_be_chosen_is_chosen(people: People, member: Key, plan_id: str) -> None:
    agent, other = people.agent(), people.agent()
    deadline = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=3)
    answer = member.post(
        "/api/executions",
        {
            "plan_id": plan_id,
            "start": True,
            "name": "The first try",
            "threshold": 0.5,
            "ordering": "free",
            "priority": "high",
            "deadline": deadline.isoformat(),
            "budget": {"tokens": 10_000, "usd": 1.5},
            "agents": [str(agent.id)],
            "callback": "https://example.org/hook",
        },
    )
    assert answer.status_code == 201, answer.text
    shown = answer.json
    assert shown["status"] == "queued"
    assert shown["counts"] == {"ready": 4}
    assert (shown["name"], shown["threshold"], shown["ordering"]) == ("The first try", 0.5, "free")
    assert shown["priority"] == 7
    assert dt.datetime.fromisoformat(shown["deadline_at"]) == deadline
    assert shown["budget"] == {"tokens": 10_000, "usd": 1.5}
    assert shown["agents"] == [str(agent.id)]
    assert shown["callback"] == "https://example.org/hook"
    assert other.get(f"/api/agents/{other.id}/work").status_code == 204
    assert claim(agent)["execution_id"] == shown["id"]
    assert agent.get(f"/api/executions/{shown['id']}").json["callback"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/plan_id"),
        ({"plan_id": "1"}, "/plan_id"),
        ({"threshold": 1.5}, "/threshold"),
        ({"ordering": "random"}, "/ordering"),
        ({"priority": "whenever"}, "/priority"),
        ({"priority": -1}, "/priority"),
        ({"deadline": "2020-01-01T00:00:00Z"}, "/deadline"),
        ({"deadline": "2030-01-01T00:00:00"}, "/deadline"),
        ({"budget": {"usd": -1}}, "/budget/usd"),
        ({"agents": [str(uuid.uuid4())]}, "/agents/0"),
        ({"callback": "ftp://example.org"}, "/callback"),
        ({"owner_id": str(uuid.uuid4())}, "/owner_id"),
        ({"status": "completed"}, "/status"),
        ({"name": ""}, "/name"),
        ({"start": "yes"}, "/start"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(
    member: Key, plan_id: str, body: dict[str, Any], pointer: str
) -> None:
    told = body if pointer == "/plan_id" else {"plan_id": plan_id, **body}
    answer = member.post("/api/executions", told)
    assert answer.status_code == 422, answer.text
    assert pointer in [fault["pointer"] for fault in answer.json["errors"]]
    assert member.get("/api/executions").json["items"] == []


def test_a_plan_that_is_not_the_callers_is_not_there(
    people: People, operator: Key, plan_id: str
) -> None:
    assert people.user("member").post("/api/executions", {"plan_id": plan_id}).status_code == 404
    assert operator.post("/api/executions", {"plan_id": plan_id}).status_code == 201


def test_a_member_starts_no_commands(member: Key, operator: Key) -> None:
    form = plan(phase(task(subtask(action="run_command", params={"command": "ls"}))))
    made = member.post("/api/plans", form).json["id"]
    refused = member.post("/api/executions", {"plan_id": made})
    assert refused.status_code == 403
    assert operator.post("/api/executions", {"plan_id": made}).status_code == 201


def test_an_agents_key_makes_nothing(people: People, plan_id: str) -> None:
    assert people.agent().post("/api/executions", {"plan_id": plan_id}).status_code == 403


def test_making_one_is_in_the_audit_log(database: Database, member: Key, plan_id: str) -> None:
    made = member.post("/api/executions", {"plan_id": plan_id}).json["id"]
    with database.transaction() as tx:
        row = tx.fetch("SELECT * FROM audit_entries WHERE object_id = %s", [made])
    assert (row["actor"], row["action"]) == (f"user:{member.id}", "execution_created")
