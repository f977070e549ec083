"""A question to a person. Escalations, blockers and failed breakdowns are checkpoints too."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Json, Record, one_of

KINDS = ("info", "approval", "question", "blocker", "error", "escalation", "decomposition")
STATUSES = ("pending", "approved", "rejected", "answered", "expired", "withdrawn")


class Checkpoint(Record):
    __tablename__ = "checkpoints"
    __table_args__ = (
        one_of("kind", KINDS),
        one_of("status", STATUSES),
        sa.CheckConstraint("num_nonnulls(execution_id, plan_id) = 1", name="one_subject"),
        sa.CheckConstraint(
            "(status IN ('approved', 'rejected', 'answered')) <= (decided_at IS NOT NULL)",
            name="decided_has_its_time",
        ),
        # A job has at most one open checkpoint that blocks it.
        sa.Index(
            "checkpoints_open_job",
            "job_id",
            unique=True,
            postgresql_where=sa.text("status = 'pending' AND blocking"),
        ),
        sa.Index("checkpoints_execution", "execution_id"),
        sa.Index("checkpoints_pending", "id", postgresql_where=sa.text("status = 'pending'")),
        sa.Index(
            "checkpoints_expiry", "expires_at", postgresql_where=sa.text("status = 'pending'")
        ),
    )

    execution_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    job_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("jobs.id", ondelete="CASCADE"))
    plan_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("plans.id", ondelete="CASCADE"))
    kind: Mapped[str]
    # What the question stands before: the job itself, its start, or its result.
    stage: Mapped[str] = mapped_column(server_default="during")
    name: Mapped[str | None]  # a handler's durable checkpoints are found by name
    title: Mapped[str]
    data: Mapped[Json] = mapped_column(server_default="{}")
    options: Mapped[list[Any]] = mapped_column(server_default="[]")
    blocking: Mapped[bool] = mapped_column(server_default=sa.true())
    status: Mapped[str] = mapped_column(server_default="pending")
    assignee_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"))
    asked_by: Mapped[str]
    expires_at: Mapped[dt.datetime | None]
    reminded_at: Mapped[dt.datetime | None]
    decided_by_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"))
    decided_at: Mapped[dt.datetime | None]
    decision: Mapped[Json | None]
    reason: Mapped[str | None]
    decided_from: Mapped[str | None]
