"""Granting a lease, and finding the live ones. Its life is app.executions.rows.Lease's."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Final

from app.db import Transaction, new_id
from app.executions.rows import LEASE_COLUMNS, Job, Lease, lease_of
from app.executions.run import Run
from app.handoff.terms import START_SECONDS


def grant(
    run: Run, job: Job, *, agent: uuid.UUID, kind: str, name: str, seconds: int, claim: str | None
) -> Lease:
    """Leases a ready job to an agent, until its start deadline at first."""
    job.attempt += 1
    start = dt.timedelta(seconds=min(seconds, START_SECONDS[kind]))
    lease = Lease(
        id=new_id(),
        execution_id=job.execution_id,
        job_id=job.id,
        agent_id=agent,
        attempt=job.attempt,
        claim=claim,
        seconds=seconds,
        granted_at=run.now,
        started_at=None,
        expires_at=run.now + start,
    )
    if run.execution.status in ("queued", "blocked"):
        run.move_execution(
            "running", "execution_running", actor="taskyard", reason="Agents are at work."
        )
    run.move(job, "job_leased", "leased", actor=name, agent=agent, data={"attempt": lease.attempt})
    run.new_lease(lease)
    return lease


def live_lease(tx: Transaction, run: Run, job: Job) -> Lease | None:
    """The live lease of a job, as this run knows it or as the table has it."""
    return live_leases(tx, run, [job.id]).get(job.id)


def live_leases(
    tx: Transaction, run: Run, jobs: Iterable[uuid.UUID] | None = None
) -> dict[uuid.UUID, Lease]:
    """The live leases of these jobs, or of all jobs of the run, by job."""
    wanted = None if jobs is None else list(jobs)
    rows = tx.rows(LIVE, {"execution": run.execution.id, "jobs": wanted})
    known = [run.add_lease(lease_of(row)) for row in rows]
    return {lease.job_id: lease for lease in known if lease.live}


LIVE: Final = f"""
SELECT {LEASE_COLUMNS} FROM leases l
WHERE l.execution_id = %(execution)s AND l.ended_at IS NULL
  AND (%(jobs)s::uuid[] IS NULL OR l.job_id = ANY (%(jobs)s))
FOR NO KEY UPDATE
"""
