"""The outbox: what is owed to addresses outside, written in the transaction that owes it."""

from __future__ import annotations

import datetime as dt
import uuid

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Json, Record


class Delivery(Record):
    __tablename__ = "deliveries"
    __table_args__ = (
        sa.Index(
            "deliveries_due",
            "next_at",
            postgresql_where=sa.text("delivered_at IS NULL AND given_up_at IS NULL"),
        ),
        sa.Index("deliveries_execution", "execution_id"),
    )

    execution_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("executions.id", ondelete="CASCADE")
    )
    job_id: Mapped[uuid.UUID | None]
    agent_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("agents.id", ondelete="CASCADE")
    )
    target: Mapped[str]
    body: Mapped[Json]
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[dt.datetime]
    delivered_at: Mapped[dt.datetime | None]
    given_up_at: Mapped[dt.datetime | None]
    last_error: Mapped[str | None]
