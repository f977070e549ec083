"""The rows of a run as a change sees them: no ORM object graph on the hot path."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from app.db import Json, Tuple
from app.executions.states import FINAL, SERVING

EXECUTION_COLUMNS = """e.id, e.plan_id, e.owner_id, e.name, e.goal, e.status, e.status_reason,
  e.deadline_at, e.timeout_seconds, e.timed_out, e.paused_at, e.started_at, e.finished_at,
  e.budget_tokens, e.budget_usd, e.spent_tokens, e.spent_usd, e.last_event, e.total_weight,
  e.finished_weight, e.open_jobs, e.moving_jobs, e.unfinished_jobs, e.live_leases"""

JOB_COLUMNS = """j.id, j.execution_id, j.task_id, j.code, j.title, j.instructions, j.kind, j.action,
  j.params, j.role, j.acceptance, j.path, j.lane, j.priority, j.rank, j.weight, j.optional,
  j.status, j.offered, j.open_prerequisites, j.attempt, j.attempts_used, j.max_attempts, j.returns,
  j.retry_policy, j.timeout_seconds, j.approval, j.on_exhausted, j.ready_at, j.not_before,
  j.recheck_at, j.give_up_at, j.answers, j.tokens, j.cost_usd, j.started_at, j.finished_at,
  j.metadata"""


@dataclass(slots=True)
class Execution:
    """The execution's row, as far as a change looks at it."""

    id: uuid.UUID
    plan_id: uuid.UUID | None
    owner_id: uuid.UUID
    name: str
    goal: str
    status: str
    status_reason: str
    deadline_at: dt.datetime | None
    timeout_seconds: int | None
    timed_out: bool
    paused_at: dt.datetime | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    budget_tokens: int | None
    budget_usd: Decimal | None
    spent_tokens: int
    spent_usd: Decimal
    last_event: int
    total_weight: float
    finished_weight: float
    open_jobs: int
    moving_jobs: int
    unfinished_jobs: int
    live_leases: int
    source: str = ""  # the status and the log's end that were read: the guards of the write
    first: int = 0

    def __post_init__(self) -> None:
        self.source, self.first = self.status, self.last_event

    @property
    def serving(self) -> bool:
        return self.status in SERVING


@dataclass(slots=True)
class Job:
    """A job's row, as far as a change looks at it."""

    id: uuid.UUID
    execution_id: uuid.UUID
    task_id: uuid.UUID | None
    code: str
    title: str
    instructions: str
    kind: str
    action: str
    params: Json
    role: str | None
    acceptance: list[Any]
    path: list[Any]
    lane: str
    priority: int
    rank: float
    weight: float
    optional: bool
    status: str
    offered: bool
    open_prerequisites: int
    attempt: int
    attempts_used: int
    max_attempts: int
    returns: int
    retry_policy: Json
    timeout_seconds: int
    approval: str
    on_exhausted: str
    ready_at: dt.datetime | None
    not_before: dt.datetime | None
    recheck_at: dt.datetime | None
    give_up_at: dt.datetime | None
    answers: list[Any]
    tokens: int
    cost_usd: Decimal
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    metadata: Json
    # From WORK_COLUMNS, where they were read.
    inputs: Json = field(default_factory=dict)
    upcoming: list[Any] = field(default_factory=list)
    # Written, never read by a verdict.
    result: Any = None
    error: Any = None
    source: str = ""  # the status that was read: the guard of the write

    def __post_init__(self) -> None:
        self.source = self.status

    @property
    def ended(self) -> bool:
        return self.status in FINAL


LEASE_COLUMNS: Final = """l.id, l.execution_id, l.job_id, l.agent_id, l.attempt, l.claim, l.seconds,
  l.granted_at, l.started_at, l.expires_at, l.heartbeat_at, l.stilled_at, l.still_seconds,
  l.percent, l.ended_at, l.outcome, l.tokens, l.cost_usd"""

# What a work item tells beside the job: what its prerequisites put out, and what comes after it.
WORK_COLUMNS = """
  (SELECT jsonb_object_agg(p.code, jsonb_build_object('title', p.title, 'output', p.result))
   FROM job_dependencies d JOIN jobs p ON p.id = d.prerequisite_id
   WHERE d.job_id = j.id) AS inputs,
  (SELECT jsonb_agg(jsonb_build_object('code', n.code, 'title', n.title))
   FROM (SELECT s.code, s.title FROM job_dependencies d JOIN jobs s ON s.id = d.job_id
         WHERE d.prerequisite_id = j.id LIMIT 10) n) AS upcoming"""

# How many columns of a row each takes, for rows that hold several things side by side.
EXECUTION_WIDTH: Final = EXECUTION_COLUMNS.count(",") + 1
JOB_WIDTH: Final = JOB_COLUMNS.count(",") + 1
LEASE_WIDTH: Final = LEASE_COLUMNS.count(",") + 1


def execution_of(row: Tuple, start: int = 0) -> Execution:
    return Execution(*row[start : start + EXECUTION_WIDTH])


def job_of(row: Tuple, start: int = 0) -> Job:
    return Job(*row[start : start + JOB_WIDTH])


def work_of(row: Tuple, start: int = 0) -> Job:
    """A job with WORK_COLUMNS right behind JOB_COLUMNS."""
    job = job_of(row, start)
    inputs, upcoming = row[start + JOB_WIDTH : start + JOB_WIDTH + 2]
    job.inputs = inputs or {}
    job.upcoming = upcoming or []
    return job


def lease_of(row: Tuple, start: int = 0) -> Lease:
    return Lease(*row[start : start + LEASE_WIDTH])


@dataclass(slots=True)
class Lease:
    id: uuid.UUID
    execution_id: uuid.UUID
    job_id: uuid.UUID
    agent_id: uuid.UUID
    attempt: int
    claim: str | None
    seconds: int
    granted_at: dt.datetime
    started_at: dt.datetime | None
    expires_at: dt.datetime
    heartbeat_at: dt.datetime | None = None
    stilled_at: dt.datetime | None = None
    still_seconds: float = 0.0
    percent: float | None = None
    ended_at: dt.datetime | None = None
    outcome: str | None = None
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    @property
    def live(self) -> bool:
        return self.ended_at is None

    def keep(self, now: dt.datetime) -> None:
        """A sign of life: the deadline moves on, by the clock of the lease."""
        self.heartbeat_at = now
        self.started_at = self.started_at or now
        shown = self.stilled_at or now  # what its clock shows, when it stands still too
        self.expires_at = max(self.expires_at, shown + dt.timedelta(seconds=self.seconds))

    def still(self, now: dt.datetime) -> None:
        """Stops its clock: a person decides, or the execution is paused."""
        self.stilled_at = self.stilled_at or now

    def go_on(self, now: dt.datetime) -> None:
        """Lets its clock run again; the time that it stood still is given back."""
        if self.stilled_at is not None:
            stood = now - self.stilled_at
            self.expires_at += stood
            self.still_seconds += stood.total_seconds()
            self.stilled_at = None

    def end(self, outcome: str, now: dt.datetime) -> None:
        self.ended_at = now
        self.outcome = outcome
        self.stilled_at = None
