"""What the clock does by itself: leases that ran out, backoffs that are over, deadlines passed.

Each sweep finds its rows by an index, commits an execution at a time, and may run twice at once.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from app.control.steering import time_out
from app.db import Database, Transaction
from app.errors import Missing
from app.executions.loading import load_job
from app.executions.run import Run, hold
from app.executions.states import LEASED
from app.handoff.judging import Bench, hand_back, lose
from app.handoff.leases import live_lease
from app.handoff.settling import settle

log = logging.getLogger(__name__)

BATCH: Final = 500


def sweep_leases(database: Database) -> int:
    """Ends the leases that ran out. 1. find them, 2. hold each execution, 3. look again, end."""
    ended = 0
    with database.transaction() as tx:
        found = tx.execute(EXPIRED, {"now": tx.now, "batch": BATCH}).fetchall()
    executions: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in found:
        executions.setdefault(row["execution_id"], []).append(row["job_id"])
    for execution, jobs in executions.items():
        try:
            with database.transaction() as tx:
                ended += end_expired(tx, hold(tx, execution), jobs)
        except Missing:
            continue  # deleted since
    return ended


def end_expired(tx: Transaction, run: Run, jobs: list[uuid.UUID]) -> int:
    ended = 0
    for job_id in jobs:
        job = load_job(tx, run, job_id)
        lease = live_lease(tx, run, job)
        # A heartbeat, a report or another clock may have been here in between.
        if lease is None or lease.stilled_at is not None or lease.expires_at > run.now:
            continue
        if job.status not in LEASED:
            continue
        bench = Bench(tx, run, job, lease, "clock")
        if lease.started_at is None:
            hand_back(bench, None, "lease_expired", "expired")
        else:
            lose(bench, "lost", "Its lease ran out: nothing was heard in time.", "expired")
        run.change_lease(lease)
        ended += 1
    settle(tx, run)
    run.write(tx)
    return ended


def sweep_bell(database: Database) -> int:
    """Puts on offer what waited for its time, and rings every lane that has work on offer."""
    offered = 0
    with database.transaction() as tx:
        due = tx.execute(DUE, {"now": tx.now, "batch": BATCH}).fetchall()
    for row in due:
        try:
            with database.transaction() as tx:
                run = hold(tx, row["execution_id"])
                if run.execution.serving:
                    run.renew_offers(tx)
                    run.write(tx)
                    offered += 1
        except Missing:
            continue
    with database.transaction() as tx:
        for row in tx.execute(OFFERED_LANES).fetchall():
            tx.outgoing.rings[row["lane"]] += 1
    return offered


def sweep_executions(database: Database) -> int:
    """Fails the executions whose deadline has passed."""
    ended = 0
    with database.transaction() as tx:
        found = tx.execute(LATE, {"now": tx.now, "batch": BATCH}).fetchall()
    for row in found:
        try:
            with database.transaction() as tx:
                run = hold(tx, row["id"])
                deadline = run.execution.deadline_at
                if run.execution.serving and deadline is not None and deadline <= run.now:
                    time_out(tx, run)
                    ended += 1
        except Missing:
            continue
    return ended


EXPIRED: Final = """
SELECT execution_id, job_id FROM leases
WHERE ended_at IS NULL AND stilled_at IS NULL AND expires_at <= %(now)s
ORDER BY expires_at LIMIT %(batch)s
"""
DUE: Final = """
SELECT DISTINCT j.execution_id FROM jobs j JOIN executions e ON e.id = j.execution_id
WHERE j.status = 'ready' AND NOT j.offered AND j.not_before <= %(now)s
  AND e.status IN ('queued', 'running', 'blocked')
LIMIT %(batch)s
"""
# A loose walk over the index jobs_offered: one step a lane, however many jobs are on offer.
OFFERED_LANES: Final = """
WITH RECURSIVE lanes AS (
  (SELECT lane FROM jobs WHERE offered ORDER BY lane LIMIT 1)
  UNION ALL
  SELECT (SELECT j.lane FROM jobs j WHERE j.offered AND j.lane > lanes.lane
          ORDER BY j.lane LIMIT 1)
  FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT lane FROM lanes WHERE lane IS NOT NULL
"""
LATE: Final = """
SELECT id FROM executions
WHERE status IN ('queued', 'running', 'blocked') AND deadline_at <= %(now)s
ORDER BY deadline_at LIMIT %(batch)s
"""
