"""The two state machines, as data, and the verdicts that need nothing but what they are handed.

`app.executions.run` is the only writer of a status; it asks here whether a move exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Execution: who may take work from it, where it ends, and which moves exist.
SERVING: Final = frozenset({"queued", "running", "blocked"})
ENDED: Final = frozenset({"completed", "failed", "cancelled"})

EXECUTION_MOVES: Final[dict[str, frozenset[str]]] = {
    "created": frozenset({"queued", "cancelled"}),
    "queued": frozenset({"running", "blocked", "paused", "completed", "failed", "cancelled"}),
    "running": frozenset({"blocked", "paused", "completed", "failed", "cancelled"}),
    "blocked": frozenset({"queued", "running", "paused", "completed", "failed", "cancelled"}),
    "paused": frozenset({"queued", "running", "blocked", "completed", "failed", "cancelled"}),
    "failed": frozenset({"queued", "cancelled"}),
    "completed": frozenset(),
    "cancelled": frozenset(),
}

# Job: each event, the states that it leaves and those that it may lead to.
JOB_MOVES: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    event: (frozenset(sources.split()), frozenset(targets.split()))
    for event, sources, targets in (
        ("job_ready", "pending", "ready"),
        ("job_leased", "ready", "leased"),
        ("job_started", "leased", "running"),
        ("job_released", "leased running", "ready"),
        ("lease_expired", "leased running", "ready"),
        ("job_retrying", "leased running", "ready"),
        ("checkpoint_opened", "pending leased running", "waiting"),
        ("checkpoint_decided", "waiting", "running ready completed"),
        ("job_blocked", "leased running", "blocked"),
        ("job_escalated", "leased running ready", "blocked"),
        ("job_unblocked", "blocked", "ready"),
        ("job_completed", "leased running ready blocked", "completed"),
        ("job_failed", "leased running waiting blocked ready", "failed"),
        ("job_cancelled", "pending ready leased running waiting blocked", "cancelled"),
        # Leased and running only where the job was broken down: a person cannot skip them.
        ("job_skipped", "pending ready leased running waiting blocked failed", "skipped"),
        # Pending where a prerequisite is not done yet: it was cancelled before its turn.
        ("job_requeued", "failed cancelled", "ready pending"),
    )
}

DONE: Final = frozenset({"completed", "skipped"})
FINAL: Final = frozenset({"completed", "skipped", "failed", "cancelled"})
LEASED: Final = frozenset({"leased", "running"})
MOVING: Final = frozenset({"ready", "leased", "running", "waiting", "blocked"})


def settled(status: str, *, open_jobs: int, moving_jobs: int) -> str | None:
    """Where an execution goes by itself once a job has ended, if anywhere.

    `open_jobs` are those not optional and not yet done; `moving_jobs` those of which something can
    still come. When nothing moves and something is open, what is open waits behind a failure.
    """
    if status not in SERVING and status != "paused":
        return None
    if open_jobs == 0:
        return "completed"
    if moving_jobs == 0:
        return "failed"
    return None


def replay(events: Iterable[tuple[str, str | None, str | None]]) -> dict[str, str]:
    """Job statuses from the log alone, given (type, job, status it led to) in order.

    Jobs of which the log says nothing are pending. domain.md, what always holds, number 10.
    """
    statuses: dict[str, str] = {}
    for event, job, status in events:
        if event not in JOB_MOVES or job is None:
            continue
        sources, targets = JOB_MOVES[event]
        if status not in targets or statuses.get(job, "pending") not in sources:
            raise ValueError(f"the log moves {job} by {event} from {statuses.get(job)} to {status}")
        statuses[job] = status
    return statuses
