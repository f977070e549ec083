"""The audit log: who did what, when, from where. For admins."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from app.accounts import policy
from app.accounts.models import AuditEntry
from app.accounts.policy import Caller
from app.api.frame import database
from app.api.paging import Page, Paging, read_page
from app.api.room import Room
from app.api.wire import Answer, Moment

room = Room("audit", "Who did what, when, from where; for admins.")


class EntryOut(Answer):
    id: uuid.UUID
    actor: str = Field(examples=["user:01975c4e-7f0a-7cc1-8d2b-3a9f1c5d6e70"])
    action: str
    object_kind: str
    object_id: uuid.UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    address: str | None
    created_at: Moment


class Entries(Page[EntryOut]):
    pass


class EntryFilter(Paging):
    actor: str | None = Field(default=None, max_length=200)
    action: str | None = Field(default=None, max_length=100)
    object_kind: str | None = Field(default=None, max_length=100)
    object_id: uuid.UUID | None = None


@room.get("/api/admin/audit")
def find(caller: Caller, query: EntryFilter) -> Entries:
    """List the audit log, newest first."""
    policy.require_admin(caller)
    wanted = sa.select(AuditEntry)
    for name in ("actor", "action", "object_kind", "object_id"):
        value = getattr(query, name)
        if value is not None:
            wanted = wanted.where(getattr(AuditEntry, name) == value)
    with database().transaction() as tx:
        return Entries(**read_page(tx, wanted, AuditEntry, query, EntryOut.model_validate))
