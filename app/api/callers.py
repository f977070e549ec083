"""Who calls: an agent's key, a personal token, a JWT, or a session. Never from the address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from flask import g, request, session

from app.accounts import jwt, tokens
from app.accounts.policy import Caller, Role
from app.api.frame import database, settings
from app.db import Transaction
from app.errors import Unauthenticated

SESSION_KEY = "_user_id"  # where flask-login keeps what it gave us to keep


@dataclass(frozen=True, slots=True)
class Key:
    """A key as presented, not yet looked up: for doors that look it up in a statement of theirs."""

    kind: tokens.Kind
    digest: bytes


def presented() -> str:
    """What stands behind `Authorization: Bearer`."""
    told: str | None = request.environ.get("HTTP_AUTHORIZATION")
    if not told:
        raise unknown("This needs a key.")
    scheme, _, text = told.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text or not text.isascii():
        raise unknown("The Authorization header cannot be read.")
    return text


def read_key() -> Key:
    """The key of an agent or a user, unproved; a JWT or a session is none."""
    text = presented()
    kind = tokens.kind_of(text)
    if kind is None or kind == tokens.SESSION:
        raise unknown("This key is unknown, revoked or expired.")
    return Key(kind, tokens.digest(text))


@dataclass(frozen=True, slots=True)
class Proof:
    """What a caller showed. A stream keeps it, to look again while it is open."""

    text: str = field(repr=False)
    by_cookie: bool = False


def read_proof() -> Proof:
    if "HTTP_AUTHORIZATION" in request.environ:
        return Proof(presented())
    text = session.get(SESSION_KEY, "")
    if not text:
        raise unknown("This needs a key.")
    return Proof(text, by_cookie=True)


def find_holder(tx: Transaction, secret_key: str, proof: Proof) -> tokens.Holder | None:
    """Whose proof it is, if it opens anything at this moment."""
    kind = tokens.kind_of(proof.text)
    if kind is None:
        return jwt.find(tx, secret_key, proof.text)
    # A session's key opens nothing as a bearer, nor a token as a cookie.
    if proof.by_cookie != (kind == tokens.SESSION):
        return None
    return tokens.find(tx, tokens.digest(proof.text), kind)


def identify() -> Caller:
    """Whoever calls, looked up now: a demotion or a revocation works at once."""
    if "caller" in g:
        return cast(Caller, g.caller)
    proof = read_proof()
    with database().transaction() as tx:
        holder = find_holder(tx, settings().secret_key, proof)
    if holder is None:
        raise unknown("This key is unknown, revoked or expired.")
    g.caller = recognise(holder)
    return cast(Caller, g.caller)


def recognise(holder: tokens.Holder) -> Caller:
    """The caller that policy speaks of, with where the request came from."""
    return caller_of(holder, address(), g.request_id)


def caller_of(holder: tokens.Holder, address: str = "", request_id: str = "") -> Caller:
    role = cast(Role, holder.role)
    return Caller(holder.kind, holder.id, role, holder.name, address, request_id, holder.token_id)


def address() -> str:
    return request.remote_addr or "local"


def unknown(detail: str, **facts: Any) -> Unauthenticated:
    return Unauthenticated(
        detail,
        hint="Send the header Authorization: Bearer KEY, with an agent's key, a personal token "
        "or a JWT from POST /api/auth/token.",
        **facts,
    )
