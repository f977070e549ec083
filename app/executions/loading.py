"""Reading the jobs of a held run."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from app.db import Transaction, Tuple
from app.errors import Missing
from app.executions.rows import JOB_COLUMNS, WORK_COLUMNS, Job, job_of, work_of
from app.executions.run import Run


def load_job(tx: Transaction, run: Run, job_id: uuid.UUID) -> Job:
    """One job with its successors, which its end may free."""
    rows, successors = tx.together(
        (JOBS, {"execution": run.execution.id, "jobs": [job_id]}), (SUCCESSORS, {"jobs": [job_id]})
    )
    if not rows:
        raise Missing("There is no such job in this execution.")
    take_successors(run, successors)
    return run.add(job_of(rows[0]))


def load_unfinished(tx: Transaction, run: Run) -> list[Job]:
    """As the run has them: the tables do not know yet what this transaction has moved."""
    for row in tx.rows(UNFINISHED, {"execution": run.execution.id}):
        run.add(job_of(row))
    return [job for job in run.jobs.values() if not job.ended]


def load_by_status(tx: Transaction, run: Run, statuses: Sequence[str]) -> list[Job]:
    rows = tx.rows(BY_STATUS, {"execution": run.execution.id, "statuses": list(statuses)})
    return [run.add(job_of(row)) for row in rows]


def prerequisites_open(tx: Transaction, jobs: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How many prerequisites of each job are not done."""
    rows = tx.execute(PREREQUISITES_OPEN, {"jobs": list(jobs)}).fetchall()
    return {row["id"]: row["open"] for row in rows}


def take_successors(run: Run, rows: Sequence[Tuple]) -> None:
    for row in rows:
        run.follow(row[0], work_of(row, 1))


# The execution is held, so its jobs cannot change under these.
JOBS: Final = f"""
SELECT {JOB_COLUMNS} FROM jobs j WHERE j.id = ANY (%(jobs)s) AND j.execution_id = %(execution)s
"""
SUCCESSORS: Final = f"""
SELECT d.prerequisite_id AS follows, {JOB_COLUMNS}, {WORK_COLUMNS}
FROM job_dependencies d JOIN jobs j ON j.id = d.job_id WHERE d.prerequisite_id = ANY (%(jobs)s)
"""
UNFINISHED: Final = f"""
SELECT {JOB_COLUMNS} FROM jobs j WHERE j.execution_id = %(execution)s
  AND j.status NOT IN ('completed', 'skipped', 'failed', 'cancelled') ORDER BY j.position, j.id
"""
BY_STATUS: Final = f"""
SELECT {JOB_COLUMNS} FROM jobs j WHERE j.execution_id = %(execution)s
  AND j.status = ANY (%(statuses)s) ORDER BY j.position, j.id
"""
PREREQUISITES_OPEN: Final = """
SELECT j.id, count(p.id) AS open FROM unnest(%(jobs)s::uuid[]) AS j(id)
LEFT JOIN job_dependencies d ON d.job_id = j.id
LEFT JOIN jobs p ON p.id = d.prerequisite_id AND p.status NOT IN ('completed', 'skipped')
GROUP BY j.id
"""
