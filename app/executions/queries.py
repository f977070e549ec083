"""What is told of executions, jobs and events: reads that lock nothing and decide nothing."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from app.db import Json, Row, Transaction
from app.errors import Missing

# A page of events holds no more bytes than this, as they are stored, whatever its limit says: an
# agent may have put a mebibyte into each.
MOST_STORED: Final = 256 * 1024
MOST_BLOCKERS: Final = 20


@dataclass(frozen=True, slots=True)
class Counts:
    """The jobs of an execution by status. What was broken down into others is not told twice."""

    by_status: dict[str, int]
    total: int
    done: int


NONE: Final = Counts({}, 0, 0)


def count_jobs(tx: Transaction, executions: Collection[uuid.UUID]) -> dict[uuid.UUID, Counts]:
    """One question for a whole page of executions."""
    by_status: dict[uuid.UUID, dict[str, int]] = {}
    superseded: dict[uuid.UUID, int] = {}
    for row in tx.execute(COUNTS, {"executions": list(executions)}).fetchall():
        by_status.setdefault(row["execution_id"], {})[row["status"]] = row["jobs"]
        if row["status"] == "skipped":
            superseded[row["execution_id"]] = row["superseded"]
    return {
        execution: Counts(
            dict(sorted(counts.items())),
            sum(counts.values()) - superseded.get(execution, 0),
            counts.get("completed", 0) + counts.get("skipped", 0) - superseded.get(execution, 0),
        )
        for execution, counts in by_status.items()
    }


def percent_of(finished: float, total: float) -> float:
    """Rounded down: only what is done is told as 100. Sums of shares may be off by a hair."""
    if total <= 0:
        return 0.0
    if finished >= total * (1 - 1e-9):
        return 100.0
    return max(0.0, math.floor(finished / total * 1000) / 10)


def deadline_now(
    deadline_at: dt.datetime | None, paused_at: dt.datetime | None, now: dt.datetime
) -> dt.datetime | None:
    """The deadline as it would be if the execution went on now: a pause does not count."""
    if deadline_at is None or paused_at is None:
        return deadline_at
    return deadline_at + (now - paused_at)


def blockers_of(tx: Transaction, execution_id: uuid.UUID) -> list[Row]:
    """What waits for a person, longest waiting first."""
    given = {"execution": execution_id, "most": MOST_BLOCKERS}
    return tx.execute(BLOCKERS, given).fetchall()


def engaged_agents(tx: Transaction, execution_id: uuid.UUID) -> list[uuid.UUID]:
    rows = tx.execute(ENGAGED, {"execution": execution_id}).fetchall()
    return [row["agent_id"] for row in rows]


@dataclass(frozen=True, slots=True)
class EventPage:
    events: list[Row]
    last: int
    next_after: int


def read_events(
    tx: Transaction,
    execution_id: uuid.UUID,
    *,
    after: int,
    limit: int,
    types: Sequence[str] | None = None,
    job: uuid.UUID | None = None,
) -> EventPage:
    """Events after a number. `next_after` moves on even where a filter let none of them pass."""
    given: Json = {
        "execution": execution_id,
        "after": after,
        "limit": limit + 1,
        "bytes": MOST_STORED,
        "types": None if types is None else list(types),
        "job": job,
    }
    # The end of the log is read first: events that come in between are told, and not told again.
    last = tx.execute(LAST_EVENT, given).fetchone()
    if last is None:
        raise Missing("There is no such execution.", hint="GET /api/executions lists yours.")
    rows = tx.execute(events_query(types, job), given).fetchall()
    cut = len(rows) > limit or (bool(rows) and rows[-1]["more"])
    events = rows[:limit]
    reached = events[-1]["number"] if events else after
    return EventPage(
        events, last["last_event"], reached if cut else max(after, reached, last["last_event"])
    )


def events_query(types: Sequence[str] | None, job: uuid.UUID | None) -> str:
    """Without a filter the statement has no condition for it: its plan is made once for all."""
    where = "v.execution_id = %(execution)s AND v.number > %(after)s"
    where += "" if types is None else " AND v.type = ANY (%(types)s)"
    where += "" if job is None else " AND v.job_id = %(job)s"
    return EVENTS.format(where=where)


def told_event(row: Row) -> Json:
    """An event as it goes out, on a page and in a stream alike."""
    return {
        "number": row["number"],
        "type": row["type"],
        "job_id": row["job_id"],
        "agent_id": row["agent_id"],
        "actor": row["actor"],
        "message": row["message"],
        "data": row["data"],
        "agent_timestamp": in_utc(row["agent_timestamp"]),
        "recorded_at": in_utc(row["recorded_at"]),
    }


def in_utc(moment: dt.datetime | None) -> dt.datetime | None:
    return None if moment is None else moment.astimezone(dt.UTC)


COUNTS: Final = """
SELECT execution_id, status, count(*) AS jobs, count(*) FILTER (WHERE weight = 0) AS superseded
FROM jobs WHERE execution_id = ANY (%(executions)s) GROUP BY execution_id, status
"""
BLOCKERS: Final = """
SELECT c.id AS checkpoint_id, c.kind, c.title, c.job_id, j.code, c.created_at AS since
FROM checkpoints c LEFT JOIN jobs j ON j.id = c.job_id
WHERE c.execution_id = %(execution)s AND c.status = 'pending' AND c.kind <> 'info'
ORDER BY c.id LIMIT %(most)s
"""
ENGAGED: Final = "SELECT agent_id FROM engagements WHERE execution_id = %(execution)s ORDER BY id"
LAST_EVENT: Final = "SELECT last_event FROM executions WHERE id = %(execution)s"
EVENT_COLUMNS: Final = """v.number, v.type, v.job_id, v.agent_id, v.actor, v.message, v.data,
  v.agent_timestamp, v.created_at AS recorded_at"""
# The sizes are those of what is stored, compressed: what is cut off is never unpacked.
EVENTS: Final = f"""
SELECT *, max(place) OVER () < seen AS more FROM (
  SELECT {EVENT_COLUMNS}, row_number() OVER w AS place, count(*) OVER () AS seen,
    sum(pg_column_size(v.data) + pg_column_size(v.message)) OVER w
      - pg_column_size(v.data) - pg_column_size(v.message) AS before
  FROM (SELECT * FROM execution_events v WHERE {{where}} ORDER BY v.number LIMIT %(limit)s) v
  WINDOW w AS (ORDER BY v.number)
) v WHERE before < %(bytes)s ORDER BY number
"""
