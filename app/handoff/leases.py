"""One agent's right to one job until a deadline: granted, kept alive, put to rest, ended."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from app.db import Row, Transaction, new_id
from app.executions.rows import Job
from app.executions.run import Run
from app.handoff.terms import START_SECONDS

LEASE_COLUMNS: Final = """l.id, l.execution_id, l.job_id, l.agent_id, l.attempt, l.claim, l.seconds,
  l.granted_at, l.started_at, l.expires_at, l.heartbeat_at, l.stilled_at, l.still_seconds,
  l.percent, l.ended_at, l.outcome, l.tokens, l.cost_usd"""
LEASE_BESIDE: Final = ", ".join(
    f"{name.strip()} AS l_{name.strip()[2:]}" for name in LEASE_COLUMNS.split(",")
)


@dataclass(slots=True)
class Lease:
    id: uuid.UUID
    execution_id: uuid.UUID
    job_id: uuid.UUID
    agent_id: uuid.UUID
    attempt: int
    claim: str | None
    seconds: int
    granted_at: dt.datetime
    started_at: dt.datetime | None
    expires_at: dt.datetime
    heartbeat_at: dt.datetime | None = None
    stilled_at: dt.datetime | None = None
    still_seconds: float = 0.0
    percent: float | None = None
    ended_at: dt.datetime | None = None
    outcome: str | None = None
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    @property
    def live(self) -> bool:
        return self.ended_at is None

    def keep(self, now: dt.datetime) -> None:
        """A sign of life: the deadline moves on, unless the clock stands still anyway."""
        self.heartbeat_at = now
        self.started_at = self.started_at or now
        if self.stilled_at is None:
            self.expires_at = max(self.expires_at, now + dt.timedelta(seconds=self.seconds))

    def still(self, now: dt.datetime) -> None:
        """Stops its clock: a person decides, or the execution is paused."""
        self.stilled_at = self.stilled_at or now

    def go_on(self, now: dt.datetime) -> None:
        """Lets its clock run again; the time that it stood still is given back."""
        if self.stilled_at is not None:
            stood = now - self.stilled_at
            self.expires_at += stood
            self.still_seconds += stood.total_seconds()
            self.stilled_at = None

    def end(self, outcome: str, now: dt.datetime) -> None:
        self.ended_at = now
        self.outcome = outcome
        self.stilled_at = None


LEASE_FIELDS: Final = tuple(Lease.__dataclass_fields__)


def lease_of(row: Row, prefix: str = "") -> Lease:
    return Lease(*[row[prefix + name] for name in LEASE_FIELDS])


def grant(
    tx: Transaction,
    run: Run,
    job: Job,
    *,
    agent: uuid.UUID,
    kind: str,
    name: str,
    seconds: int,
    claim: str | None,
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
    tx.later(GRANT, {name: getattr(lease, name) for name in GRANTED})
    return lease


def save(tx: Transaction, lease: Lease) -> None:
    """Queues a lease's changes. A lease that has ended is never written again."""
    tx.later(SAVE, {name: getattr(lease, name) for name in SAVED})


def live_leases(tx: Transaction, jobs: Iterable[uuid.UUID]) -> dict[uuid.UUID, Lease]:
    """The live leases of these jobs, by job. Their execution is held by the caller."""
    rows = tx.execute(LIVE, {"jobs": list(jobs)}).fetchall()
    return {row["job_id"]: lease_of(row) for row in rows}


def live_leases_of_run(tx: Transaction, run: Run) -> dict[uuid.UUID, Lease]:
    rows = tx.execute(LIVE_OF_RUN, {"execution": run.execution.id}).fetchall()
    return {row["job_id"]: lease_of(row) for row in rows}


GRANTED: Final = (
    "id", "execution_id", "job_id", "agent_id", "attempt", "claim", "seconds", "granted_at",
    "expires_at",
)  # fmt: skip
SAVED: Final = (
    "id", "started_at", "expires_at", "heartbeat_at", "stilled_at", "still_seconds", "percent",
    "ended_at", "outcome", "tokens", "cost_usd",
)  # fmt: skip

GRANT: Final = f"""
INSERT INTO leases ({", ".join(GRANTED)}) VALUES ({", ".join(f"%({name})s" for name in GRANTED)})
"""
SAVE: Final = f"""
UPDATE leases SET updated_at = now(),
  {", ".join(f"{name} = %({name})s" for name in SAVED if name != "id")}
WHERE id = %(id)s AND ended_at IS NULL
"""
LIVE: Final = f"""
SELECT {LEASE_COLUMNS} FROM leases l WHERE l.job_id = ANY (%(jobs)s) AND l.ended_at IS NULL
FOR NO KEY UPDATE
"""
LIVE_OF_RUN: Final = f"""
SELECT {LEASE_COLUMNS} FROM leases l WHERE l.execution_id = %(execution)s AND l.ended_at IS NULL
FOR NO KEY UPDATE
"""
