"""Corners of the hand-off and of steering that were wrong once, or nearly."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from typing import Any

import pytest
from flask import Flask

from app.accounts.tokens import digest
from app.control import sweeps
from app.db import Database
from app.handoff.calls import Answers, Call, Wish
from app.handoff.desk import serve
from app.handoff.reports import Completed
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run
from tests.invariants import check


def claim(agent: Key, query: str = "") -> list[dict[str, Any]]:
    answer = agent.get(f"/api/agents/{agent.id}/work{query}")
    assert answer.status_code in (200, 204), answer.text
    return answer.json["work"] if answer.status_code == 200 else []


def say(piece: dict[str, Any], kind: str, **more: Any) -> dict[str, Any]:
    lease = piece["lease"]
    return {"type": kind, "job_id": piece["job"]["id"], "token": lease["token"], **more}


def report(
    agent: Key, piece: dict[str, Any], kind: str, *, next_: bool = False, **more: Any
) -> Any:
    path = f"/api/executions/{piece['execution_id']}/events{'?next=1' if next_ else ''}"
    answer = agent.post(path, say(piece, kind, **more))
    assert answer.status_code == 201, answer.text
    return answer.json


def job_of(database: Database, made: MadeRun, code: str) -> dict[str, Any]:
    with database.transaction() as tx:
        return tx.fetch("SELECT * FROM jobs WHERE id = %(id)s", {"id": made.jobs[code]})


def steer(key: Key, made: MadeRun, action: str, **more: Any) -> Any:
    return key.patch(f"/api/executions/{made.id}", {"action": action, **more})


def move(key: Key, made: MadeRun, code: str, act: str, **body: Any) -> Any:
    return key.post(f"/api/executions/{made.id}/jobs/{made.jobs[code]}/{act}", body)


def test_only_a_created_execution_can_be_started(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    claim(agent)
    assert steer(member, made, "pause").status_code == 200
    assert steer(member, made, "start").status_code == 409
    check(database)


def test_a_retry_after_which_nothing_is_open_leaves_nothing_unfinished(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(
        database,
        member.id,
        {"must": [], "may": []},
        every={"on_exhausted": "fail", "max_attempts": 1},
        may={"optional": True, "on_exhausted": "fail", "max_attempts": 1},
    )
    agent = people.agent(max_concurrent=2)
    for piece in claim(agent, "?max=2"):
        report(agent, piece, "failed", error={"class": "fatal"})
    assert move(member, made, "must", "retry").status_code == 200
    assert move(member, made, "may", "cancel").status_code == 409
    [piece] = claim(agent)
    report(agent, piece, "failed", error={"class": "fatal"})
    # Settled as failed; a person skips what failed, which leaves only the optional one.
    assert move(member, made, "must", "skip", reason="not needed").status_code == 200
    assert steer(member, made, "retry").status_code == 200
    check(database)


def test_work_freed_long_ago_keeps_its_inputs(
    database: Database, people: People, member: Key
) -> None:
    """A repeated completion reads its successors, but knows nothing of what it once put out."""
    make_run(database, member.id, {"a": [], "b": ["a"], "c": []}, b={"priority": 9})
    agent = people.agent(max_concurrent=2)
    first, other = sorted(claim(agent, "?max=2"), key=lambda one: one["job"]["code"])
    report(agent, first, "completed", output={"wrote": "a"})
    body = {
        "events": [say(first, "completed", output={"wrote": "a"}), say(other, "completed")],
    }
    answer = agent.post(f"/api/executions/{first['execution_id']}/events?next=1", body)
    [piece] = answer.json["work"]
    assert piece["job"]["inputs"] == {"a": {"wrote": "a"}}


@pytest.mark.parametrize("way", ["cancelled", "rejected", "with its execution"])
def test_a_retry_does_not_go_round_an_approval(
    database: Database, people: People, member: Key, admin: Key, way: str
) -> None:
    made = make_run(database, member.id, {"a": [], "b": []}, a={"approval": "before"})
    agent = people.agent(max_concurrent=2)
    [asked] = admin.get("/api/checkpoints?status=pending").json["items"]
    if way == "rejected":
        said = {"decision": "reject", "reason": "no"}
        assert admin.post(f"/api/checkpoints/{asked['id']}", said).status_code == 200
    else:
        assert move(member, made, "a", "cancel").status_code == 200
    if way == "with its execution":
        [piece] = claim(agent)
        report(agent, piece, "completed")
        assert steer(member, made, "retry").status_code == 200
    else:
        assert move(member, made, "a", "retry").status_code == 200
    assert "a" not in [piece["job"]["code"] for piece in claim(agent, "?max=2")]
    assert job_of(database, made, "a")["status"] == "waiting"
    check(database)
    [again] = admin.get("/api/checkpoints?status=pending").json["items"]
    assert again["id"] != asked["id"]
    assert admin.post(f"/api/checkpoints/{again['id']}", {"decision": "approve"}).status_code == 200
    assert [piece["job"]["code"] for piece in claim(agent)] == ["a"]
    check(database)


def test_a_retry_of_what_was_approved_does_not_ask_again(
    database: Database, people: People, member: Key, admin: Key
) -> None:
    every = {"approval": "before", "on_exhausted": "fail", "max_attempts": 1}
    made = make_run(database, member.id, {"a": []}, every=every)
    agent = people.agent()
    [asked] = admin.get("/api/checkpoints?status=pending").json["items"]
    assert admin.post(f"/api/checkpoints/{asked['id']}", {"decision": "approve"}).status_code == 200
    [piece] = claim(agent)
    report(agent, piece, "failed", error={"class": "fatal"})
    assert steer(member, made, "retry").status_code == 200
    assert len(claim(agent)) == 1
    check(database)


@pytest.mark.parametrize(
    "end", [{"kind": "released"}, {"kind": "failed", "error": {"class": "quota"}}]
)
def test_a_job_that_is_begun_and_handed_back_again_and_again_is_escalated(
    database: Database, people: People, member: Key, end: dict[str, Any]
) -> None:
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    said = dict(end)
    kind = said.pop("kind")
    for _ in range(20):
        database.shift += dt.timedelta(hours=2)
        sweeps.sweep_bell(database)
        [piece] = claim(agent)
        report(agent, piece, "started")
        report(agent, piece, kind, **said)
    assert job_of(database, made, "a")["status"] == "blocked"
    check(database)


def test_parts_may_not_take_the_code_of_another_job(
    database: Database, people: People, member: Key
) -> None:
    make_run(database, member.id, {"a": [], "a.1": []})
    agent = people.agent(max_concurrent=2)
    piece = next(one for one in claim(agent, "?max=2") if one["job"]["code"] == "a")
    path = f"/api/executions/{piece['execution_id']}/events"
    parts = [{"code": "1", "title": "One"}]
    answer = agent.post(path, say(piece, "decomposed", jobs=parts))
    assert answer.status_code == 422, answer.text
    assert answer.json["errors"][0]["pointer"] == "/jobs/0/code"
    report(agent, piece, "decomposed", jobs=[{"code": "2", "title": "One"}])
    check(database)


def held(answers: Any) -> list[uuid.UUID]:
    assert isinstance(answers, Answers), answers
    return [one.lease.id for one in answers.work]


@pytest.mark.parametrize("missed", [False, True])
def test_a_poll_repeated_before_its_answer_came_gets_the_same(
    app: Flask, database: Database, people: People, member: Key, missed: bool
) -> None:
    """Both stand at the desk at once, or both come back after a look at what was in other hands."""
    made = make_run(database, member.id, {"a": [], "b": [], "c": []})
    agent = people.agent(max_concurrent=3)
    terms = app.extensions["taskyard.terms"]
    first_try = made.id if missed else None
    call = Call(digest(agent.text), agent.id, wish=Wish(claim="one"), missed=first_try)
    with database.transaction() as tx:
        one, two = serve(tx, terms, [call, call], {})
    assert held(one) == held(two)
    assert len(held(one)) == 1
    with database.transaction() as tx:
        [three] = serve(tx, terms, [call], {})
    assert held(three) == held(one)
    check(database)


def test_a_report_repeated_before_its_answer_came_gets_the_same_work(
    app: Flask, database: Database, people: People, member: Key
) -> None:
    make_run(database, member.id, {"a": [], "b": [], "c": []})
    agent = people.agent(max_concurrent=3)
    [piece] = claim(agent)
    said = Completed(
        type="completed", job_id=uuid.UUID(piece["job"]["id"]), token=piece["lease"]["token"]
    )
    execution = uuid.UUID(piece["execution_id"])
    call = Call(digest(agent.text), None, execution, (said,), Wish())
    with database.transaction() as tx:
        one, two = serve(tx, app.extensions["taskyard.terms"], [call, call], {})
    assert held(one) == held(two)
    assert len(held(one)) == 1
    check(database)


def test_an_old_report_among_new_ones_brings_the_work_that_it_brought(
    database: Database, people: People, member: Key
) -> None:
    make_run(database, member.id, {"a": [], "b": [], "c": []})
    agent = people.agent(max_concurrent=3)
    [piece] = claim(agent)
    first = report(agent, piece, "completed", next_=True)["work"]
    body = {"events": [say(first[0], "progress", percent=5), say(piece, "completed")]}
    answer = agent.post(f"/api/executions/{piece['execution_id']}/events?next=1", body)
    assert answer.json["work"] == first
    check(database)


def test_two_keys_of_an_agent_count_its_work_once(
    app: Flask, database: Database, people: People, member: Key, operator: Key
) -> None:
    make_run(database, member.id, {"a": [], "b": []})
    agent = people.agent(max_concurrent=2)
    answer = operator.post(f"/api/agents/{agent.id}/keys", {"overlap_seconds": 600})
    assert answer.status_code == 201, answer.text
    claim(agent)
    old = Call(digest(agent.text), agent.id, wish=Wish())
    new = Call(digest(answer.json["api_key"]), agent.id, wish=Wish())
    with database.transaction() as tx:
        one, two = serve(tx, app.extensions["taskyard.terms"], [old, new], {})
    assert len(held(one)) == 1
    assert two.standing[-1]["reason"] == "It holds 2 jobs, which is its limit."


def test_what_begins_in_a_pause_has_its_whole_length_after_it(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": []})
    agent = people.agent()
    [piece] = claim(agent, "?lease_seconds=3600")
    assert steer(member, made, "pause").status_code == 200
    report(agent, piece, "started")
    database.shift += dt.timedelta(hours=5)
    assert steer(member, made, "resume").status_code == 200
    database.shift += dt.timedelta(seconds=3500)
    assert sweeps.sweep_leases(database) == 0
    database.shift += dt.timedelta(seconds=200)
    assert sweeps.sweep_leases(database) == 1
    check(database)


def test_an_agent_whose_abilities_changed_is_served_at_its_next_poll(
    app: Flask, database: Database, people: People, member: Key, operator: Key
) -> None:
    make_run(database, member.id, {"a": []}, every={"lane": "paint", "action": "paint"})
    agent = people.agent()
    assert claim(agent) == []
    more = {"capabilities": [{"action": "write"}, {"action": "paint"}]}
    assert operator.patch(f"/api/agents/{agent.id}", more).status_code == 200
    assert len(claim(agent)) == 1


def test_a_sweep_of_the_bell_rings_once_for_each_job(
    database: Database, people: People, member: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(database, member.id, {"a": [], "b": [], "c": []})
    agent = people.agent(max_concurrent=3)
    for piece in claim(agent, "?max=3"):
        report(agent, piece, "failed", error={"class": "transient"})
    rung: Counter[str] = Counter()
    monkeypatch.setattr(database.dispatch.bell, "ring", rung.update)
    database.shift += dt.timedelta(hours=1)
    sweeps.sweep_bell(database)
    assert rung["write"] >= 3


@pytest.fixture(autouse=True)
def time_stands_still_afterwards(database: Database) -> Any:
    yield
    database.shift *= 0


BIG = b"123456789012345678901234567890"


@pytest.mark.parametrize(
    "raw",
    [
        b'"output": ' + BIG,
        b'"output": {"deep": [' + BIG + b"]}",
        b'"output": -' + BIG,
        b'"output": 1e999',
        b'"output": "\\ud800"',
        b'"output": "\\u0000"',
        b'"output": ' + b"[" * 150 + b"]" * 150,
        b'"output": NaN',
        b'"output": null, "message": "\\u0000"',
        b'"output": null, "agent_timestamp": "0001-01-01T00:00:00+14:00"',
        b'"output": null, "agent_timestamp": "9999-12-31T23:59:59-14:00"',
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_no_output_brings_the_server_down(
    database: Database, people: People, member: Key, raw: bytes, many: bool
) -> None:
    make_run(database, member.id, {"a": []})
    agent = people.agent()
    [piece] = claim(agent)
    said = b'{"type": "completed", "job_id": "%s", "token": "%s", %s}' % (
        piece["job"]["id"].encode(),
        piece["lease"]["token"].encode(),
        raw,
    )
    answer = agent.post(
        f"/api/executions/{piece['execution_id']}/events",
        data=b'{"events": [%s]}' % said if many else said,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code < 500, answer.text
    if many and answer.status_code == 201:
        assert answer.json["results"][0].get("status") != 500, answer.text
    check(database)


@pytest.mark.parametrize(
    "token", ["", "x", "ü" * 20, "." * 200, "0" * 32, "0" * 32 + ".", f"{{{'0' * 32}}}.AAAA"]
)
def test_no_token_brings_the_server_down(
    database: Database, people: People, member: Key, token: str
) -> None:
    make_run(database, member.id, {"a": []})
    agent = people.agent()
    [piece] = claim(agent)
    piece["lease"]["token"] = token
    path = f"/api/executions/{piece['execution_id']}/events"
    assert agent.post(path, say(piece, "completed")).status_code in (409, 422)


def test_an_agent_of_narrow_abilities_gets_what_fits(
    database: Database, people: People, member: Key
) -> None:
    make_run(
        database,
        member.id,
        {"en": [], "fr": [], "none": []},
        en={"params": {"language": "en", "words": [1, 2]}},
        fr={"params": {"language": "fr"}},
    )
    able = [{"action": "write", "params": {"language": "fr"}}]
    agent = people.agent(capabilities=able, max_concurrent=3)
    assert [piece["job"]["code"] for piece in claim(agent, "?max=3")] == ["fr"]
    assert claim(agent, "?max=3") == []


def test_a_job_handed_back_beside_a_report_of_its_prerequisite_keeps_its_inputs(
    database: Database, people: People, member: Key
) -> None:
    made = make_run(database, member.id, {"a": [], "b": ["a"]})
    agent = people.agent()
    [first] = claim(agent)
    second = report(agent, first, "completed", next_=True, output={"n": 1})["work"][0]
    told = {"events": [say(first, "released"), say(second, "released")]}
    answer = agent.post(f"/api/executions/{made.id}/events?next=1", told)
    assert answer.status_code == 201, answer.text
    [again] = answer.json["work"] or claim(agent)
    assert again["job"]["inputs"] == {"a": {"n": 1}}


@pytest.mark.parametrize("kind", [{"a": 1}, [], 5, None, True, "x" * 1000])
def test_no_type_brings_the_server_down(
    database: Database, people: People, member: Key, kind: Any
) -> None:
    make_run(database, member.id, {"a": []})
    agent = people.agent()
    [piece] = claim(agent)
    path = f"/api/executions/{piece['execution_id']}/events"
    assert agent.post(path, say(piece, kind)).status_code == 422
    many = agent.post(path, {"events": [say(piece, kind), 5, None, []]})
    assert [one["status"] for one in many.json["results"]] == [422] * 4
