"""What follows when jobs have ended: successors go on, and the execution settles."""

from __future__ import annotations

from app.checkpoints.asking import ask, withdraw, withdraw_aside
from app.db import Transaction
from app.executions.loading import load_unfinished
from app.executions.run import Run
from app.handoff.leases import live_leases


def settle(tx: Transaction, run: Run) -> None:
    """Every transaction that ends a job calls this before it writes the run."""
    while run.freed:
        freed, run.freed = run.freed, []
        for job in freed:
            if job.approval != "before":
                run.move(job, "job_ready", "ready", actor="taskyard")
                continue
            run.move(job, "checkpoint_opened", "waiting", actor="taskyard")
            ask(
                tx,
                run,
                kind="approval",
                title=f"Start {job.code} {job.title}?",
                asked_by="taskyard",
                job=job,
                stage="before",
                data={"action": job.action, "params": job.params},
            )
    run.settle()
    if run.execution.status == "completed":
        withdraw_aside(tx, run)
    if run.execution.status in ("completed", "cancelled") and run.execution.unfinished_jobs:
        drop_leftovers(tx, run)


def drop_leftovers(tx: Transaction, run: Run) -> None:
    """Cancels what is unfinished in an execution that has ended, and ends the leases of it."""
    leases = live_leases(tx, run)
    for job in load_unfinished(tx, run):
        run.move(job, "job_cancelled", "cancelled", actor="taskyard", message="Its run has ended.")
        withdraw(tx, job)
        lease = leases.get(job.id)
        if lease is not None:
            lease.end("cancelled", run.now)
            run.change_lease(lease)
