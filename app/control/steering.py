"""What people do to a run: pause, resume, cancel, retry. One operation each, for all doors."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from app.checkpoints.asking import allowed_to_start, withdraw_all, withdraw_aside
from app.db import Transaction
from app.errors import Refused
from app.executions.loading import load_by_status, prerequisites_open
from app.executions.rows import Job
from app.executions.run import Run
from app.executions.states import ENDED
from app.handoff import standstill
from app.handoff.leases import live_leases
from app.handoff.settling import drop_leftovers, settle


def pause(tx: Transaction, run: Run, *, actor: str, reason: str = "") -> None:
    standstill.pause(tx, run, actor=actor, reason=reason or "Paused by a person.")
    run.write(tx)


def resume(tx: Transaction, run: Run, *, actor: str, reason: str = "") -> None:
    if run.execution.status != "paused":
        raise Refused(
            f"The execution is {run.execution.status}, not paused.",
            hint="Only a paused execution can be resumed.",
            status=run.execution.status,
        )
    refuse_overspent(run)
    withdraw_aside(tx, run)
    standstill.resume(tx, run, actor=actor, reason=reason or "Resumed by a person.")
    settle(tx, run)
    run.write(tx)


def cancel(tx: Transaction, run: Run, *, actor: str, reason: str = "") -> None:
    """Final. Whoever holds a lease is told at the next call; no completion is taken any more."""
    run.move_execution(
        "cancelled", "execution_cancelled", actor=actor, reason=reason or "Cancelled by a person."
    )
    drop_leftovers(tx, run)
    withdraw_all(tx, run)
    run.write(tx)


def retry(tx: Transaction, run: Run, *, actor: str, reason: str = "") -> None:
    """Failed and cancelled jobs get new attempts; after a time-out the deadline starts anew."""
    execution = run.execution
    if execution.status != "failed":
        raise Refused(
            f"The execution is {execution.status}; only a failed one can be retried.",
            hint="Retry single jobs instead, with POST …/jobs/{job}/retry.",
            status=execution.status,
        )
    reopen(tx, run, actor=actor, reason=reason or "Retried by a person.")
    requeue(tx, run, load_by_status(tx, run, ("failed", "cancelled")), actor=actor)
    settle(tx, run)
    run.write(tx)


def reopen(tx: Transaction, run: Run, *, actor: str, reason: str) -> None:
    """A failed execution is queued again, whether all of it is retried or one job."""
    execution = run.execution
    refuse_overspent(run)
    if execution.timed_out:
        execution.timed_out = False
        if execution.timeout_seconds is not None:
            execution.deadline_at = run.now + dt.timedelta(seconds=execution.timeout_seconds)
    run.move_execution("queued", "execution_retried", actor=actor, reason=reason)
    run.renew_offers(tx)


def refuse_overspent(run: Run) -> None:
    if standstill.overspent(run.execution):
        raise Refused(
            "The budget is spent.",
            hint="Raise it in the same call, with PATCH {action, budget}, or cancel.",
            status=run.execution.status,
        )


def requeue(
    tx: Transaction, run: Run, jobs: Sequence[Job], *, actor: str, reason: str = ""
) -> None:
    """New attempts. What nobody allowed to start is asked about again, or a retry would do what
    the approval forbids."""
    ids = [job.id for job in jobs]
    behind, allowed = prerequisites_open(tx, ids), allowed_to_start(tx, ids)
    for job in jobs:
        job.attempts_used = 0
        job.returns = 0
        job.not_before = None
        asked_first = job.approval == "before" and job.id not in allowed
        to = "pending" if behind[job.id] or asked_first else "ready"
        run.move(job, "job_requeued", to, actor=actor, message=reason)
        if asked_first and not behind[job.id]:
            run.freed.append(job)


def time_out(tx: Transaction, run: Run) -> None:
    """The deadline passed: leases end, their jobs are ready again, nothing is handed out."""
    run.execution.timed_out = True
    run.move_execution(
        "failed",
        "execution_timed_out",
        actor="clock",
        reason="Its deadline passed before its jobs were done.",
    )
    leases = live_leases(tx, run)
    for job in load_by_status(tx, run, ("leased", "running")):
        run.move(job, "job_released", "ready", actor="clock", message="The deadline passed.")
    for lease in leases.values():
        lease.end("timed_out", run.now)
        run.change_lease(lease)
    run.withdraw_offers(tx)
    run.write(tx)


def ended(run: Run) -> bool:
    return run.execution.status in ENDED
