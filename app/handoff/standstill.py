"""Pausing an execution: nothing is handed out, and the clocks of what is out stand still."""

from __future__ import annotations

from app.checkpoints.asking import ask
from app.db import Transaction
from app.executions.rows import Execution
from app.executions.run import Run
from app.handoff.leases import live_leases


def pause(tx: Transaction, run: Run, *, actor: str, reason: str) -> int:
    number = run.move_execution("paused", "execution_paused", actor=actor, reason=reason)
    for lease in live_leases(tx, run).values():
        lease.still(run.now)
        run.change_lease(lease)
    run.withdraw_offers(tx)
    return number


def resume(tx: Transaction, run: Run, *, actor: str, reason: str) -> int:
    """As if never paused: the time that it took is given back to the deadline and to the leases."""
    execution = run.execution
    assert execution.paused_at is not None
    if execution.deadline_at is not None:
        execution.deadline_at += run.now - execution.paused_at
    busy = execution.started_at is not None
    number = run.move_execution(
        "running" if busy else "queued", "execution_resumed", actor=actor, reason=reason
    )
    waiting = waiting_jobs(tx, run)
    for lease in live_leases(tx, run).values():
        if lease.job_id not in waiting:
            lease.go_on(run.now)
            run.change_lease(lease)
    run.renew_offers(tx)
    return number


def overspent(execution: Execution) -> bool:
    tokens, usd = execution.budget_tokens, execution.budget_usd
    return (tokens is not None and execution.spent_tokens >= tokens) or (
        usd is not None and execution.spent_usd >= usd
    )


def keep_to_budget(tx: Transaction, run: Run) -> None:
    """Reaching the budget pauses the execution and asks; whoever changes either calls this."""
    execution = run.execution
    if not execution.serving or not overspent(execution):
        return
    pause(tx, run, actor="taskyard", reason="The budget is spent.")
    ask(
        tx,
        run,
        kind="question",
        title="The budget is spent. Raise it and resume, or cancel?",
        asked_by="taskyard",
        data={"tokens": execution.spent_tokens, "usd": float(execution.spent_usd)},
    )


def waiting_jobs(tx: Transaction, run: Run) -> set[object]:
    rows = tx.execute(WAITING, {"execution": run.execution.id}).fetchall()
    return {row["id"] for row in rows}


WAITING = "SELECT id FROM jobs WHERE execution_id = %(execution)s AND status = 'waiting'"
