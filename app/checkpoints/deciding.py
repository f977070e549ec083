"""Recording a person's decision: once, by someone allowed to, never by an agent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final, Literal

from psycopg.types.json import Jsonb

from app.db import Json, Row, Transaction
from app.errors import Missing, Refused
from app.executions.run import Run

Decision = Literal["approve", "reject", "send_back", "choose", "answer"]
STATUS: Final[dict[str, str]] = {
    "approve": "approved",
    "reject": "rejected",
    "send_back": "answered",
    "choose": "answered",
    "answer": "answered",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says to a checkpoint."""

    decision: Decision
    reason: str = ""
    option: str | None = None
    answer: Any = None
    data: Json | None = None

    def told(self) -> Json:
        """What the job's agent hears of it."""
        told = {"decision": self.decision, "reason": self.reason, "option": self.option}
        return {**told, "answer": self.answer, "data": self.data}


def find(tx: Transaction, checkpoint_id: uuid.UUID, *, lock: bool = False) -> Row:
    """Locked only once its execution is held: checkpoints come last in the order of locks."""
    query = FIND + (" FOR NO KEY UPDATE" if lock else "")
    row = tx.execute(query, {"id": checkpoint_id}).fetchone()
    if row is None:
        raise Missing("There is no such checkpoint.", hint="GET /api/checkpoints lists yours.")
    return row


def record(
    tx: Transaction,
    run: Run,
    checkpoint: Row,
    verdict: Verdict,
    *,
    by: uuid.UUID | None,
    address: str,
) -> None:
    if checkpoint["status"] != "pending":
        raise Refused(
            f"This was {checkpoint['status']} already.",
            hint="A checkpoint is decided once; look at what was decided.",
            checkpoint_status=checkpoint["status"],
        )
    options = {one["id"] for one in checkpoint["options"] if isinstance(one, dict) and "id" in one}
    if verdict.decision == "choose" and verdict.option not in options:
        known = ", ".join(sorted(options)) or "none"
        raise Refused(
            f"{verdict.option!r} is none of its options.", hint=f"Its options are: {known}."
        )
    tx.later(
        RECORD,
        {
            "id": checkpoint["id"],
            "status": STATUS[verdict.decision],
            "by": by,
            "at": run.now,
            "decision": Jsonb(verdict.told()),
            "reason": verdict.reason,
            "address": address,
        },
    )


FIND: Final = """
SELECT id, execution_id, job_id, plan_id, kind, stage, title, data, options, blocking, status,
  asked_by, expires_at, created_at, decided_at, decision, reason
FROM checkpoints WHERE id = %(id)s
"""
RECORD: Final = """
UPDATE checkpoints SET status = %(status)s, decided_by_id = %(by)s, decided_at = %(at)s,
  decision = %(decision)s, reason = %(reason)s, decided_from = %(address)s, updated_at = now()
WHERE id = %(id)s AND status = 'pending'
"""
