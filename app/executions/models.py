"""A run of a plan: its tree, its jobs, the graph between them, and its log."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import MONEY, Json, Record, one_of

EXECUTION_STATUSES = (
    "created",
    "queued",
    "running",
    "blocked",
    "paused",
    "completed",
    "failed",
    "cancelled",
)
JOB_STATUSES = (
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
ORDERINGS = ("phased", "strict", "free")
APPROVALS = ("none", "before", "after")
ON_EXHAUSTED = ("escalate", "fail")
SHARE_RIGHTS = ("view", "steer")


class Execution(Record):
    __tablename__ = "executions"
    __table_args__ = (
        one_of("status", EXECUTION_STATUSES),
        one_of("ordering", ORDERINGS),
        sa.CheckConstraint("threshold BETWEEN 0 AND 1", name="threshold_is_a_probability"),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name="priority_known"),
        sa.CheckConstraint("last_event >= 0", name="last_event_counts"),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name="finished_has_its_time",
        ),
        sa.CheckConstraint(
            "(status = 'paused') = (paused_at IS NOT NULL)", name="paused_has_its_time"
        ),
        sa.Index("executions_owner", "owner_id", "id"),
        sa.Index("executions_plan", "plan_id"),
        sa.Index(
            "executions_deadline",
            "deadline_at",
            postgresql_where=sa.text("status IN ('queued', 'running', 'blocked')"),
        ),
        sa.Index("executions_status", "status", "id"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    plan_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("plans.id"))
    owner_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"))
    name: Mapped[str]
    goal: Mapped[str] = mapped_column(server_default="")
    status: Mapped[str] = mapped_column(server_default="created")
    status_reason: Mapped[str] = mapped_column(server_default="Not started yet.")
    priority: Mapped[int] = mapped_column(sa.SmallInteger, server_default="5")
    ordering: Mapped[str] = mapped_column(server_default="phased")
    threshold: Mapped[float] = mapped_column(server_default="0.7")
    deadline_at: Mapped[dt.datetime | None]
    timeout_seconds: Mapped[int | None]  # the length of the deadline, for one that starts anew
    timed_out: Mapped[bool] = mapped_column(server_default=sa.false())
    budget_tokens: Mapped[int | None] = mapped_column(sa.BigInteger)
    budget_usd: Mapped[Decimal | None] = mapped_column(MONEY)
    spent_tokens: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    spent_usd: Mapped[Decimal] = mapped_column(MONEY, server_default="0")
    callback_url: Mapped[str | None]
    last_event: Mapped[int] = mapped_column(server_default="0")
    # Progress, kept in step by the one function that moves a status.
    total_weight: Mapped[float] = mapped_column(server_default="0")
    finished_weight: Mapped[float] = mapped_column(server_default="0")
    open_jobs: Mapped[int] = mapped_column(server_default="0")  # not optional, not yet done
    moving_jobs: Mapped[int] = mapped_column(server_default="0")  # of which something can come
    unfinished_jobs: Mapped[int] = mapped_column(server_default="0")  # not ended in any way
    live_leases: Mapped[int] = mapped_column(server_default="0")  # jobs leased or running
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    paused_at: Mapped[dt.datetime | None]
    summary: Mapped[Json | None]


class ExecutionShare(Record):
    __tablename__ = "execution_shares"
    __table_args__ = (
        sa.UniqueConstraint("execution_id", "user_id"),
        one_of("rights", SHARE_RIGHTS),
        sa.Index("execution_shares_user", "user_id"),
    )

    execution_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    rights: Mapped[str]


class Engagement(Record):
    """An agent that an execution is reserved for: its jobs go to these agents and to no other."""

    __tablename__ = "engagements"
    __table_args__ = (
        sa.UniqueConstraint("execution_id", "agent_id"),
        sa.Index("engagements_agent", "agent_id"),
    )

    execution_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    agent_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("agents.id", ondelete="CASCADE"))


class ExecutionTask(Record):
    """A phase or a task. It groups jobs; its status is computed from theirs."""

    __tablename__ = "execution_tasks"
    __table_args__ = (
        sa.UniqueConstraint("execution_id", "code"),
        sa.Index("execution_tasks_parent", "parent_id"),
    )

    execution_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    parent_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("execution_tasks.id", ondelete="CASCADE")
    )
    position: Mapped[int]
    code: Mapped[str]
    title: Mapped[str]
    role: Mapped[str | None]
    planned_days: Mapped[float | None]


class Job(Record):
    __tablename__ = "jobs"
    __table_args__ = (
        one_of("status", JOB_STATUSES),
        one_of("approval", APPROVALS),
        one_of("on_exhausted", ON_EXHAUSTED),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name="priority_known"),
        sa.CheckConstraint("open_prerequisites >= 0", name="open_prerequisites_count"),
        sa.CheckConstraint("attempts_used <= attempt", name="attempts_used_were_made"),
        sa.CheckConstraint("NOT offered OR status = 'ready'", name="offered_is_ready"),
        sa.CheckConstraint(
            "open_prerequisites = 0 OR status IN ('pending', 'skipped', 'cancelled', 'failed')",
            name="ready_has_no_open_prerequisite",
        ),
        sa.UniqueConstraint("execution_id", "code"),
        # Claims: one equality on the lane keeps the order, so a claim reads only what it takes.
        sa.Index(
            "jobs_offered",
            "lane",
            sa.text("priority DESC"),
            sa.text("rank DESC"),
            "ready_at",
            "id",
            postgresql_where=sa.text("offered"),
        ),
        # The bell's sweep: backoffs and quota waits whose time has come.
        sa.Index(
            "jobs_not_before",
            "not_before",
            postgresql_where=sa.text("not_before IS NOT NULL AND NOT offered"),
        ),
        # The blockers' sweep.
        sa.Index("jobs_recheck", "recheck_at", postgresql_where=sa.text("recheck_at IS NOT NULL")),
        sa.Index("jobs_task", "task_id"),
        # No index names the status, and pages keep room: a job that moves on off the market then
        # writes no index at all.
        {"postgresql_with": {"fillfactor": 70}},
    )

    execution_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    task_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("execution_tasks.id", ondelete="CASCADE")
    )
    plan_task_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("plan_tasks.id", ondelete="SET NULL")
    )
    position: Mapped[int]
    code: Mapped[str]
    title: Mapped[str]
    instructions: Mapped[str] = mapped_column(server_default="")
    kind: Mapped[str] = mapped_column(server_default="plan")
    action: Mapped[str]
    params: Mapped[Json] = mapped_column(server_default="{}")
    role: Mapped[str | None]
    acceptance: Mapped[list[Any]] = mapped_column(server_default="[]")
    confidence: Mapped[float | None]
    path: Mapped[list[Any]] = mapped_column(server_default="[]")  # titles from the phase down
    lane: Mapped[str]
    priority: Mapped[int] = mapped_column(sa.SmallInteger, server_default="5")
    rank: Mapped[float] = mapped_column(server_default="0")
    planned_days: Mapped[float | None]
    weight: Mapped[float] = mapped_column(server_default="1")
    optional: Mapped[bool] = mapped_column(server_default=sa.false())
    status: Mapped[str] = mapped_column(server_default="pending")
    # True while a claim may take it: ready, its execution serving, its backoff over.
    offered: Mapped[bool] = mapped_column(server_default=sa.false())
    open_prerequisites: Mapped[int] = mapped_column(server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")  # numbers leases, only grows
    attempts_used: Mapped[int] = mapped_column(server_default="0")  # counted anew by a retry
    max_attempts: Mapped[int] = mapped_column(server_default="3")
    returns: Mapped[int] = mapped_column(server_default="0")  # handed back in a row, unstarted
    retry_policy: Mapped[Json] = mapped_column(server_default="{}")
    timeout_seconds: Mapped[int] = mapped_column(server_default="86400")
    approval: Mapped[str] = mapped_column(server_default="none")
    on_exhausted: Mapped[str] = mapped_column(server_default="escalate")
    ready_at: Mapped[dt.datetime | None]
    not_before: Mapped[dt.datetime | None]
    recheck_at: Mapped[dt.datetime | None]
    give_up_at: Mapped[dt.datetime | None]  # a blocker's longest wait
    job_metadata: Mapped[Json] = mapped_column("metadata", server_default="{}")
    answers: Mapped[list[Any]] = mapped_column(server_default="[]")  # what people decided
    result: Mapped[Json | None]
    error: Mapped[Json | None]
    tokens: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    cost_usd: Mapped[Decimal] = mapped_column(MONEY, server_default="0")
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]


class JobDependency(Record):
    __tablename__ = "job_dependencies"
    __table_args__ = (
        sa.UniqueConstraint("job_id", "prerequisite_id"),
        sa.CheckConstraint("job_id <> prerequisite_id", name="not_itself"),
        sa.Index("job_dependencies_prerequisite", "prerequisite_id"),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("jobs.id", ondelete="CASCADE"))
    prerequisite_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("jobs.id", ondelete="CASCADE"))


class ExecutionEvent(Record):
    """One line of an execution's log: append-only, numbered 1..n without gaps.

    `created_at` is the time of recording. Job and agent carry no foreign key: the log outlives
    them, and the hot path would pay two look-ups an event for it.
    """

    __tablename__ = "execution_events"
    __table_args__ = (
        sa.UniqueConstraint("execution_id", "number"),
        sa.CheckConstraint("number >= 1", name="number_counts_from_one"),
        sa.Index("execution_events_job", "job_id", "number"),
    )

    execution_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    number: Mapped[int]
    type: Mapped[str]
    job_id: Mapped[uuid.UUID | None]
    agent_id: Mapped[uuid.UUID | None]
    actor: Mapped[str]
    data: Mapped[Json] = mapped_column(server_default="{}")
    message: Mapped[str] = mapped_column(server_default="")
    agent_timestamp: Mapped[dt.datetime | None]
