"""An imported breakdown. Immutable once accepted; a change makes a new version."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Json, Record, one_of

DECOMPOSITION = ("pending", "running", "done", "needs_review", "failed")
LEVELS = ("phase", "task", "subtask")
RISKS = ("reversible", "costly", "irreversible")


class Plan(Record):
    __tablename__ = "plans"
    __table_args__ = (
        one_of("decomposition_status", DECOMPOSITION),
        sa.UniqueConstraint("owner_id", "fingerprint", "version", name="plans_fingerprint_key"),
        sa.CheckConstraint("version >= 1", name="version_positive"),
    )

    owner_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"))
    previous_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("plans.id"))
    version: Mapped[int] = mapped_column(server_default="1")
    title: Mapped[str]
    goal: Mapped[str] = mapped_column(server_default="")
    source_kind: Mapped[str]
    fingerprint: Mapped[str]
    decomposition_status: Mapped[str] = mapped_column(server_default="pending")
    warnings: Mapped[list[Any]] = mapped_column(server_default="[]")
    counts: Mapped[Json] = mapped_column(server_default="{}")
    archived: Mapped[bool] = mapped_column(server_default=sa.false())


class PlanTask(Record):
    """A node of the plan's tree. One without children is a leaf, whatever its level."""

    __tablename__ = "plan_tasks"
    __table_args__ = (
        one_of("level", LEVELS),
        one_of("risk", RISKS),
        sa.CheckConstraint(
            "decomposition_confidence BETWEEN 0 AND 1", name="confidence_is_a_probability"
        ),
        sa.CheckConstraint("tier BETWEEN 1 AND 3", name="tier_known"),
        sa.UniqueConstraint("plan_id", "code"),
        sa.Index("plan_tasks_parent", "parent_id"),
    )

    plan_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("plans.id", ondelete="CASCADE"))
    parent_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("plan_tasks.id", ondelete="CASCADE")
    )
    level: Mapped[str]
    position: Mapped[int]
    code: Mapped[str]
    title: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    role: Mapped[str | None]
    resources: Mapped[list[Any]] = mapped_column(server_default="[]")
    duration_min: Mapped[float | None]
    duration_likely: Mapped[float | None]
    duration_max: Mapped[float | None]
    action: Mapped[str | None]
    params: Mapped[Json] = mapped_column(server_default="{}")
    agent_executable: Mapped[bool] = mapped_column(server_default=sa.true())
    decomposition_confidence: Mapped[float] = mapped_column(server_default="1")
    confidence_reasons: Mapped[list[Any]] = mapped_column(server_default="[]")
    tier: Mapped[int] = mapped_column(server_default="1")
    risk: Mapped[str] = mapped_column(server_default="reversible")
    acceptance: Mapped[list[Any]] = mapped_column(server_default="[]")
    # How its job is to be handled where the plan says so: priority, approval, timeout, attempts …
    handling: Mapped[Json] = mapped_column(server_default="{}")


class PlanDependency(Record):
    """An explicit dependency between two nodes; it holds for all the jobs under them."""

    __tablename__ = "plan_dependencies"
    __table_args__ = (
        sa.UniqueConstraint("plan_task_id", "prerequisite_id"),
        sa.CheckConstraint("plan_task_id <> prerequisite_id", name="not_itself"),
        sa.Index("plan_dependencies_prerequisite", "prerequisite_id"),
    )

    plan_task_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("plan_tasks.id", ondelete="CASCADE")
    )
    prerequisite_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("plan_tasks.id", ondelete="CASCADE")
    )
