"""Asking a person, in the transaction that needs the answer."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from app.db import Json, Transaction, new_id
from app.executions.rows import Job
from app.executions.run import Run

# Approvals and questions expire and then count as rejected; the other kinds never do.
PATIENCE: Final = dt.timedelta(hours=24)
EXPIRING: Final = frozenset({"approval", "question"})

# What a person may do about a job that cannot go on by itself.
WAYS_OUT: Final = (
    {"id": "retry", "label": "Try again"},
    {"id": "complete", "label": "Complete by hand"},
    {"id": "skip", "label": "Skip it"},
    {"id": "fail", "label": "Let it fail"},
)


def ask(
    tx: Transaction,
    run: Run,
    *,
    kind: str,
    title: str,
    asked_by: str,
    job: Job | None = None,
    stage: str = "during",
    data: Json | None = None,
    options: list[Any] | None = None,
    blocking: bool = True,
) -> uuid.UUID:
    """Puts a question into the inbox, in the transaction that needs the answer."""
    checkpoint = new_id()
    tx.later(
        ASK,
        {
            "id": checkpoint,
            "execution": run.execution.id,
            "job": None if job is None else job.id,
            "kind": kind,
            "stage": stage,
            "title": title,
            "data": Jsonb(data or {}),
            "options": Jsonb(options or []),
            "blocking": blocking and job is not None,
            "asked_by": asked_by,
            "expires": run.now + PATIENCE if kind in EXPIRING else None,
        },
    )
    return checkpoint


def escalate(
    tx: Transaction, run: Run, job: Job, *, kind: str, reason: str, actor: str, data: Json
) -> int:
    """A job that no rule can help any more: it waits, blocked, for a person with ways out."""
    number = run.move(job, "job_escalated", "blocked", actor=actor, message=reason, data=data)
    ask(
        tx,
        run,
        kind=kind,
        title=f"{job.code} {job.title}: {reason}",
        asked_by=actor,
        job=job,
        data=data,
        options=list(WAYS_OUT),
    )
    return number


def allowed_to_start(tx: Transaction, jobs: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these jobs that were asked about before their start, and not refused at last."""
    return {row[0] for row in tx.rows(ALLOWED, {"jobs": list(jobs)})}


def withdraw(tx: Transaction, job: Job) -> None:
    """Takes back what was asked about a job that has gone on without the answer."""
    tx.later(WITHDRAW, {"job": job.id})


def withdraw_all(tx: Transaction, run: Run) -> None:
    """Takes back every question of an execution that is over."""
    tx.later(WITHDRAW_ALL, {"execution": run.execution.id})


def withdraw_aside(tx: Transaction, run: Run) -> None:
    """Takes back questions about the execution itself, such as whether to raise its budget."""
    tx.later(WITHDRAW_ASIDE, {"execution": run.execution.id})


ASK: Final = """
INSERT INTO checkpoints (id, execution_id, job_id, kind, stage, title, data, options, blocking,
  asked_by, expires_at)
VALUES (%(id)s, %(execution)s, %(job)s, %(kind)s, %(stage)s, %(title)s, %(data)s, %(options)s,
  %(blocking)s, %(asked_by)s, %(expires)s)
"""
ALLOWED: Final = """
SELECT job_id FROM (
  SELECT DISTINCT ON (job_id) job_id, status FROM checkpoints
  WHERE job_id = ANY (%(jobs)s) AND stage = 'before' ORDER BY job_id, id DESC) last
WHERE status IN ('approved', 'answered')
"""
WITHDRAW: Final = """
UPDATE checkpoints SET status = 'withdrawn', updated_at = now()
WHERE job_id = %(job)s AND status = 'pending'
"""
WITHDRAW_ALL: Final = """
UPDATE checkpoints SET status = 'withdrawn', updated_at = now()
WHERE execution_id = %(execution)s AND status = 'pending'
"""
WITHDRAW_ASIDE: Final = """
UPDATE checkpoints SET status = 'withdrawn', updated_at = now()
WHERE execution_id = %(execution)s AND job_id IS NULL AND kind = 'question' AND status = 'pending'
"""
