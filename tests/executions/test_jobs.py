"""What people do to one job: from every state, and what follows for the others."""

from __future__ import annotations

import uuid
from typing import Any, Final

import pytest

from app.control import agents as control_agents
from app.db import Database, new_id
from app.executions.models import Engagement
from tests.executions.stages import claim, report
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run

JOB_STATES: Final = (
    "pending",
    "ready",
    "leased",
    "running",
    "waiting",
    "blocked",
    "completed",
    "failed",
    "cancelled",
    "skipped",
)
LEADS_TO: Final[dict[str, dict[str, str]]] = {
    "retry": {"blocked": "ready", "failed": "ready", "cancelled": "ready"},
    "skip": dict.fromkeys(("pending", "ready", "waiting", "blocked", "failed"), "skipped"),
    "complete": {"ready": "completed", "blocked": "completed"},
    "cancel": dict.fromkeys(
        ("pending", "ready", "leased", "running", "waiting", "blocked"), "cancelled"
    ),
    "assign": {"pending": "pending", "ready": "ready", "waiting": "waiting", "blocked": "ready"},
    "decompose": dict.fromkeys(("pending", "ready", "waiting", "blocked", "failed"), "skipped"),
}
BODIES: Final[dict[str, Any]] = {
    "skip": {"reason": "not needed"},
    "complete": {"output": {"by": "hand"}},
    "decompose": {"jobs": [{"code": "1", "title": "One"}, {"code": "2", "title": "Two"}]},
}


def job_in(
    database: Database, people: People, owner: Key, status: str
) -> tuple[MadeRun, uuid.UUID]:
    """A job in this state; another one keeps the execution going."""
    needs: dict[str, list[str]] = {"first": [], "other": [], "job": []}
    exhausted = {"on_exhausted": "fail" if status == "failed" else "escalate"}
    if status == "pending":
        needs["job"] = ["first"]
    made = make_run(
        database,
        owner.id,
        needs,
        first={"action": "draw", "lane": "draw"},
        other={"action": "draw", "lane": "draw"},
        job=exhausted,
    )
    job = made.jobs["job"]
    path = f"/api/executions/{made.id}/jobs/{job}"
    if status in ("leased", "running", "waiting", "blocked", "completed", "failed"):
        agent = people.agent()
        piece = claim(agent)
        if status == "running":
            report(agent, made, piece, "started")
        elif status == "waiting":
            report(agent, made, piece, "checkpoint", kind="question", title="Which?")
        elif status in ("blocked", "failed"):
            report(agent, made, piece, "failed", error={"class": "fatal", "message": "no way"})
        elif status == "completed":
            report(agent, made, piece, "completed")
    elif status == "cancelled":
        owner.post(f"{path}/cancel")
    elif status == "skipped":
        owner.post(f"{path}/skip", {"reason": "because"})
    assert owner.get(path).json["status"] == status
    return made, job


@pytest.mark.parametrize("status", JOB_STATES)
@pytest.mark.parametrize("action", LEADS_TO)
def test_an_act_leads_where_it_may_and_is_refused_elsewhere(
    database: Database, people: People, member: Key, status: str, action: str
) -> None:
    made, job = job_in(database, people, member, status)
    body = BODIES.get(action, {})
    if action == "assign":
        body = {"agent_id": str(people.agent().id)}
    answer = member.post(f"/api/executions/{made.id}/jobs/{job}/{action}", body)
    to = LEADS_TO[action].get(status)
    if to is None:
        assert answer.status_code == 409, answer.text
        assert answer.json["hint"]
        assert member.get(f"/api/executions/{made.id}/jobs/{job}").json["status"] == status
    else:
        assert answer.status_code == 200, answer.text
        assert answer.json["status"] == to
        check_leases_and_questions(member, made, job)


def check_leases_and_questions(key: Key, made: MadeRun, job: uuid.UUID) -> None:
    """A live lease only where the state has one; an open question only where it waits for one."""
    shown = key.get(f"/api/executions/{made.id}/jobs/{job}").json
    live = [one for one in shown["attempts"] if one["ended_at"] is None]
    asked = [one for one in shown["checkpoints"] if one["status"] == "pending"]
    assert len(live) <= (shown["status"] in ("leased", "running", "waiting")), shown
    assert len(asked) == (shown["status"] in ("waiting", "blocked")), shown


@pytest.mark.parametrize("action", LEADS_TO)
@pytest.mark.parametrize("ended", ["cancelled", "completed"])
def test_in_an_execution_that_is_final_nothing_is_moved(
    database: Database, people: People, member: Key, action: str, ended: str
) -> None:
    made = make_run(database, member.id, {"a": []})
    if ended == "cancelled":
        member.patch(f"/api/executions/{made.id}", {"action": "cancel"})
    else:
        agent = people.agent()
        report(agent, made, claim(agent), "completed")
    body = {"agent_id": None} if action == "assign" else BODIES.get(action, {})
    answer = member.post(f"/api/executions/{made.id}/jobs/{made.jobs['a']}/{action}", body)
    assert answer.status_code == 409
    assert "its plan" in answer.json["hint"]


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("skip", {}),
        ("skip", {"reason": ""}),
        ("assign", {}),
        ("decompose", {"jobs": []}),
        ("decompose", {"jobs": [{"code": "a b", "title": "x"}]}),
        ("decompose", {"jobs": [{"code": "a", "title": "x", "action": "run_command"}]}),
        ("decompose", {"jobs": [{"code": "a", "title": "x", "params": {"n": 10**30}}]}),
        (
            "decompose",
            {
                "jobs": [
                    {"code": "a", "title": "x", "prerequisites": ["b"]},
                    {"code": "b", "title": "y", "prerequisites": ["a"]},
                ]
            },
        ),
        ("complete", {"output": 1, "status": "completed"}),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    database: Database, member: Key, action: str, body: dict[str, Any]
) -> None:
    made = make_run(database, member.id, {"a": []})
    answer = member.post(f"/api/executions/{made.id}/jobs/{made.jobs['a']}/{action}", body)
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"][0]["pointer"].startswith("/")


def test_what_waits_for_a_skipped_job_goes_on(database: Database, member: Key) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"]})
    member.post(f"/api/executions/{made.id}/jobs/{made.jobs['a']}/skip", {"reason": "no need"})
    job = member.get(f"/api/executions/{made.id}/jobs/{made.jobs['b']}").json
    assert (job["status"], job["open_prerequisites"]) == ("ready", 0)
    shown = member.get(f"/api/executions/{made.id}").json
    assert shown["progress"] == {"total": 2, "completed": 1, "percent": 50.0}


def test_an_output_given_by_hand_is_the_input_of_what_follows(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"]})
    path = f"/api/executions/{made.id}/jobs/{made.jobs['a']}/complete"
    shown = member.post(path, {"output": {"text": "done by me"}}).json
    assert shown["result"] == {"text": "done by me"}
    assert claim(people.agent())["job"]["inputs"] == {"a": {"text": "done by me"}}


def test_a_retried_job_brings_its_failed_execution_back(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []}, every={"on_exhausted": "fail"})
    agent = people.agent()
    report(agent, made, claim(agent), "failed", error={"class": "fatal"})
    assert member.get(f"/api/executions/{made.id}").json["status"] == "failed"
    member.post(f"/api/executions/{made.id}/jobs/{made.jobs['a']}/retry", {"reason": "again"})
    assert member.get(f"/api/executions/{made.id}").json["status"] == "queued"
    assert claim(agent)["lease"]["attempt"] == 2


def test_an_assigned_job_goes_to_that_agent_alone(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    one, other = people.agent(), people.agent()
    path = f"/api/executions/{made.id}/jobs/{made.jobs['a']}/assign"
    assert member.post(path, {"agent_id": str(one.id)}).json["lane"] == f"agent:{one.id}"
    assert other.get(f"/api/agents/{other.id}/work").status_code == 204
    assert claim(one)["job"]["code"] == "a"


def test_assigning_to_nobody_known_is_refused(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    path = f"/api/executions/{made.id}/jobs/{made.jobs['a']}/assign"
    assert member.post(path, {"agent_id": str(uuid.uuid4())}).status_code == 404


def test_assigning_a_job_that_waits_keeps_its_question_and_ends_the_askers_lease(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    asker, other = people.agent(), people.agent()
    report(asker, made, claim(asker), "checkpoint", kind="question", title="Which?")
    path = f"/api/executions/{made.id}/jobs/{made.jobs['a']}"
    member.post(f"{path}/assign", {"agent_id": str(other.id)})
    [checkpoint] = member.get("/api/checkpoints?status=pending").json["items"]
    said = {"decision": "answer", "answer": "the blue one"}
    assert member.post(f"/api/checkpoints/{checkpoint['id']}", said).status_code == 200
    answers = claim(other)["context"]["answers"]
    assert [one["answer"] for one in answers] == ["the blue one"]


def test_unassigning_goes_back_to_the_agents_that_the_execution_is_reserved_for(
    database: Database, people: People, member: Key
) -> None:
    chosen, other = people.agent(), people.agent()
    made = make_run(database, member.id, {"a": []}, start=True)
    with database.transaction() as tx:
        tx.session.add(Engagement(id=new_id(), execution_id=made.id, agent_id=chosen.id))
    path = f"/api/executions/{made.id}/jobs/{made.jobs['a']}/assign"
    member.post(path, {"agent_id": str(chosen.id)})
    lane = f"write@{made.id}"
    assert member.post(path, {"agent_id": None}).json["lane"] == lane
    member.post(path, {"agent_id": str(other.id)})
    with database.transaction() as tx:
        control_agents.hand_jobs_back(tx, other.id, actor="test")
    shown = member.get(f"/api/executions/{made.id}/jobs/{made.jobs['a']}").json
    assert shown["lane"] == lane, "a retired agent's job is open to agents that were not chosen"
    assert other.get(f"/api/agents/{other.id}/work").status_code == 204


def test_a_job_for_people_goes_back_to_people_when_its_agent_retires(
    database: Database, people: People, operator: Key
) -> None:
    plan = {
        "title": "A plan",
        "phases": [
            {
                "title": "Phase",
                "tasks": [{"title": "Sign", "action": "write", "agent_executable": False}],
            }
        ],
    }
    made = operator.post("/api/plans", plan)
    assert made.status_code == 202, made.text
    execution = operator.post("/api/executions", {"plan_id": made.json["id"], "start": True}).json
    [job] = operator.get(f"/api/executions/{execution['id']}/jobs").json["items"]
    assert job["lane"] == "human"
    agent = people.agent()
    path = f"/api/executions/{execution['id']}/jobs/{job['id']}"
    assert operator.post(f"{path}/assign", {"agent_id": str(agent.id)}).status_code == 200
    assert operator.delete(f"/api/agents/{agent.id}").status_code == 200
    assert operator.get(path).json["lane"] == "human"


def test_parts_stand_in_the_place_of_what_was_broken_down(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"], "c": ["b"]})
    path = f"/api/executions/{made.id}/jobs/{made.jobs['b']}/decompose"
    parts = [
        {"code": "1", "title": "One"},
        {"code": "2", "title": "Two", "prerequisites": ["1"]},
    ]
    assert member.post(path, {"jobs": parts}).json["status"] == "skipped"
    agent = people.agent()
    piece: Any = claim(agent)
    codes = []
    while piece:
        codes.append(piece["job"]["code"])
        given = report(agent, made, piece, "completed", next_one=True, output={})
        piece = given["work"][0] if given["work"] else None
    assert codes == ["a", "b.1", "b.2", "c"]
    shown = member.get(f"/api/executions/{made.id}").json
    assert shown["progress"] == {"total": 4, "completed": 4, "percent": 100.0}
    assert shown["summary"]["not_done"] == []


def test_breaking_down_what_waits_ends_the_lease_of_who_asked(
    database: Database, people: People, member: Key
) -> None:
    made, job = job_in(database, people, member, "waiting")
    body = {"jobs": [{"code": "1", "title": "One"}]}
    assert member.post(f"/api/executions/{made.id}/jobs/{job}/decompose", body).status_code == 200
    [attempt] = member.get(f"/api/executions/{made.id}/jobs/{job}").json["attempts"]
    assert attempt["outcome"] == "superseded"
