"""Executions in every state, brought there by what really leads there."""

from __future__ import annotations

import uuid
from typing import Any, Final

from app.control import steering
from app.db import Database
from app.executions.run import hold
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run, start_run

STATES: Final = (
    "created",
    "queued",
    "running",
    "blocked",
    "paused",
    "completed",
    "failed",
    "cancelled",
)


def run_in(database: Database, people: People, owner: uuid.UUID, status: str) -> MadeRun:
    """Three jobs in a row; the first fails for good where the execution is to have failed."""
    made = make_run(
        database,
        owner,
        {"a": [], "b": ["a"], "c": ["b"]},
        start=False,
        every={"on_exhausted": "fail"},
    )
    if status == "created":
        return made
    start_run(database, made.id)
    if status == "running":
        claim(people.agent())
    elif status == "completed":
        work_off(people.agent(), made)
    elif status == "failed":
        agent = people.agent()
        report(agent, made, claim(agent), "failed", error={"class": "fatal", "message": "no way"})
    elif status != "queued":
        with database.transaction() as tx:
            run = hold(tx, made.id)
            if status == "paused":
                steering.pause(tx, run, actor="test")
            elif status == "cancelled":
                steering.cancel(tx, run, actor="test")
            else:
                run.move_execution("blocked", "execution_blocked", actor="test", reason="Nobody.")
                run.write(tx)
    return made


def claim(agent: Key) -> dict[str, Any]:
    answer = agent.get(f"/api/agents/{agent.id}/work")
    assert answer.status_code == 200, answer.text
    piece: dict[str, Any] = answer.json["work"][0]
    return piece


def report(
    agent: Key,
    made: MadeRun,
    piece: dict[str, Any],
    event: str,
    *,
    next_one: bool = False,
    **more: Any,
) -> dict[str, Any]:
    told = {"type": event, "job_id": piece["job"]["id"], "token": piece["lease"]["token"], **more}
    query = "?next=1" if next_one else ""
    answer = agent.post(f"/api/executions/{made.id}/events{query}", told)
    assert answer.status_code == 201, answer.text
    given: dict[str, Any] = answer.json
    return given


def work_off(agent: Key, made: MadeRun) -> None:
    """Claims and completes until there is nothing left."""
    piece: dict[str, Any] | None = claim(agent)
    while piece is not None:
        output = {"wrote": piece["job"]["code"]}
        given = report(agent, made, piece, "completed", next_one=True, output=output)
        piece = given["work"][0] if given["work"] else None
