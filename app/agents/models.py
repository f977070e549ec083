"""Whoever does jobs."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import MONEY, Json, Record, one_of

KINDS = ("external", "builtin", "human")
STATUSES = ("active", "paused", "unreachable", "retired")


class Agent(Record):
    __tablename__ = "agents"
    __table_args__ = (
        one_of("kind", KINDS),
        one_of("status", STATUSES),
        sa.CheckConstraint("max_concurrent >= 1", name="max_concurrent_positive"),
        sa.Index(
            "agents_name_key",
            sa.func.lower(sa.column("name")),
            unique=True,
            postgresql_where=sa.text("status <> 'retired'"),
        ),
        sa.Index("agents_last_seen", "last_seen_at", postgresql_where=sa.text("status = 'active'")),
    )

    name: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="external")
    role: Mapped[str | None]
    capabilities: Mapped[list[Any]]
    max_concurrent: Mapped[int] = mapped_column(server_default="1")
    status: Mapped[str] = mapped_column(server_default="active")
    last_seen_at: Mapped[dt.datetime | None]
    version: Mapped[str | None]
    webhook_url: Mapped[str | None]
    budget: Mapped[Json | None]
    completed_count: Mapped[int] = mapped_column(server_default="0")
    failed_count: Mapped[int] = mapped_column(server_default="0")
    registered_by: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"))
    spent_tokens: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    spent_usd: Mapped[Decimal] = mapped_column(MONEY, server_default="0")


class Beat(Record):
    """A sign of life: of a clock, of a worker, of a sweep. One row a name, overwritten."""

    __tablename__ = "beats"
    __table_args__ = (sa.UniqueConstraint("kind", "name"),)

    kind: Mapped[str]
    name: Mapped[str]
    seen_at: Mapped[dt.datetime]
    detail: Mapped[Json] = mapped_column(server_default="{}")
