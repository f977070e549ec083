"""The inbox: what a person may decide, what waits first."""

from __future__ import annotations

import uuid
from typing import Final

from app.accounts.policy import Approvers, Caller
from app.db import Json, Row, Transaction
from app.errors import Missing


def read_inbox(
    tx: Transaction,
    caller: Caller,
    approvers: Approvers,
    *,
    status: str | None = None,
    execution: uuid.UUID | None = None,
    after: tuple[bool, uuid.UUID] | None = None,
    limit: int,
) -> list[Row]:
    """Pending ones first, the newest first; behind a place in that order.

    The condition is app.accounts.policy.may_decide, put as SQL.
    """
    where = [MINE]
    given: Json = {
        "user": caller.id,
        "sees_all": caller.ranks("operator"),
        "approves_all": caller.ranks("operator" if approvers == "operator" else "admin"),
        "approves_own": approvers == "owner",
        "limit": limit,
    }
    if status is not None:
        where.append("c.status = %(status)s")
        given["status"] = status
    if execution is not None:
        where.append("c.execution_id = %(execution)s")
        given["execution"] = execution
    if after is not None:
        where.append("(c.status = 'pending', c.id) < (%(pending)s, %(id)s)")
        given["pending"], given["id"] = after
    query = f"{CHECKPOINTS} WHERE {' AND '.join(where)} {IN_ORDER} LIMIT %(limit)s"
    return tx.execute(query, given).fetchall()


def read_checkpoint(tx: Transaction, checkpoint_id: uuid.UUID) -> Row:
    row = tx.execute(f"{CHECKPOINTS} WHERE c.id = %(id)s", {"id": checkpoint_id}).fetchone()
    if row is None:
        raise missing()
    return row


def missing() -> Missing:
    return Missing("There is no such checkpoint.", hint="GET /api/checkpoints lists yours.")


CHECKPOINTS: Final = """
SELECT c.id, c.execution_id, c.job_id, c.plan_id, c.kind, c.stage, c.title, c.data, c.options,
  c.blocking, c.status, c.asked_by, c.assignee_id, c.expires_at, c.created_at, c.decided_by_id,
  c.decided_at, c.decision, c.reason, e.name AS execution_name, j.code AS job_code,
  p.owner_id AS plan_owner_id
FROM checkpoints c
LEFT JOIN executions e ON e.id = c.execution_id
LEFT JOIN jobs j ON j.id = c.job_id
LEFT JOIN plans p ON p.id = c.plan_id
"""
MINE: Final = """
CASE WHEN c.kind = 'approval'
  THEN %(approves_all)s OR (%(approves_own)s AND coalesce(e.owner_id, p.owner_id) = %(user)s)
  ELSE %(sees_all)s OR coalesce(e.owner_id, p.owner_id) = %(user)s OR EXISTS (
    SELECT FROM execution_shares s
    WHERE s.execution_id = c.execution_id AND s.user_id = %(user)s AND s.rights = 'steer')
END"""
IN_ORDER: Final = "ORDER BY c.status = 'pending' DESC, c.id DESC"
