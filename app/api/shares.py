"""Sharing an execution: its owner says who else may view or steer it."""

from __future__ import annotations

import uuid
from typing import Literal

from pydantic import Field

from app.accounts import audit, policy
from app.accounts.policy import Caller
from app.api.frame import database
from app.api.room import Room
from app.api.wire import Answer, Body, Moment, Query
from app.executions import sharing, standing

room = Room("shares", "With whom an execution is shared.")


class NewShare(Body):
    user_id: uuid.UUID | None = None
    email: str | None = Field(default=None, max_length=254)
    rights: Literal["view", "steer"] = "view"


class Whose(Query):
    user_id: uuid.UUID | None = None
    email: str | None = Field(default=None, max_length=254)


class ShareOut(Answer):
    user_id: uuid.UUID
    email: str
    name: str
    rights: str
    created_at: Moment


class Shares(Answer):
    items: list[ShareOut]


@room.get("/api/executions/<uuid:execution_id>/shares")
def find(caller: Caller, execution_id: uuid.UUID) -> Shares:
    """With whom it is shared."""
    policy.require_person(caller)
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        return Shares.model_validate({"items": sharing.read_shares(tx, execution_id)})


@room.post("/api/executions/<uuid:execution_id>/shares", status=201)
def share(caller: Caller, execution_id: uuid.UUID, body: NewShare) -> ShareOut:
    """Share it with a user, to view or to steer; again, to change which.

    For its owner and for admins.
    """
    policy.require_person(caller)
    with database().transaction() as tx:
        standing.share(tx, caller, execution_id)
        user_id = sharing.find_user(tx, body.user_id, body.email)
        row = sharing.share_with(tx, execution_id, user_id, body.rights)
        told = {"user_id": user_id, "rights": body.rights}
        audit.record(tx, caller, "execution_shared", "execution", execution_id, after=told)
        return ShareOut.model_validate(row)


@room.delete("/api/executions/<uuid:execution_id>/shares")
def unshare(caller: Caller, execution_id: uuid.UUID, query: Whose) -> None:
    """Share it with this user no longer. Its owner may, an admin, and the user themselves."""
    policy.require_person(caller)
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        user_id = sharing.find_user(tx, query.user_id, query.email, inactive=True)
        if user_id != caller.id:
            standing.share(tx, caller, execution_id)
        rights = sharing.end_share(tx, execution_id, user_id)
        told = {"user_id": user_id, "rights": rights}
        audit.record(tx, caller, "execution_unshared", "execution", execution_id, before=told)
