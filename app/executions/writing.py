"""How the changes of runs reach the tables: one guarded statement, whatever changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.types.json import Jsonb

from app.db import Json
from app.executions.rows import Execution, Job, Lease


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed of one run."""

    execution: Execution
    jobs: Sequence[Job]
    granted: Sequence[Lease]
    kept: Sequence[Lease]
    events: Sequence[Json]


def written(now: dt.datetime, runs: Sequence[Changes]) -> tuple[str, Json]:
    """The statement that writes all of it, and what it is handed."""
    jobs = [told_job(job) for run in runs for job in run.jobs]
    kept = [lease for run in runs for lease in run.kept]
    return WRITE, {
        "now": now,
        "executions": Jsonb([run.execution for run in runs]),
        "jobs": Jsonb(jobs),
        "moved": len(jobs),
        "kept": Jsonb(kept),
        "kept_leases": len(kept),
        "granted": Jsonb([lease for run in runs for lease in run.granted]),
        "events": Jsonb([event for run in runs for event in run.events]),
    }


def told_job(job: Job) -> Json:
    """Only what is written: a job's text may be long."""
    row = {name: getattr(job, name) for name in JOB_WRITTEN}
    row.update(id=job.id, source=job.source, result=job.result, error=job.error)
    return row


JOB_WRITTEN: Final = {
    "lane": "text",
    "priority": "smallint",
    "weight": "float8",
    "status": "text",
    "offered": "boolean",
    "open_prerequisites": "integer",
    "attempt": "integer",
    "attempts_used": "integer",
    "max_attempts": "integer",
    "returns": "integer",
    "approval": "text",
    "ready_at": "timestamptz",
    "not_before": "timestamptz",
    "recheck_at": "timestamptz",
    "give_up_at": "timestamptz",
    "answers": "jsonb",
    "tokens": "bigint",
    "cost_usd": "numeric",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "metadata": "jsonb",
}
LEASE_GRANTED: Final = {
    "id": "uuid",
    "execution_id": "uuid",
    "job_id": "uuid",
    "agent_id": "uuid",
    "attempt": "integer",
    "claim": "text",
    "seconds": "integer",
    "granted_at": "timestamptz",
    "expires_at": "timestamptz",
}
LEASE_WRITTEN: Final = {
    "id": "uuid",
    "started_at": "timestamptz",
    "expires_at": "timestamptz",
    "heartbeat_at": "timestamptz",
    "stilled_at": "timestamptz",
    "still_seconds": "float8",
    "percent": "float8",
    "ended_at": "timestamptz",
    "outcome": "text",
    "tokens": "bigint",
    "cost_usd": "numeric",
}
EXECUTION_WRITTEN: Final = {
    "id": "uuid",
    "status": "text",
    "status_reason": "text",
    "deadline_at": "timestamptz",
    "timed_out": "boolean",
    "paused_at": "timestamptz",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "budget_tokens": "bigint",
    "budget_usd": "numeric",
    "spent_tokens": "bigint",
    "spent_usd": "numeric",
    "last_event": "integer",
    "total_weight": "float8",
    "finished_weight": "float8",
    "open_jobs": "integer",
    "moving_jobs": "integer",
    "unfinished_jobs": "integer",
    "live_leases": "integer",
}
EVENT_WRITTEN: Final = {
    "id": "uuid",
    "execution_id": "uuid",
    "number": "integer",
    "type": "text",
    "job_id": "uuid",
    "agent_id": "uuid",
    "actor": "text",
    "data": "jsonb",
    "message": "text",
    "agent_timestamp": "timestamptz",
}


def typed(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


def named(columns: Iterable[str], prefix: str = "") -> str:
    return ", ".join(prefix + name for name in columns)


def assigned(columns: Iterable[str], source: str, *without: str) -> str:
    return ", ".join(f"{name} = {source}.{name}" for name in columns if name not in without)


# One statement, so that it costs one round trip however much changed. Every guard stands in the
# last CASE: where a job has left the state it was read in, a lease was ended meanwhile, or another
# hand wrote the log, the event number becomes NULL, which the column refuses, and the transaction
# is gone.
WRITE: Final = f"""
WITH moved AS (
  UPDATE jobs j SET updated_at = now(), result = coalesce(a.result, j.result),
    error = CASE WHEN a.status = 'completed' THEN NULL ELSE coalesce(a.error, j.error) END,
    {assigned(JOB_WRITTEN, "a")}
  FROM jsonb_to_recordset(%(jobs)s)
    AS a(id uuid, source text, result jsonb, error jsonb, {typed(JOB_WRITTEN)})
  WHERE j.id = a.id AND j.status = a.source
  RETURNING 1
), kept AS (
  UPDATE leases l SET updated_at = now(), {assigned(LEASE_WRITTEN, "k", "id")}
  FROM jsonb_to_recordset(%(kept)s) AS k({typed(LEASE_WRITTEN)})
  WHERE l.id = k.id AND l.ended_at IS NULL
  RETURNING 1
), granted AS (
  INSERT INTO leases ({named(LEASE_GRANTED)})
  SELECT {named(LEASE_GRANTED)} FROM jsonb_to_recordset(%(granted)s) AS g({typed(LEASE_GRANTED)})
), logged AS (
  INSERT INTO execution_events ({named(EVENT_WRITTEN)}, created_at)
  SELECT {named(EVENT_WRITTEN)}, %(now)s
  FROM jsonb_to_recordset(%(events)s) AS v({typed(EVENT_WRITTEN)})
)
UPDATE executions e SET updated_at = now(), {assigned(EXECUTION_WRITTEN, "x", "id", "last_event")},
  last_event = CASE WHEN e.status = x.source AND e.last_event = x.first
    AND (SELECT count(*) FROM moved) = %(moved)s AND (SELECT count(*) FROM kept) = %(kept_leases)s
    THEN x.last_event END
FROM jsonb_to_recordset(%(executions)s)
  AS x(source text, first integer, {typed(EXECUTION_WRITTEN)})
WHERE e.id = x.id
"""
