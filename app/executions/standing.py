"""How a caller stands to an execution, and the refusals that follow from it.

To whom may not see an execution it does not exist: both are answered with the same words.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa

from app.accounts import policy
from app.accounts.policy import Caller, Standing
from app.db import Transaction
from app.errors import Forbidden, Missing
from app.executions.models import Execution, ExecutionShare


def standing_of(tx: Transaction, caller: Caller, execution_id: uuid.UUID) -> Standing | None:
    """None where there is no such execution."""
    row = tx.execute(STANDING, asked(caller, [execution_id])).fetchone()
    return None if row is None else Standing(row["owns"], row["rights"], row["held"])


def see(tx: Transaction, caller: Caller, execution_id: uuid.UUID) -> Standing:
    standing = standing_of(tx, caller, execution_id)
    if standing is None or not policy.may_see(caller, standing):
        raise missing()
    return standing


def steer(tx: Transaction, caller: Caller, execution_id: uuid.UUID) -> Standing:
    standing = see(tx, caller, execution_id)
    if not policy.may_steer(caller, standing):
        raise Forbidden(
            "An agent's key steers nothing."
            if caller.kind == "agent"
            else "You may look at this execution, and not steer it.",
            hint="Ask its owner to share it with you to steer.",
        )
    return standing


def share(tx: Transaction, caller: Caller, execution_id: uuid.UUID) -> Standing:
    standing = see(tx, caller, execution_id)
    policy.require(
        policy.may_share(caller, standing),
        "Only its owner shares an execution, or an admin.",
        "Ask its owner.",
    )
    return standing


def seen_among(
    tx: Transaction, caller: Caller, executions: Collection[uuid.UUID]
) -> set[uuid.UUID]:
    """Those of these executions that the caller may see."""
    rows = tx.execute(STANDING, asked(caller, executions)).fetchall()
    return {
        row["id"]
        for row in rows
        if policy.may_see(caller, Standing(row["owns"], row["rights"], row["held"]))
    }


def visible(caller: Caller) -> sa.ColumnElement[bool]:
    """The same for people, as a condition of a list."""
    if caller.ranks("operator"):
        return sa.true()
    shared = sa.select(ExecutionShare.execution_id).where(ExecutionShare.user_id == caller.id)
    return sa.or_(Execution.owner_id == caller.id, Execution.id.in_(shared))


def missing() -> Missing:
    return Missing("There is no such execution.", hint="GET /api/executions lists yours.")


def asked(caller: Caller, executions: Collection[uuid.UUID]) -> dict[str, Any]:
    return {
        "user": caller.id if caller.kind == "user" else None,
        "agent": caller.id if caller.kind == "agent" else None,
        "executions": list(executions),
    }


STANDING: Final = """
SELECT e.id, coalesce(e.owner_id = %(user)s, false) AS owns, coalesce(s.rights, '') AS rights,
  %(agent)s::uuid IS NOT NULL AND EXISTS (
    SELECT FROM leases l WHERE l.execution_id = e.id AND l.agent_id = %(agent)s) AS held
FROM executions e
LEFT JOIN execution_shares s ON s.execution_id = e.id AND s.user_id = %(user)s
WHERE e.id = ANY (%(executions)s)
"""
