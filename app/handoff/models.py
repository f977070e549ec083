"""The right to a job until a deadline, and the receipts that make a repeated report harmless."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import MONEY, Json, Record, one_of

OUTCOMES = (
    "completed",
    "failed",
    "released",
    "expired",
    "blocked",
    "waiting",
    "timed_out",
    "cancelled",
    "superseded",
)


class Lease(Record):
    """One row an attempt. Its token is derived from its id and the server's key, never stored."""

    __tablename__ = "leases"
    __table_args__ = (
        one_of("outcome", OUTCOMES),
        sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended_has_an_outcome"),
        sa.UniqueConstraint("job_id", "attempt"),
        # The promise of the whole product: a job has at most one live lease.
        sa.Index(
            "leases_live_job", "job_id", unique=True, postgresql_where=sa.text("ended_at IS NULL")
        ),
        sa.Index("leases_live_agent", "agent_id", postgresql_where=sa.text("ended_at IS NULL")),
        # A poll repeated under its claim id finds what it was given.
        sa.Index(
            "leases_claim", "agent_id", "claim", postgresql_where=sa.text("claim IS NOT NULL")
        ),
        # What an agent is told at its next poll.
        sa.Index(
            "leases_cancelled",
            "agent_id",
            "ended_at",
            postgresql_where=sa.text("outcome = 'cancelled'"),
        ),
        # The leases' sweep: whose clock runs, by deadline.
        sa.Index(
            "leases_expiry",
            "expires_at",
            postgresql_where=sa.text("ended_at IS NULL AND stilled_at IS NULL"),
        ),
        sa.Index("leases_execution", "execution_id"),
    )

    execution_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    job_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("jobs.id", ondelete="CASCADE"))
    agent_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("agents.id"))
    attempt: Mapped[int]
    claim: Mapped[str | None]
    seconds: Mapped[int]  # its length without a heartbeat
    granted_at: Mapped[dt.datetime]
    started_at: Mapped[dt.datetime | None]
    expires_at: Mapped[dt.datetime]
    heartbeat_at: Mapped[dt.datetime | None]
    stilled_at: Mapped[dt.datetime | None]  # its clock stands still: a person or a pause decides
    still_seconds: Mapped[float] = mapped_column(server_default="0")
    percent: Mapped[float | None]
    ended_at: Mapped[dt.datetime | None]
    outcome: Mapped[str | None]
    tokens: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    cost_usd: Mapped[Decimal] = mapped_column(MONEY, server_default="0")
    workspace: Mapped[str | None]


class Receipt(Record):
    """The answer once given to a report, for the agent that repeats it."""

    __tablename__ = "receipts"
    __table_args__ = (sa.UniqueConstraint("agent_id", "key"),)

    agent_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("agents.id", ondelete="CASCADE"))
    key: Mapped[str]
    digest: Mapped[bytes]
    answer: Mapped[Json]
