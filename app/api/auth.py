"""A short-lived token for programs, and who one is."""

from __future__ import annotations

import logging
import uuid
from typing import Literal

from pydantic import Field

from app.accounts import jwt, tokens, users
from app.accounts.policy import Caller
from app.api.callers import address, unknown
from app.api.frame import database, settings
from app.api.limits import LOGINS
from app.api.room import Room, limits
from app.api.wire import Answer, Body
from app.errors import Fault, Invalid, Unauthenticated

log = logging.getLogger(__name__)

room = Room("auth", "Getting a short-lived token, and asking who one is.")


class Credentials(Body):
    """Either an e-mail address with its password, or a personal token."""

    email: str | None = Field(default=None, max_length=254)
    password: str | None = Field(default=None, max_length=1024)
    token: str | None = Field(default=None, max_length=200, description="A personal token, ty_u_…")


class AccessToken(Answer):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int = Field(description="Seconds")


class Identity(Answer):
    kind: str
    id: uuid.UUID
    name: str
    role: str = Field(description="member, operator or admin; empty for an agent")


@room.post("/api/auth/token", limit=None)
def sign_in(body: Credentials) -> AccessToken:
    """Get a JWT that lives for fifteen minutes, for a password or a personal token.

    It ends early when the user is deactivated or changes role, or the token is revoked.
    """
    limits().take(LOGINS.address, address())
    if body.token is not None and body.email is None and body.password is None:
        return exchange(body.token)
    if body.token is None and body.email is not None and body.password is not None:
        return prove(body.email, body.password)
    raise Invalid(
        "Send either email and password, or token.",
        [Fault("", "needs either email and password, or token")],
        hint='For example {"token": "ty_u_…"}.',
    )


def exchange(token: str) -> AccessToken:
    with database().transaction() as tx:
        holder = None
        if tokens.kind_of(token) == "user":
            holder = tokens.find(tx, tokens.digest(token), "user")
        if holder is None:
            raise unknown("This token is unknown, revoked or expired.")
        text = jwt.issue(settings().secret_key, holder.id, holder.role, tx.now, holder.token_id)
    return AccessToken(access_token=text, expires_in=int(jwt.LIFETIME.total_seconds()))


def prove(email: str, password: str) -> AccessToken:
    # By address and account together: whoever guesses from elsewhere does not lock the owner out.
    limits().take(LOGINS.key, f"{address()} {email.strip().lower()}")
    with database().transaction() as tx:
        found = users.find(tx, email)
    try:
        user = users.check_password(found, password)
    except Unauthenticated:
        # Not the address that was typed: people type their password there, too.
        log.warning("a sign-in failed", extra={"address": address()})
        raise
    with database().transaction() as tx:
        text = jwt.issue(settings().secret_key, user.id, user.role, tx.now, None)
    return AccessToken(access_token=text, expires_in=int(jwt.LIFETIME.total_seconds()))


@room.get("/api/auth/me")
def recognise(caller: Caller) -> Identity:
    """Who calls, as this key tells."""
    return Identity(kind=caller.kind, id=caller.id, name=caller.name, role=caller.role)
