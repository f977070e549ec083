"""People, their keys, and what they did."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Json, Record, one_of

ROLES = ("member", "operator", "admin")


class User(Record):
    __tablename__ = "users"
    __table_args__ = (
        one_of("role", ROLES),
        sa.Index("users_email_key", sa.func.lower(sa.column("email")), unique=True),
    )

    email: Mapped[str]
    name: Mapped[str] = mapped_column(server_default="")
    role: Mapped[str] = mapped_column(server_default="member")
    password_hash: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default=sa.true())


class ApiToken(Record):
    """A key of a user or of an agent. Only its digest is kept: a dump opens nothing."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        sa.CheckConstraint("num_nonnulls(user_id, agent_id) = 1", name="one_owner"),
        sa.Index("api_tokens_user", "user_id"),
        sa.Index("api_tokens_agent", "agent_id"),
    )

    user_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    agent_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("agents.id", ondelete="CASCADE")
    )
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[Any]] = mapped_column(server_default="[]")
    expires_at: Mapped[dt.datetime | None]
    last_used_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]


class AuditEntry(Record):
    """Who did what, when, from where. Append-only: a trigger refuses changes."""

    __tablename__ = "audit_entries"
    __table_args__ = (sa.Index("audit_entries_object", "object_kind", "object_id"),)

    actor: Mapped[str]
    action: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[uuid.UUID | None]
    before: Mapped[Json | None]
    after: Mapped[Json | None]
    address: Mapped[str | None]
