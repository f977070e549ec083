"""What an ended execution came to: read from its rows, as long as they are there."""

from __future__ import annotations

from typing import Any, Final

from app.db import Json, Row, Transaction
from app.executions.queries import Counts

MOST_TOLD: Final = 200
# A larger output is told by its size alone; GET …/jobs/{job} has all of it.
LARGEST_OUTPUT: Final = 10_000


def summarise(tx: Transaction, execution: Any, counts: Counts) -> Json:
    """`execution` is its record or its row: whatever has its columns as attributes."""
    given = {"execution": execution.id, "most": MOST_TOLD, "largest": LARGEST_OUTPUT}
    figures = tx.fetch(FIGURES, given)
    started, finished = execution.started_at, execution.finished_at
    lasted = (finished - started).total_seconds() if started and finished else None
    return {
        "planned_days": figures["planned_days"] or None,
        "lasted_seconds": lasted,
        "jobs": counts.by_status,
        "attempts": figures["attempts"],
        "spent": {"tokens": execution.spent_tokens, "usd": float(execution.spent_usd)},
        "not_done": [why(row) for row in tx.execute(NOT_DONE, given).fetchall()],
        "outputs": tx.execute(OUTPUTS, given).fetchall(),
    }


def why(row: Row) -> Json:
    """Skipped, failed or cancelled, and the reason that was given."""
    error = row["error"] if isinstance(row["error"], dict) else {}
    reason = row["message"] or error.get("message") or ""
    told = {name: row[name] for name in ("job_id", "code", "title", "status")}
    return {**told, "reason": reason, "error_class": error.get("class")}


# The planned length is the longest path through the graph: the greatest rank.
FIGURES: Final = """
SELECT (SELECT max(rank) FROM jobs WHERE execution_id = %(execution)s) AS planned_days,
  (SELECT count(*) FROM leases WHERE execution_id = %(execution)s
   AND (started_at IS NOT NULL OR outcome = 'failed')) AS attempts
"""
NOT_DONE: Final = """
SELECT j.id AS job_id, j.code, j.title, j.status, j.error,
  (SELECT v.message FROM execution_events v WHERE v.job_id = j.id
   AND v.type IN ('job_skipped', 'job_failed', 'job_cancelled')
   ORDER BY v.number DESC LIMIT 1) AS message
FROM jobs j WHERE j.execution_id = %(execution)s AND j.status IN ('skipped', 'failed', 'cancelled')
  AND (j.status <> 'skipped' OR j.weight > 0)  -- not what was broken down: its parts are told
ORDER BY j.position, j.id LIMIT %(most)s
"""
# What nothing else in the run was waiting for is what the run was for.
OUTPUTS: Final = """
SELECT o.id AS job_id, o.code, o.title, o.size,
  CASE WHEN o.size <= %(largest)s THEN o.result END AS output
FROM (
  SELECT j.id, j.code, j.title, j.position, j.result, length(j.result::text) AS size
  FROM jobs j WHERE j.execution_id = %(execution)s AND j.status = 'completed'
    AND j.result IS NOT NULL
    AND NOT EXISTS (SELECT FROM job_dependencies d WHERE d.prerequisite_id = j.id)
  ORDER BY j.position, j.id LIMIT %(most)s
) o ORDER BY o.position, o.id
"""
