"""Users: for admins."""

from __future__ import annotations

import uuid
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field

from app.accounts import passwords, policy, users
from app.accounts.models import User
from app.accounts.policy import Caller
from app.api.frame import database
from app.api.paging import Page, Paging, read_page
from app.api.room import Room
from app.api.wire import Answer, Body, Flag, Moment

room = Room("users", "People and their roles, for admins.")

RoleName = Literal["member", "operator", "admin"]


class UserOut(Answer):
    id: uuid.UUID
    email: str
    name: str
    role: str
    active: bool
    created_at: Moment
    updated_at: Moment


class Users(Page[UserOut]):
    pass


class UserFilter(Paging):
    role: RoleName | None = None
    active: Flag | None = None
    text: str | None = Field(default=None, max_length=200, description="Part of name or e-mail")


class NewUser(Body):
    email: str = Field(max_length=254, pattern=users.EMAIL)
    role: RoleName = "member"
    name: str = Field(default="", max_length=200)
    password: str | None = Field(
        default=None,
        min_length=passwords.SHORTEST,
        max_length=passwords.LONGEST,
        description="Without one they sign in by link",
    )


class UserChange(Body):
    """What is left out stays as it is."""

    name: str | None = Field(default=None, max_length=200)
    role: RoleName | None = None
    active: bool | None = None
    password: str | None = Field(
        default=None, min_length=passwords.SHORTEST, max_length=passwords.LONGEST
    )


@room.get("/api/admin/users")
def find(caller: Caller, query: UserFilter) -> Users:
    """List users, newest first."""
    policy.require_admin(caller)
    wanted = sa.select(User)
    if query.role is not None:
        wanted = wanted.where(User.role == query.role)
    if query.active is not None:
        wanted = wanted.where(User.active == query.active)
    if query.text:
        wanted = wanted.where(
            User.email.icontains(query.text, autoescape=True)
            | User.name.icontains(query.text, autoescape=True)
        )
    with database().transaction() as tx:
        return Users(**read_page(tx, wanted, User, query, UserOut.model_validate))


@room.post("/api/admin/users", status=201)
def create(caller: Caller, body: NewUser) -> UserOut:
    """Create a user."""
    policy.require_admin(caller)
    hashed = passwords.hash_password(body.password) if body.password is not None else None
    with database().transaction() as tx:
        user = users.create(
            tx, caller, email=body.email, role=body.role, name=body.name, password_hash=hashed
        )
        return shown(tx, user)


@room.get("/api/admin/users/<uuid:user_id>")
def read(caller: Caller, user_id: uuid.UUID) -> UserOut:
    """Read one user."""
    policy.require_admin(caller)
    with database().transaction() as tx:
        return UserOut.model_validate(users.get(tx, user_id))


@room.patch("/api/admin/users/<uuid:user_id>")
def change(caller: Caller, user_id: uuid.UUID, body: UserChange) -> UserOut:
    """Change name, role or password, deactivate or reactivate; what is left out stays.

    A demotion and a deactivation work at once. There is always one active admin.
    """
    policy.require_admin(caller)
    hashed = passwords.hash_password(body.password) if body.password is not None else None
    with database().transaction() as tx:
        user = users.get(tx, user_id)
        if body.name is not None:
            users.rename(tx, caller, user, body.name)
        if body.active is True:
            users.reactivate(tx, caller, user)
        if body.role is not None:
            users.change_role(tx, caller, user, body.role)
        if body.active is False:
            users.deactivate(tx, caller, user)
        if hashed is not None:
            users.set_password(tx, caller, user, hashed)
        return shown(tx, user)


@room.delete("/api/admin/users/<uuid:user_id>")
def deactivate(caller: Caller, user_id: uuid.UUID) -> UserOut:
    """Deactivate a user: their keys and sessions end at once, what they own stays."""
    policy.require_admin(caller)
    with database().transaction() as tx:
        user = users.get(tx, user_id)
        users.deactivate(tx, caller, user)
        return shown(tx, user)


def shown(tx: Any, user: User) -> UserOut:
    tx.session.flush()
    tx.session.refresh(user)
    return UserOut.model_validate(user)
