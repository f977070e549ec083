"""With whom an execution is shared, to view or to steer."""

from __future__ import annotations

import uuid
from typing import Final

from app.accounts import users
from app.accounts.models import User
from app.db import Row, Transaction, new_id
from app.errors import Fault, Invalid, Missing


def read_shares(tx: Transaction, execution_id: uuid.UUID) -> list[Row]:
    return tx.execute(SHARES, {"execution": execution_id}).fetchall()


def share_with(tx: Transaction, execution_id: uuid.UUID, user_id: uuid.UUID, rights: str) -> Row:
    """Shares it, or changes the rights of one with whom it is shared."""
    given = {"id": new_id(), "execution": execution_id, "user": user_id, "rights": rights}
    if tx.execute(OWNED, given).fetchone() is not None:
        raise Invalid(
            "The owner needs no share.",
            [Fault("", "names the owner")],
            hint="Share it with somebody else.",
        )
    tx.execute(SHARE, given)
    return next(row for row in read_shares(tx, execution_id) if row["user_id"] == user_id)


def end_share(tx: Transaction, execution_id: uuid.UUID, user_id: uuid.UUID) -> str:
    """The rights that there were."""
    row = tx.execute(END, {"execution": execution_id, "user": user_id}).fetchone()
    if row is None:
        raise Missing("It is not shared with this user.", hint="List the shares to see with whom.")
    rights: str = row["rights"]
    return rights


def find_user(
    tx: Transaction, user_id: uuid.UUID | None, email: str | None, *, inactive: bool = False
) -> uuid.UUID:
    """By id or by address. Whoever was deactivated is nobody, unless a share of theirs ends."""
    user: User | None = None
    if email is not None and user_id is None:
        user = users.find(tx, email)
    elif user_id is not None and email is None:
        user = tx.session.get(User, user_id)
    else:
        raise Invalid(
            "Name a user, by id or by address.",
            [Fault("/user_id", "either this or email is expected")],
            hint="For example {email, rights}.",
        )
    if user is None or not (user.active or inactive):
        raise Missing("There is no such user.", hint="Ask an admin to make an account for them.")
    return user.id


SHARES: Final = """
SELECT s.user_id, u.email, u.name, s.rights, s.created_at FROM execution_shares s
JOIN users u ON u.id = s.user_id WHERE s.execution_id = %(execution)s ORDER BY s.id
"""
OWNED: Final = "SELECT FROM executions WHERE id = %(execution)s AND owner_id = %(user)s"
SHARE: Final = """
INSERT INTO execution_shares (id, execution_id, user_id, rights)
VALUES (%(id)s, %(execution)s, %(user)s, %(rights)s)
ON CONFLICT (execution_id, user_id) DO UPDATE SET rights = EXCLUDED.rights, updated_at = now()
"""
END: Final = """
DELETE FROM execution_shares WHERE execution_id = %(execution)s AND user_id = %(user)s
RETURNING rights
"""
