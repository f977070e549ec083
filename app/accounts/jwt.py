"""Short-lived tokens for programs: they name a user; what that user may do is looked up anew."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import uuid
from typing import Any, Final

import jwt

from app.accounts.tokens import Holder
from app.db import Transaction

ALGORITHM: Final = "HS256"
ISSUER: Final = "taskyard"
AUDIENCE: Final = "taskyard-api"
LIFETIME: Final = dt.timedelta(minutes=15)

LOOK_UP: Final = """
SELECT now() AS now, u.id, u.role, u.active, coalesce(nullif(u.name, ''), u.email) AS name,
       t.id AS token_id, t.revoked_at, t.expires_at
FROM users u
LEFT JOIN api_tokens t ON t.id = %(token)s AND t.user_id = u.id
WHERE u.id = %(user)s
"""


def issue(
    secret_key: str, user_id: uuid.UUID, role: str, now: dt.datetime, token_id: uuid.UUID | None
) -> str:
    """`token_id` is the personal token that it was bought with: it dies when that one does."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "role": role,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
        "jti": uuid.uuid4().hex,
    }
    if token_id is not None:
        claims["token"] = str(token_id)
    return jwt.encode(claims, signing_key(secret_key), algorithm=ALGORITHM)


def find(tx: Transaction, secret_key: str, text: str) -> Holder | None:
    """Whose it is, if it still opens anything: signed by us, not expired, the user active and in
    the role that they had when it was issued."""
    claims = read(secret_key, text)
    if claims is None:
        return None
    try:
        user_id = uuid.UUID(str(claims["sub"]))
        bought_with = uuid.UUID(str(claims["token"])) if "token" in claims else None
        expires = dt.datetime.fromtimestamp(int(claims["exp"]), dt.UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    row = tx.execute(LOOK_UP, {"user": user_id, "token": bought_with}).fetchone()
    if row is None:
        return None
    now = tx.read_now(row["now"])
    if expires <= now or not row["active"] or row["role"] != claims.get("role"):
        return None
    if bought_with is not None:
        lapsed = row["expires_at"] is not None and row["expires_at"] <= now
        if row["token_id"] is None or row["revoked_at"] is not None or lapsed:
            return None
    return Holder("user", user_id, row["role"], row["name"], row["token_id"])


def read(secret_key: str, text: str) -> dict[str, Any] | None:
    """The claims, if the signature, issuer and audience are ours. The times are judged by the
    database's clock, not by this machine's."""
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            signing_key(secret_key),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={
                "require": ["exp", "iat", "iss", "aud", "sub"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError):
        return None
    return claims


def signing_key(secret_key: str) -> bytes:
    """A key of its own, so that nothing else that SECRET_KEY signs can pass for a JWT."""
    return hmac.digest(secret_key.encode(), b"taskyard json web tokens", hashlib.sha256)
