"""What the tables say of some executions at one instant, read in one flight."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg.rows import namedtuple_row

from app.db import Database
from app.executions.states import DONE, EXECUTION_MOVES, JOB_MOVES

Row = Any  # a named tuple of a table's columns


@dataclass
class Moment:
    """What the tables say at one instant."""

    now: dt.datetime
    executions: dict[uuid.UUID, Row]
    jobs: dict[uuid.UUID, Row]
    leases: dict[uuid.UUID, Row]
    checkpoints: dict[uuid.UUID, Row]
    agents: dict[uuid.UUID, Row]
    edges: list[tuple[uuid.UUID, uuid.UUID]]  # job, prerequisite
    events: list[Row]  # those that came since the moment before
    numbers: dict[uuid.UUID, Row]  # how many events, first and last number
    claims: list[Row]
    log: Log = field(default_factory=lambda: Log())  # the log as replayed up to here
    swept: dt.datetime | None = None  # the bell was swept at this time, and nothing since

    def __post_init__(self) -> None:
        self.live: dict[uuid.UUID, list[Row]] = defaultdict(list)
        for lease in self.leases.values():
            if lease.ended_at is None:
                self.live[lease.job_id].append(lease)
        self.needs: dict[uuid.UUID, list[uuid.UUID]] = {job: [] for job in self.jobs}
        for job, prerequisite in self.edges:
            self.needs[job].append(prerequisite)
        self.asked: dict[uuid.UUID, list[Row]] = defaultdict(list)
        for checkpoint in self.checkpoints.values():
            if checkpoint.job_id is not None:
                self.asked[checkpoint.job_id].append(checkpoint)

    def execution(self, of: Row) -> Row:
        return self.executions[of.execution_id]

    def jobs_of(self, execution: Row) -> list[Row]:
        return [job for job in self.jobs.values() if job.execution_id == execution.id]

    def open_before(self, job: Row) -> int:
        return sum(self.jobs[one].status not in DONE for one in self.needs[job.id])


@dataclass
class Log:
    """Statuses as the events alone tell them."""

    jobs: dict[uuid.UUID, str] = field(default_factory=dict)
    executions: dict[uuid.UUID, str] = field(default_factory=dict)
    last: dict[uuid.UUID, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def read(self, event: Row) -> None:
        expected = self.last.get(event.execution_id, 0) + 1
        if event.number != expected:
            self.faults.append(f"event {event.number} follows number {expected - 1}")
        self.last[event.execution_id] = event.number
        to = event.data.get("status")
        if event.type in JOB_MOVES:
            sources, targets = JOB_MOVES[event.type]
            was = self.jobs.get(event.job_id, "pending")
            if was not in sources or to not in targets:
                self.faults.append(f"event {event.number}: {event.type} moves {was} to {to}")
            self.jobs[event.job_id] = to
        elif event.type.startswith("execution_") and to is not None:
            was = self.executions.get(event.execution_id, "created")
            if event.number > 1 and to not in EXECUTION_MOVES[was]:
                self.faults.append(f"event {event.number}: {event.type} moves {was} to {to}")
            self.executions[event.execution_id] = to


def read_moment(
    database: Database, executions: Iterable[uuid.UUID] | None, log: Log, swept: dt.datetime | None
) -> Moment:
    """None reads all executions. What the log has read before is not read again."""
    with database.transaction() as tx:
        tx.sql.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        now = tx.now
        known = list(executions) if executions is not None else []
        if executions is None:
            known = [row["id"] for row in tx.execute("SELECT id FROM executions").fetchall()]
        params = {"ids": known, "read": [log.last.get(one, 0) for one in known]}
        with tx.sql.pipeline():
            cursors = [
                tx.sql.cursor(row_factory=namedtuple_row).execute(query.encode(), params)
                for query in QUERIES
            ]
        told = [cursor.fetchall() for cursor in cursors]
    executions_, jobs, leases, checkpoints, agents, edges, events, numbers, claims = told
    for event in events:
        log.read(event)
    return Moment(
        now=now,
        executions={row.id: row for row in executions_},
        jobs={row.id: row for row in jobs},
        leases={row.id: row for row in leases},
        checkpoints={row.id: row for row in checkpoints},
        agents={row.id: row for row in agents},
        edges=[tuple(row) for row in edges],
        events=events,
        numbers={row.execution_id: row for row in numbers},
        claims=claims,
        log=log,
        swept=swept,
    )


QUERIES: Final = (
    """SELECT id, status, status_reason, paused_at, deadline_at, timed_out, last_event, open_jobs,
      moving_jobs, unfinished_jobs, live_leases, finished_weight, total_weight, budget_tokens,
      spent_tokens, spent_usd FROM executions WHERE id = ANY (%(ids)s)""",
    """SELECT id, execution_id, code, action, lane, status, offered, optional, weight, approval,
      on_exhausted, open_prerequisites, attempt, attempts_used, max_attempts, returns, not_before,
      tokens, cost_usd FROM jobs WHERE execution_id = ANY (%(ids)s) ORDER BY position, id""",
    """SELECT id, execution_id, job_id, agent_id, attempt, claim, seconds, granted_at, started_at,
      expires_at, stilled_at, ended_at, outcome
      FROM leases WHERE execution_id = ANY (%(ids)s) ORDER BY id""",
    """SELECT id, execution_id, job_id, kind, stage, title, options, blocking, status,
      decided_by_id, decided_at, decision
      FROM checkpoints WHERE execution_id = ANY (%(ids)s) ORDER BY id""",
    "SELECT id, name, kind, status, max_concurrent, capabilities FROM agents",
    """SELECT d.job_id, d.prerequisite_id FROM job_dependencies d JOIN jobs j ON j.id = d.job_id
      WHERE j.execution_id = ANY (%(ids)s)""",
    """SELECT v.execution_id, v.number, v.type, v.job_id, v.actor, v.data
      FROM unnest(%(ids)s::uuid[], %(read)s::int[]) AS known(id, read)
      JOIN execution_events v ON v.execution_id = known.id AND v.number > known.read
      ORDER BY v.execution_id, v.number""",
    """SELECT execution_id, count(*) AS events, min(number) AS first, max(number) AS last
      FROM execution_events WHERE execution_id = ANY (%(ids)s) GROUP BY execution_id""",
    """SELECT agent_id, claim, count(DISTINCT granted_at) AS grants FROM leases
      WHERE execution_id = ANY (%(ids)s) AND claim IS NOT NULL GROUP BY agent_id, claim""",
)
