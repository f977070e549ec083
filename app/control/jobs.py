"""What people do to one job: retry, skip, complete by hand, cancel, assign, break down."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from app.checkpoints.asking import withdraw
from app.control.steering import reopen, requeue
from app.db import Json, Row, Transaction
from app.errors import Missing, Refused
from app.executions.breakdown import break_down
from app.executions.lanes import lane_of
from app.executions.loading import load_job
from app.executions.rows import Job
from app.executions.run import Run
from app.handoff.leases import live_lease
from app.handoff.settling import settle


def retry(tx: Transaction, run: Run, job_id: uuid.UUID, *, actor: str, reason: str = "") -> Job:
    """New attempts for a job that failed or was cancelled, or that is blocked."""
    job = load_job(tx, run, job_id)
    refuse_cancelled(run)
    if run.execution.status == "failed":
        reopen(tx, run, actor=actor, reason="A job is retried.")
    if job.status == "blocked":
        job.attempts_used = 0
        job.returns = 0
        job.not_before = None
        unblock(run, job, actor=actor, reason=reason)
    else:
        requeue(tx, run, [job], actor=actor, reason=reason)
    return finish(tx, run, job)


def unblock(run: Run, job: Job, *, actor: str, reason: str = "") -> None:
    job.recheck_at = None
    job.give_up_at = None
    run.move(job, "job_unblocked", "ready", actor=actor, message=reason)


def skip(tx: Transaction, run: Run, job_id: uuid.UUID, *, actor: str, reason: str) -> Job:
    job = load_job(tx, run, job_id)
    refuse_cancelled(run)
    refuse_held(job)
    end_lease(tx, run, job, "cancelled")
    run.move(job, "job_skipped", "skipped", actor=actor, message=reason)
    return finish(tx, run, job)


def complete(
    tx: Transaction, run: Run, job_id: uuid.UUID, *, actor: str, output: Any, reason: str = ""
) -> Job:
    """A person did it, or found it done."""
    job = load_job(tx, run, job_id)
    refuse_cancelled(run)
    refuse_held(job)
    job.result = output
    run.move(job, "job_completed", "completed", actor=actor, message=reason, data={"by_hand": True})
    return finish(tx, run, job)


def cancel(tx: Transaction, run: Run, job_id: uuid.UUID, *, actor: str, reason: str = "") -> Job:
    job = load_job(tx, run, job_id)
    refuse_cancelled(run)
    end_lease(tx, run, job, "cancelled")
    run.move(job, "job_cancelled", "cancelled", actor=actor, message=reason)
    return finish(tx, run, job)


def fail(tx: Transaction, run: Run, job_id: uuid.UUID, *, actor: str, reason: str) -> Job:
    job = load_job(tx, run, job_id)
    refuse_cancelled(run)
    end_lease(tx, run, job, "failed")
    job.error = {"class": "rejected", "message": reason}
    run.move(job, "job_failed", "failed", actor=actor, message=reason)
    return finish(tx, run, job)


def assign(
    tx: Transaction, run: Run, job_id: uuid.UUID, agent_id: uuid.UUID | None, *, actor: str
) -> Job:
    """Pins a job to one agent; to none: back to the lane of its action, people's jobs too."""
    job = load_job(tx, run, job_id)
    refuse_cancelled(run)
    refuse_held(job)
    if job.ended:
        raise Refused(f"Job {job.code} is {job.status} already.", hint="Retry it first.")
    if agent_id is not None:
        known = tx.execute(ASSIGNABLE, {"agent": agent_id}).fetchone()
        if known is None:
            raise Missing("There is no such agent that works.", hint="GET /api/agents lists them.")
    reserved = run.execution.id if home_of(tx, job)["reserved"] else None
    move_to_lane(
        run,
        job,
        lane_of(job.action, agent=agent_id, reserved=reserved),
        actor=actor,
        agent=agent_id,
    )
    if job.status == "blocked":
        # Reassigning is one of the ways out that were offered: it answers the question.
        job.attempts_used = 0
        job.returns = 0
        job.not_before = None
        unblock(run, job, actor=actor, reason="Assigned anew.")
        return finish(tx, run, job)
    if job.status == "waiting":
        # Its question stays; whoever asked it does not get the job back.
        end_lease(tx, run, job, "released")
    settle(tx, run)
    run.write(tx)
    return job


def move_to_lane(
    run: Run, job: Job, lane: str, *, actor: str, agent: uuid.UUID | None = None
) -> None:
    """A ready job that is on offer is on offer in its new lane."""
    was_offered = job.offered
    run.offer(job, False)
    job.lane = lane
    run.offer(job, was_offered)
    run.change(job)
    run.log("job_assigned", actor=actor, job=job, agent=agent, data={"lane": job.lane})


def home_of(tx: Transaction, job: Job) -> Row:
    """Where a job queues that nobody assigned: whether people do it, whether agents were chosen."""
    return tx.fetch(HOME, {"job": job.id})


def decompose(
    tx: Transaction, run: Run, job_id: uuid.UUID, parts: Sequence[Json], *, actor: str
) -> Job:
    job = load_job(tx, run, job_id)
    refuse_cancelled(run)
    refuse_held(job)
    end_lease(tx, run, job, "superseded")
    break_down(tx, run, job, parts, actor=actor)
    return finish(tx, run, job)


def finish(tx: Transaction, run: Run, job: Job) -> Job:
    """What every change by a person ends with: old questions go, successors and the run settle."""
    withdraw(tx, job)
    settle(tx, run)
    run.write(tx)
    return job


def refuse_cancelled(run: Run) -> None:
    if run.execution.status in ("cancelled", "completed", "created"):
        raise Refused(
            f"The execution is {run.execution.status}; its jobs stay as they are.",
            hint="Start it first."
            if run.execution.status == "created"
            else "Start a new execution from its plan.",
            status=run.execution.status,
        )


def refuse_held(job: Job) -> None:
    if job.status in ("leased", "running"):
        raise Refused(
            f"Job {job.code} is in an agent's hands.",
            hint="Cancel it first, or wait until it is handed back.",
            job_status=job.status,
        )


def end_lease(tx: Transaction, run: Run, job: Job, outcome: str) -> None:
    lease = live_lease(tx, run, job)
    if lease is not None:
        lease.end(outcome, run.now)
        run.change_lease(lease)


# Whoever retires it waits for us: else what is pinned to it now would stay pinned for ever.
ASSIGNABLE = "SELECT 1 FROM agents WHERE id = %(agent)s AND status <> 'retired' FOR KEY SHARE"
HOME = """
SELECT EXISTS (SELECT FROM engagements g WHERE g.execution_id = j.execution_id) AS reserved,
  coalesce(NOT t.agent_executable OR t.tier = 3 OR t.decomposition_confidence < e.threshold, false)
    AS human
FROM jobs j JOIN executions e ON e.id = j.execution_id
LEFT JOIN plan_tasks t ON t.id = j.plan_task_id WHERE j.id = %(job)s
"""
