"""Retiring an agent: its jobs go back to the queue, and what was pinned to it is unpinned."""

from __future__ import annotations

import uuid
from typing import Final

from app.control.jobs import home_of, move_to_lane
from app.db import Transaction
from app.executions.lanes import lane_of
from app.executions.loading import load_job
from app.executions.run import hold
from app.handoff.judging import Bench, hand_back
from app.handoff.leases import live_lease
from app.handoff.settling import settle


def hand_jobs_back(tx: Transaction, agent_id: uuid.UUID, *, actor: str) -> int:
    """Executions are held in the order of their ids, as everywhere."""
    handed = 0
    rows = tx.execute(CONCERNED, {"agent": agent_id, "lane": lane_of("", agent=agent_id)})
    for execution in [row["execution_id"] for row in rows.fetchall()]:
        run = hold(tx, execution)
        held = tx.execute(HELD, {"agent": agent_id, "execution": execution}).fetchall()
        for job_id in [row["job_id"] for row in held]:
            job = load_job(tx, run, job_id)
            lease = live_lease(tx, run, job)
            if lease is None:
                continue
            bench = Bench(tx, run, job, lease, actor)
            if job.status == "waiting":
                lease.end("released", run.now)
            else:
                hand_back(bench, None, "job_released", "released")
            run.change_lease(lease)
            handed += 1
        pinned = {"agent_lane": lane_of("", agent=agent_id), "execution": execution}
        for row in tx.execute(PINNED, pinned).fetchall():
            job = load_job(tx, run, row["id"])
            home = home_of(tx, job)
            lane = lane_of(
                job.action,
                human=home["human"],
                reserved=execution if home["reserved"] else None,
            )
            move_to_lane(run, job, lane, actor=actor)
        settle(tx, run)
        run.write(tx)
    return handed


CONCERNED: Final = """
SELECT execution_id FROM leases WHERE agent_id = %(agent)s AND ended_at IS NULL
UNION
SELECT execution_id FROM jobs WHERE lane = %(lane)s
  AND status NOT IN ('completed', 'skipped', 'failed', 'cancelled')
ORDER BY execution_id
"""
HELD: Final = """
SELECT job_id FROM leases
WHERE agent_id = %(agent)s AND execution_id = %(execution)s AND ended_at IS NULL ORDER BY job_id
"""
PINNED: Final = """
SELECT id FROM jobs WHERE execution_id = %(execution)s AND lane = %(agent_lane)s
  AND status NOT IN ('completed', 'skipped', 'failed', 'cancelled') ORDER BY id
"""
