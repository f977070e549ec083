"""Personal tokens: one's own; an admin sees and revokes everybody's."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from pydantic import Field

from app.accounts import audit, policy, tokens, users
from app.accounts.models import ApiToken
from app.accounts.policy import Caller
from app.api.frame import database
from app.api.paging import Page, Paging, read_page
from app.api.room import Room
from app.api.wire import Answer, Body, Moment, Name
from app.errors import Fault, Invalid, Missing

room = Room("tokens", "Personal tokens for programs.")


class TokenOut(Answer):
    """A key without the key: its first characters tell which it is."""

    id: uuid.UUID
    user_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    name: str
    prefix: str
    expires_at: Moment | None
    last_used_at: Moment | None
    revoked_at: Moment | None
    created_at: Moment


class Tokens(Page[TokenOut]):
    pass


class TokenFilter(Paging):
    user_id: uuid.UUID | None = Field(default=None, description="Somebody else's: for admins")


class NewToken(Body):
    name: Name = "token"
    user_id: uuid.UUID | None = Field(default=None, description="Somebody else: for admins")
    expires_at: Moment | None = None


class Issued(Answer):
    token: str = Field(description="The token itself: shown this once")
    key: TokenOut


@room.get("/api/admin/tokens")
def find(caller: Caller, query: TokenFilter) -> Tokens:
    """List one's own tokens; an admin may ask for another user's."""
    policy.require_person(caller)
    wanted = sa.select(ApiToken).where(
        ApiToken.user_id == whose(caller, query.user_id),
        sa.not_(ApiToken.scopes.contains([tokens.SESSION])),
    )
    with database().transaction() as tx:
        return Tokens(**read_page(tx, wanted, ApiToken, query, TokenOut.model_validate))


@room.post("/api/admin/tokens", status=201)
def create(caller: Caller, body: NewToken) -> Issued:
    """Make a personal token; it is shown this once."""
    policy.require_person(caller)
    owner = whose(caller, body.user_id)
    with database().transaction() as tx:
        users.get(tx, owner)
        if body.expires_at is not None and body.expires_at <= tx.now:
            raise Invalid(
                "A token cannot have expired before it begins.",
                [Fault("/expires_at", "is past")],
                hint="Name a time to come, or leave it out.",
            )
        token, key = tokens.issue(tx, "user", owner, body.name, body.expires_at)
        audit.record(tx, caller, "token_created", "token", token.id, after={"prefix": token.prefix})
        tx.session.refresh(token)
        return Issued(token=key, key=TokenOut.model_validate(token))


@room.delete("/api/admin/tokens/<uuid:token_id>")
def revoke(caller: Caller, token_id: uuid.UUID) -> None:
    """Revoke a token of one's own; an admin revokes anybody's, agents' keys included."""
    policy.require_person(caller)
    with database().transaction() as tx:
        token = tokens.get(tx, token_id)
        if token.user_id != caller.id and not policy.may_administer(caller):
            raise Missing("There is no such token.", hint="List the tokens to find the id.")
        tokens.revoke(tx, token)
        audit.record(
            tx, caller, "token_revoked", "token", token.id, before={"prefix": token.prefix}
        )


def whose(caller: Caller, told: uuid.UUID | None) -> uuid.UUID:
    if told is not None and told != caller.id:
        policy.require_admin(caller)
        return told
    return caller.id
