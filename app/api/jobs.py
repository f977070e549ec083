"""The jobs of an execution: read, and moved by people."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import Field

from app.accounts import audit
from app.accounts.policy import Caller
from app.api.execution_view import JobLine
from app.api.frame import database
from app.api.paging import Page, Paging, read_cursor, write_cursor
from app.api.room import Room
from app.api.wire import Answer, Body, JsonValue, Moment
from app.control import jobs
from app.db import Json, Transaction
from app.executions import standing
from app.executions.rows import Job
from app.executions.run import Run, hold
from app.executions.tree import read_job, read_lines
from app.handoff.reports import Part

room = Room("jobs", "The jobs of an execution.")

JobStatus = Literal[
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
]
Reason = Annotated[str, Field(max_length=2_000)]


class JobFilter(Paging):
    status: list[JobStatus] | None = Field(default=None, description="One or several")


class Jobs(Page[JobLine]):
    pass


class Neighbour(Answer):
    id: uuid.UUID
    code: str
    title: str
    status: str


class Attempt(Answer):
    id: uuid.UUID
    attempt: int
    agent_id: uuid.UUID
    agent_name: str
    granted_at: Moment
    started_at: Moment | None
    heartbeat_at: Moment | None
    expires_at: Moment
    stilled_at: Moment | None = Field(description="Its clock stands still since then")
    percent: float | None
    ended_at: Moment | None
    outcome: str | None
    tokens: int
    cost_usd: float


class Question(Answer):
    id: uuid.UUID
    kind: str
    title: str
    status: str
    created_at: Moment
    decided_at: Moment | None
    reason: str | None


class JobDetail(JobLine):
    execution_id: uuid.UUID
    instructions: str
    params: dict[str, Any]
    acceptance: list[Any]
    path: list[Any] = Field(description="Titles from the phase down")
    retry_policy: dict[str, Any]
    timeout_seconds: int
    approval: str
    on_exhausted: str
    rank: float
    weight: float
    recheck_at: Moment | None
    give_up_at: Moment | None
    metadata: dict[str, Any]
    answers: list[Any] = Field(description="What people decided about it")
    result: Any
    error: Any
    prerequisites: list[Neighbour]
    successors: list[Neighbour]
    attempts: list[Attempt]
    checkpoints: list[Question]


class Because(Body):
    reason: Reason = ""


class Skipping(Body):
    reason: Annotated[str, Field(min_length=1, max_length=2_000)]


class Completing(Body):
    output: JsonValue = None
    reason: Reason = ""


class Assigning(Body):
    agent_id: uuid.UUID | None = Field(description="null: to any agent that can do its action")


class Breakdown(Body):
    jobs: list[Part] = Field(min_length=1, max_length=100)


@room.get("/api/executions/<uuid:execution_id>/jobs")
def find(caller: Caller, execution_id: uuid.UUID, query: JobFilter) -> Jobs:
    """List its jobs in the plan's order."""
    after = None if query.cursor is None else read_cursor(query.cursor)
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        rows = read_lines(
            tx, execution_id, statuses=query.status, after=after, limit=query.limit + 1
        )
    shown = rows[: query.limit]
    more = len(rows) > query.limit
    return Jobs(
        items=[JobLine.model_validate(row) for row in shown],
        next_cursor=write_cursor(shown[-1]["id"]) if more else None,
    )


@room.get("/api/executions/<uuid:execution_id>/jobs/<uuid:job_id>")
def read(caller: Caller, execution_id: uuid.UUID, job_id: uuid.UUID) -> JobDetail:
    """Read one job, with its attempts and its checkpoints."""
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        return JobDetail.model_validate(read_job(tx, execution_id, job_id))


@room.post("/api/executions/<uuid:execution_id>/jobs/<uuid:job_id>/retry")
def retry(caller: Caller, execution_id: uuid.UUID, job_id: uuid.UUID, body: Because) -> JobDetail:
    """Give a job that failed, was cancelled or is blocked new attempts.

    A failed execution goes on with it.
    """
    with database().transaction() as tx:
        run = take(tx, caller, execution_id)
        job = jobs.retry(tx, run, job_id, actor=caller.actor, reason=body.reason)
        return tell(tx, caller, job, "job_retried", body.reason)


@room.post("/api/executions/<uuid:execution_id>/jobs/<uuid:job_id>/skip")
def skip(caller: Caller, execution_id: uuid.UUID, job_id: uuid.UUID, body: Skipping) -> JobDetail:
    """Skip a job: what waits for it goes on without it."""
    with database().transaction() as tx:
        run = take(tx, caller, execution_id)
        job = jobs.skip(tx, run, job_id, actor=caller.actor, reason=body.reason)
        return tell(tx, caller, job, "job_skipped", body.reason)


@room.post("/api/executions/<uuid:execution_id>/jobs/<uuid:job_id>/complete")
def complete(
    caller: Caller, execution_id: uuid.UUID, job_id: uuid.UUID, body: Completing
) -> JobDetail:
    """Complete a job by hand: one that is ready or blocked."""
    with database().transaction() as tx:
        run = take(tx, caller, execution_id)
        job = jobs.complete(
            tx, run, job_id, actor=caller.actor, output=body.output, reason=body.reason
        )
        return tell(tx, caller, job, "job_completed", body.reason)


@room.post("/api/executions/<uuid:execution_id>/jobs/<uuid:job_id>/cancel")
def cancel(caller: Caller, execution_id: uuid.UUID, job_id: uuid.UUID, body: Because) -> JobDetail:
    """Cancel a job; whoever holds it is told at the next call."""
    with database().transaction() as tx:
        run = take(tx, caller, execution_id)
        job = jobs.cancel(tx, run, job_id, actor=caller.actor, reason=body.reason)
        return tell(tx, caller, job, "job_cancelled", body.reason)


@room.post("/api/executions/<uuid:execution_id>/jobs/<uuid:job_id>/assign")
def assign(
    caller: Caller, execution_id: uuid.UUID, job_id: uuid.UUID, body: Assigning
) -> JobDetail:
    """Pin a job to one agent, or hand it to whoever can do its action."""
    with database().transaction() as tx:
        run = take(tx, caller, execution_id)
        job = jobs.assign(tx, run, job_id, body.agent_id, actor=caller.actor)
        return tell(tx, caller, job, "job_assigned", f"lane {job.lane}")


@room.post("/api/executions/<uuid:execution_id>/jobs/<uuid:job_id>/decompose")
def decompose(
    caller: Caller, execution_id: uuid.UUID, job_id: uuid.UUID, body: Breakdown
) -> JobDetail:
    """Break a job down into smaller ones, which stand in its place."""
    parts = [part.model_dump() for part in body.jobs]
    with database().transaction() as tx:
        run = take(tx, caller, execution_id)
        job = jobs.decompose(tx, run, job_id, parts, actor=caller.actor)
        return tell(tx, caller, job, "job_decomposed", f"{len(parts)} jobs")


def take(tx: Transaction, caller: Caller, execution_id: uuid.UUID) -> Run:
    standing.steer(tx, caller, execution_id)
    return hold(tx, execution_id)


def tell(tx: Transaction, caller: Caller, job: Job, act: str, why: str) -> JobDetail:
    """The audit's line and the answer."""
    told: Json = {"execution_id": job.execution_id, "code": job.code, "status": job.status}
    before = {"status": job.source}
    audit.record(tx, caller, act, "job", job.id, before=before, after={**told, "reason": why})
    return JobDetail.model_validate(read_job(tx, job.execution_id, job.id))
