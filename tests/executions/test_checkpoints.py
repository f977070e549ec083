"""The inbox: who finds what in it, who decides, and that it is decided once."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, Final

import pytest
from flask import Flask

from app.db import Database
from tests.executions.stages import claim, report
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run

MAY_APPROVE: Final = {
    "admin": {"admin"},
    "operator": {"admin", "operator"},
    "owner": {"admin", "owner"},
}
ASKING: Final = {
    "approval": {"kind": "approval", "title": "May I?"},
    "question": {"kind": "question", "title": "Which?", "options": [{"id": "a"}, {"id": "b"}]},
}


@pytest.fixture
def keys(people: People) -> dict[str, Key]:
    return {
        "owner": people.user("member"),
        "steerer": people.user("member"),
        "viewer": people.user("member"),
        "stranger": people.user("member"),
        "operator": people.user("operator"),
        "admin": people.user("admin"),
    }


def ask(
    database: Database, people: People, keys: dict[str, Key], kind: str
) -> tuple[MadeRun, str, Key]:
    made = make_run(database, keys["owner"].id, {"a": []})
    for name, rights in (("steerer", "steer"), ("viewer", "view")):
        told = {"user_id": str(keys[name].id), "rights": rights}
        keys["owner"].post(f"/api/executions/{made.id}/shares", told)
    agent = people.agent()
    piece = claim(agent)
    if kind == "blocker":
        report(agent, made, piece, "blocked", on="the weather")
    elif kind == "escalation":
        report(agent, made, piece, "failed", error={"class": "fatal", "message": "no"})
    else:
        report(agent, made, piece, "checkpoint", **ASKING[kind])
    with database.transaction() as tx:
        row = tx.fetch("SELECT id FROM checkpoints WHERE execution_id = %s", [made.id])
    return made, str(row["id"]), agent


@pytest.mark.parametrize("approvers", MAY_APPROVE)
def test_approvals_are_for_those_whom_the_setting_names(
    app: Flask, database: Database, people: People, keys: dict[str, Key], approvers: str
) -> None:
    before = app.extensions["taskyard"]
    app.extensions["taskyard"] = replace(before, approvers=approvers)
    try:
        for who, key in keys.items():
            _, checkpoint, _ = ask(database, people, keys, "approval")
            may = who in MAY_APPROVE[approvers]
            listed = [one["id"] for one in key.get("/api/checkpoints?status=pending").json["items"]]
            assert (checkpoint in listed) == may, who
            shown = key.get(f"/api/checkpoints/{checkpoint}")
            answer = key.post(f"/api/checkpoints/{checkpoint}", {"decision": "approve"})
            if who == "stranger":
                assert shown.status_code == answer.status_code == 404
                continue
            assert shown.json["may_decide"] == may
            assert answer.status_code == (200 if may else 403), (who, answer.text)
    finally:
        app.extensions["taskyard"] = before


@pytest.mark.parametrize("kind", ["question", "blocker", "escalation"])
def test_everything_else_is_for_who_may_steer(
    database: Database, people: People, keys: dict[str, Key], kind: str
) -> None:
    for who, key in keys.items():
        _, checkpoint, _ = ask(database, people, keys, kind)
        may = who in ("owner", "steerer", "operator", "admin")
        listed = [one["id"] for one in key.get("/api/checkpoints?status=pending").json["items"]]
        assert (checkpoint in listed) == may, who
        said = {"decision": "choose", "option": "a" if kind == "question" else "skip"}
        answer = key.post(f"/api/checkpoints/{checkpoint}", said)
        due = 200 if may else 404 if who == "stranger" else 403
        assert answer.status_code == due, (who, answer.text)


def test_agents_never_decide_nor_look(
    database: Database, people: People, keys: dict[str, Key]
) -> None:
    _, checkpoint, agent = ask(database, people, keys, "question")
    for answer in (
        agent.get("/api/checkpoints"),
        agent.get(f"/api/checkpoints/{checkpoint}"),
        agent.post(f"/api/checkpoints/{checkpoint}", {"decision": "approve"}),
        agent.post(f"/api/checkpoints/{uuid.uuid4()}", {"decision": "approve"}),
    ):
        assert answer.status_code == 403
        assert answer.json["detail"] == "Agents never decide."


def test_a_checkpoint_is_decided_once(
    database: Database, people: People, keys: dict[str, Key]
) -> None:
    _, checkpoint, _ = ask(database, people, keys, "question")
    path = f"/api/checkpoints/{checkpoint}"
    shown = keys["owner"].post(path, {"decision": "choose", "option": "b", "reason": "cheaper"})
    assert shown.status_code == 200, shown.text
    assert shown.json["status"] == "answered"
    assert shown.json["decision"]["option"] == "b"
    assert shown.json["decided_by_id"] == str(keys["owner"].id)
    assert shown.json["may_decide"] is False
    again = keys["admin"].post(path, {"decision": "choose", "option": "a"})
    assert again.status_code == 409
    assert again.json["checkpoint_status"] == "answered"


@pytest.mark.parametrize(
    ("said", "status", "pointer"),
    [
        ({"decision": "reject"}, 422, "/reason"),
        ({"decision": "send_back"}, 422, "/reason"),
        ({"decision": "choose"}, 422, "/option"),
        ({"decision": "answer"}, 422, "/answer"),
        ({"decision": "maybe"}, 422, "/decision"),
        ({"decision": "approve", "status": "approved"}, 422, "/status"),
        ({}, 422, "/decision"),
        ({"decision": "choose", "option": "c"}, 409, None),
    ],
)
def test_a_decision_that_says_too_little_is_refused(
    database: Database,
    people: People,
    keys: dict[str, Key],
    said: dict[str, Any],
    status: int,
    pointer: str | None,
) -> None:
    _, checkpoint, _ = ask(database, people, keys, "question")
    answer = keys["admin"].post(f"/api/checkpoints/{checkpoint}", said)
    assert answer.status_code == status, answer.text
    if pointer:
        assert answer.json["errors"][0]["pointer"] == pointer
    assert answer.json["hint"]


def test_the_inbox_brings_pending_ones_first_a_page_at_a_time(
    database: Database, people: People, keys: dict[str, Key]
) -> None:
    made = [ask(database, people, keys, "question")[1] for _ in range(5)]
    for one in made[2:4]:
        said = {"decision": "answer", "answer": 1}
        assert keys["owner"].post(f"/api/checkpoints/{one}", said).status_code == 200
    found: list[str] = []
    path, cursor = "/api/checkpoints?limit=2", ""
    while cursor is not None:
        page = keys["owner"].get(path + cursor).json
        found += [one["id"] for one in page["items"]]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert found == [made[4], made[1], made[0], made[3], made[2]]


def test_the_inbox_of_one_execution(
    database: Database, people: People, keys: dict[str, Key]
) -> None:
    made, checkpoint, _ = ask(database, people, keys, "question")
    ask(database, people, keys, "question")
    page = keys["owner"].get(f"/api/checkpoints?execution={made.id}").json
    assert [one["id"] for one in page["items"]] == [checkpoint]
    assert page["items"][0]["job_code"] == "a"
    assert page["items"][0]["execution_name"] == "a run"


def test_a_demotion_works_at_once(
    database: Database, people: People, keys: dict[str, Key], admin: Key
) -> None:
    _, checkpoint, _ = ask(database, people, keys, "approval")
    demoted = keys["admin"]
    told = {"role": "member"}
    assert admin.patch(f"/api/admin/users/{demoted.id}", told).status_code == 200
    answer = demoted.post(f"/api/checkpoints/{checkpoint}", {"decision": "approve"})
    assert answer.status_code == 404
