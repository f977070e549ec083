"""Keys: personal tokens, agents' keys, sessions. Shown once; only their SHA-256 digest is kept."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from typing import Final, Literal

import sqlalchemy as sa

from app.accounts.models import ApiToken
from app.db import Transaction
from app.errors import Missing

Kind = Literal["user", "agent", "session"]

PREFIXES: Final[dict[Kind, str]] = {"user": "ty_u_", "agent": "ty_a_", "session": "ty_s_"}
SHOWN: Final = 4  # characters of the secret that lists may show
SECRET_BYTES: Final = 36  # 288 bits: 24 of them shown still leave more than 256
SEEN_AGAIN: Final = dt.timedelta(minutes=1)
SESSION: Final = "session"

LOOK_UP: Final = """
SELECT now() AS now, t.id, t.user_id, t.agent_id, t.name, t.scopes, t.expires_at, t.revoked_at,
       t.last_used_at, u.role, u.active, coalesce(nullif(u.name, ''), u.email, a.name) AS owner,
       a.status AS agent_status
FROM api_tokens t
LEFT JOIN users u ON u.id = t.user_id
LEFT JOIN agents a ON a.id = t.agent_id
WHERE t.digest = %s
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose live key it is."""

    kind: Literal["user", "agent"]
    id: uuid.UUID
    role: str
    name: str
    token_id: uuid.UUID


def new_key(kind: Kind) -> str:
    return PREFIXES[kind] + secrets.token_urlsafe(SECRET_BYTES)


def digest(key: str) -> bytes:
    """What is stored. No salt and no slow hash: the key has more bits than can be tried."""
    return hashlib.sha256(key.encode()).digest()


def kind_of(key: str) -> Kind | None:
    """What the key says that it is; None for what is no key of ours (a JWT, say)."""
    for kind, prefix in PREFIXES.items():
        if key.startswith(prefix):
            return kind
    return None


def issue(
    tx: Transaction,
    kind: Kind,
    owner_id: uuid.UUID,
    name: str,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiToken, str]:
    """A new key: the record, and the key itself, which nobody can read again."""
    key = new_key(kind)
    token = ApiToken(
        user_id=None if kind == "agent" else owner_id,
        agent_id=owner_id if kind == "agent" else None,
        name=name,
        prefix=key[: len(PREFIXES[kind]) + SHOWN],
        digest=digest(key),
        scopes=[SESSION] if kind == "session" else [],
        expires_at=expires_at,
    )
    tx.session.add(token)
    tx.session.flush()
    return token, key


def rotate(
    tx: Transaction, agent_id: uuid.UUID, name: str, overlap: dt.timedelta
) -> tuple[ApiToken, str]:
    """A new key for an agent; the newest old one lives for `overlap`, any older one ends now."""
    live = tx.session.scalars(
        sa.select(ApiToken)
        .where(ApiToken.agent_id == agent_id, _live(tx.now))
        .order_by(ApiToken.id.desc())
        .with_for_update()
    ).all()
    for age, token in enumerate(live):
        until = tx.now + (overlap if age == 0 else dt.timedelta(0))
        token.expires_at = until if token.expires_at is None else min(token.expires_at, until)
    return issue(tx, "agent", agent_id, name)


def find(tx: Transaction, hashed: bytes, kind: Kind) -> Holder | None:
    """Whose key this is, if it opens anything at this moment."""
    row = tx.execute(LOOK_UP, (hashed,)).fetchone()
    if row is None:
        return None
    now = tx.read_now(row["now"])
    expired = row["expires_at"] is not None and row["expires_at"] <= now
    if row["revoked_at"] is not None or expired or (SESSION in row["scopes"]) != (kind == SESSION):
        return None
    if row["last_used_at"] is None or now - row["last_used_at"] >= SEEN_AGAIN:
        _note_use(tx, row["id"], now)
    if row["agent_id"] is not None:
        if row["agent_status"] == "retired":
            return None
        return Holder("agent", row["agent_id"], "", row["owner"], row["id"])
    if not row["active"]:
        return None
    return Holder("user", row["user_id"], row["role"], row["owner"], row["id"])


def get(tx: Transaction, token_id: uuid.UUID) -> ApiToken:
    token = tx.session.get(ApiToken, token_id)
    if token is None or SESSION in token.scopes:
        raise Missing("There is no such token.", hint="List the tokens to find the id.")
    return token


def revoke(tx: Transaction, token: ApiToken) -> None:
    if token.revoked_at is None:
        token.revoked_at = tx.now


def revoke_all(
    tx: Transaction, *, user_id: uuid.UUID | None = None, agent_id: uuid.UUID | None = None
) -> None:
    """Ends every key of one owner, sessions included."""
    owner = ApiToken.user_id == user_id if user_id else ApiToken.agent_id == agent_id
    tx.session.execute(
        sa.update(ApiToken).where(owner, ApiToken.revoked_at.is_(None)).values(revoked_at=tx.now)
    )


def end_session(tx: Transaction, key: str) -> None:
    tx.session.execute(
        sa.update(ApiToken)
        .where(
            ApiToken.digest == digest(key),
            ApiToken.revoked_at.is_(None),
            ApiToken.scopes.contains([SESSION]),
        )
        .values(revoked_at=tx.now)
    )


def revoke_sessions(tx: Transaction, user_id: uuid.UUID) -> None:
    tx.session.execute(
        sa.update(ApiToken)
        .where(
            ApiToken.user_id == user_id,
            ApiToken.revoked_at.is_(None),
            ApiToken.scopes.contains([SESSION]),
        )
        .values(revoked_at=tx.now)
    )


def _live(now: dt.datetime) -> sa.ColumnElement[bool]:
    return sa.and_(
        ApiToken.revoked_at.is_(None),
        sa.or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
    )


def _note_use(tx: Transaction, token_id: uuid.UUID, now: dt.datetime) -> None:
    """Skips a row that another request is noting: a queue here would slow every caller down."""
    tx.execute(
        "UPDATE api_tokens SET last_used_at = %s WHERE id = "
        "(SELECT id FROM api_tokens WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED)",
        (now, token_id),
    )
