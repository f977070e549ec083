"""Every route of executions and checkpoints, for everybody; a forgotten one fails."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from flask import Flask

from app.db import Database
from tests.executions.stages import claim, report
from tests.fresh import Key, People
from tests.handoff.runs import make_run

EXECUTION: Final = "/api/executions/{execution}"
JOB: Final = f"{EXECUTION}/jobs/{{job}}"
SEES: Final = "see"
STEERS: Final = "steer"
SHARES: Final = "share"
DECIDES: Final = "decide"
LOOKS_UP: Final = "look up"  # people only, among what they may see
PEOPLE: Final = "people"
AGENTS: Final = "agents"

# What each route asks of who calls, and a body with which it does what it is for.
ROUTES: Final[dict[tuple[str, str], tuple[str, Any]]] = {
    ("GET", "/api/executions"): (PEOPLE, None),
    ("POST", "/api/executions"): (PEOPLE, {"plan_id": str(uuid.uuid4())}),
    ("GET", EXECUTION): (SEES, None),
    ("PATCH", EXECUTION): (STEERS, {"action": "pause"}),
    ("GET", f"{EXECUTION}/tree"): (SEES, None),
    ("GET", f"{EXECUTION}/events"): (SEES, None),
    ("POST", f"{EXECUTION}/events"): (AGENTS, None),
    ("GET", f"{EXECUTION}/events/stream"): (SEES, None),
    ("GET", f"{EXECUTION}/stream"): (SEES, None),
    ("GET", f"{EXECUTION}/export"): (SEES, None),
    ("GET", f"{EXECUTION}/shares"): (LOOKS_UP, None),
    ("POST", f"{EXECUTION}/shares"): (SHARES, {"email": "new@example.org"}),
    ("DELETE", f"{EXECUTION}/shares"): (SHARES, {"email": "new@example.org"}),
    ("GET", f"{EXECUTION}/jobs"): (SEES, None),
    ("GET", JOB): (SEES, None),
    ("POST", f"{JOB}/retry"): (STEERS, {}),
    ("POST", f"{JOB}/skip"): (STEERS, {"reason": "not needed"}),
    ("POST", f"{JOB}/complete"): (STEERS, {}),
    ("POST", f"{JOB}/cancel"): (STEERS, {}),
    ("POST", f"{JOB}/assign"): (STEERS, {"agent_id": None}),
    ("POST", f"{JOB}/decompose"): (STEERS, {"jobs": [{"code": "x", "title": "X"}]}),
    ("GET", "/api/checkpoints"): (PEOPLE, None),
    ("GET", "/api/checkpoints/{checkpoint}"): (LOOKS_UP, None),
    ("POST", "/api/checkpoints/{checkpoint}"): (DECIDES, {"decision": "approve"}),
    ("GET", "/api/events/stream"): ("anybody", None),
}
OVER_WEBSOCKET: Final = f"{EXECUTION}/stream"  # test_sockets.py asks with a real handshake

MAY: Final = {
    "owner": {SEES, STEERS, SHARES, DECIDES, LOOKS_UP, PEOPLE},
    "viewer": {SEES, LOOKS_UP, PEOPLE},
    "steerer": {SEES, STEERS, DECIDES, LOOKS_UP, PEOPLE},
    "stranger": {PEOPLE},
    "operator": {SEES, STEERS, DECIDES, LOOKS_UP, PEOPLE},
    "admin": {SEES, STEERS, SHARES, DECIDES, LOOKS_UP, PEOPLE},
    "its agent": {SEES, AGENTS},
    "another agent": {AGENTS},
}


@dataclass(frozen=True)
class Stage:
    """An execution with a job that failed, one that asks, and everybody who could come."""

    execution: uuid.UUID
    job: uuid.UUID
    checkpoint: str
    people: dict[str, Key]

    def address(self, rule: str) -> str:
        return rule.format(execution=self.execution, job=self.job, checkpoint=self.checkpoint)


@pytest.fixture
def stage(database: Database, people: People) -> Stage:
    keys = {
        "owner": people.user("member", "owner@example.org"),
        "viewer": people.user("member", "viewer@example.org"),
        "steerer": people.user("member", "steerer@example.org"),
        "stranger": people.user("member", "stranger@example.org"),
        "operator": people.user("operator"),
        "admin": people.user("admin"),
        "its agent": people.agent(),
        "another agent": people.agent(),
    }
    new = people.user("member", "new@example.org")
    owner, agent = keys["owner"], keys["its agent"]
    made = make_run(database, owner.id, {"a": [], "b": []}, b={"action": "draw", "lane": "draw"})
    for key, rights in ((keys["viewer"], "view"), (keys["steerer"], "steer"), (new, "view")):
        told = {"user_id": str(key.id), "rights": rights}
        assert owner.post(f"/api/executions/{made.id}/shares", told).status_code == 201
    asked = {"kind": "question", "title": "Which one?"}
    report(agent, made, claim(agent), "checkpoint", **asked)
    [checkpoint] = owner.get("/api/checkpoints").json["items"]
    return Stage(made.id, made.jobs["b"], checkpoint["id"], keys)


def routes_of(app: Flask) -> Iterator[tuple[str, str]]:
    names = {"execution_id": "execution", "job_id": "job", "checkpoint_id": "checkpoint"}
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for name, short in names.items():
            path = path.replace(f"<uuid:{name}>", f"{{{short}}}")
        if path.startswith(("/api/executions", "/api/checkpoints", "/api/events")):
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield method, path


def test_no_route_is_forgotten_here(app: Flask) -> None:
    assert set(routes_of(app)) == set(ROUTES)


def expected(who: str, needed: str) -> int | None:
    """The refusal that is due; None where the door opens."""
    if needed == "anybody" or needed in MAY[who]:
        return None
    if needed == AGENTS or (
        who.endswith("agent") and needed in (PEOPLE, LOOKS_UP, DECIDES, SHARES)
    ):
        return 403
    return 403 if SEES in MAY[who] else 404


@pytest.mark.parametrize("who", MAY)
def test_everybody_gets_what_they_may_and_no_more(stage: Stage, who: str) -> None:
    key = stage.people[who]
    for (method, rule), (needed, body) in ROUTES.items():
        if rule == OVER_WEBSOCKET:
            continue
        path = stage.address(rule)
        if method == "DELETE":
            path, body = f"{path}?email={body['email']}", None
        due = expected(who, needed)
        if due is None and method not in ("GET", "DELETE"):
            continue  # what may be done is tried by the test below, each on a stage of its own
        answer = key.call(method, path, body, buffered=False)
        seen = answer.status_code
        answer.close()
        if due is not None:
            assert seen == due, (who, method, rule, answer.text)
            assert answer.json["detail"]
        else:
            assert seen < 300, (who, method, rule, seen)


@pytest.mark.parametrize("who", ["owner", "steerer", "operator", "admin"])
@pytest.mark.parametrize(
    ("method", "rule"), [route for route, (need, _) in ROUTES.items() if need in (STEERS, DECIDES)]
)
def test_whoever_may_steer_can(
    stage: Stage, database: Database, who: str, method: str, rule: str
) -> None:
    _, body = ROUTES[method, rule]
    if rule.endswith("/retry"):
        stage.people["owner"].post(stage.address(f"{JOB}/cancel"))
    answer = stage.people[who].call(method, stage.address(rule), body)
    assert answer.status_code == 200, answer.text
    with database.transaction() as tx:
        rows = tx.execute("SELECT actor, address, action FROM audit_entries ORDER BY id").fetchall()
    assert rows[-1]["actor"] == f"user:{stage.people[who].id}", "a change without an audit entry"
    assert rows[-1]["address"]


@pytest.mark.parametrize(("method", "rule"), [route for route in ROUTES if "{" in route[1]])
def test_without_a_key_nothing_opens(stage: Stage, app: Flask, method: str, rule: str) -> None:
    if rule == OVER_WEBSOCKET:
        return
    answer = app.test_client().open(stage.address(rule), method=method, json={})
    assert answer.status_code == 401, answer.text


@pytest.mark.parametrize(("method", "rule"), [route for route in ROUTES if "{" in route[1]])
def test_what_is_unknown_is_404_for_those_who_may_everything(
    stage: Stage, method: str, rule: str
) -> None:
    need, body = ROUTES[method, rule]
    if rule == OVER_WEBSOCKET or need == AGENTS:
        return
    nobody = str(uuid.uuid4())
    path = rule.format(execution=nobody, job=nobody, checkpoint=nobody)
    if method == "DELETE":
        path, body = f"{path}?email={body['email']}", None
    answer = stage.people["admin"].call(method, path, body)
    assert answer.status_code == 404, answer.text
    path = rule.format(execution=stage.execution, job=nobody, checkpoint=nobody)
    if "{job}" in rule:
        answer = stage.people["admin"].call(method, path, body)
        assert answer.status_code == 404, answer.text


def test_a_job_of_another_execution_is_not_found_under_this_one(
    stage: Stage, database: Database
) -> None:
    admin = stage.people["admin"]
    other = make_run(database, admin.id, {"x": []})
    path = f"/api/executions/{stage.execution}/jobs/{other.jobs['x']}"
    assert admin.get(path).status_code == 404
    assert admin.post(f"{path}/cancel").status_code == 404


def test_lists_hold_what_each_may_see(stage: Stage) -> None:
    seen = {
        who: len(key.get("/api/executions").json["items"])
        for who, key in stage.people.items()
        if not who.endswith("agent")
    }
    assert seen == {
        "owner": 1,
        "viewer": 1,
        "steerer": 1,
        "stranger": 0,
        "operator": 1,
        "admin": 1,
    }


def test_what_is_in_the_body_does_not_make_anybody_an_owner(stage: Stage) -> None:
    for field in ("owner", "owner_id", "role", "status"):
        answer = stage.people["owner"].patch(
            f"/api/executions/{stage.execution}", {"action": "pause", field: "x"}
        )
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == f"/{field}"


def test_a_stranger_is_told_the_same_as_about_what_never_was(stage: Stage) -> None:
    stranger = stage.people["stranger"]
    there = stranger.get(f"/api/executions/{stage.execution}").json
    never = stranger.get(f"/api/executions/{uuid.uuid4()}").json
    del there["request_id"], never["request_id"]
    assert there == never
