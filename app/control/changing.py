"""What people change of a run while it is there: its name, priority, deadline, budget."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from app.db import Json, Transaction
from app.errors import Fault, Invalid, Refused
from app.executions.run import NEXT_STEPS, Run
from app.handoff.standstill import keep_to_budget

FINAL: Final = ("completed", "cancelled")
CHANGEABLE: Final = ("name", "priority", "deadline_at", "budget_tokens", "budget_usd")


def change(tx: Transaction, run: Run, asked: Mapping[str, Any], *, actor: str) -> Json:
    """Sets what is named. The answer tells what was and what is, of what differs.

    Whoever goes on with the run writes it; whoever does not calls `finish`.
    """
    execution = run.execution
    if execution.status in FINAL and set(asked) - {"name"}:
        raise Refused(
            f"The execution is {execution.status}; of it only the name can change.",
            hint=NEXT_STEPS[execution.status],
            status=execution.status,
        )
    row = tx.fetch(DETAILS, {"id": execution.id})
    details = {name: row[name] for name in ("name", "priority", "timeout_seconds")}
    changed: Json = {}
    for name, value in asked.items():
        assert name in CHANGEABLE
        was = details[name] if name in details else getattr(execution, name)
        if name == "deadline_at":
            value = stored_deadline(run, value)
            details["timeout_seconds"] = length_of(run, value)
        if value == was:
            continue
        changed[name] = {"from": was, "to": value}
        if name in details:
            details[name] = value
        else:
            setattr(execution, name, value)
    if not changed:
        return changed
    run.log("execution_changed", actor=actor, data={"changed": changed})
    tx.later(WRITE_DETAILS, {"id": execution.id, **details})
    if "priority" in changed:
        # Jobs that the plan gave a priority of their own keep it.
        told = changed["priority"]
        tx.later(FOLLOW, {"id": execution.id, "was": told["from"], "is": told["to"]})
    return changed


def finish(tx: Transaction, run: Run) -> None:
    keep_to_budget(tx, run)
    run.write(tx)


def stored_deadline(run: Run, told: dt.datetime | None) -> dt.datetime | None:
    """While paused the deadline moves on with the clock, and a resume adds all of the pause."""
    if told is None:
        return None
    if told <= run.now:
        raise Invalid(
            "The deadline has passed already.",
            [Fault("/deadline", "must lie in the future")],
            hint="Name a later time, or null for no deadline.",
        )
    paused_at = run.execution.paused_at
    return told if paused_at is None else told - (run.now - paused_at)


def length_of(run: Run, deadline: dt.datetime | None) -> int | None:
    """How long the execution gets when it starts anew after a time-out."""
    if deadline is None:
        return None
    since = run.execution.paused_at or run.now
    return min(2**31 - 1, max(1, int((deadline - since).total_seconds())))


DETAILS: Final = "SELECT name, priority, timeout_seconds FROM executions WHERE id = %(id)s"
WRITE_DETAILS: Final = """
UPDATE executions SET name = %(name)s, priority = %(priority)s,
  timeout_seconds = %(timeout_seconds)s, updated_at = now() WHERE id = %(id)s
"""
FOLLOW: Final = """
UPDATE jobs SET priority = %(is)s, updated_at = now()
WHERE execution_id = %(id)s AND priority = %(was)s
  AND status NOT IN ('completed', 'skipped', 'cancelled')
"""
