"""An execution in the hands of one transaction: the only writer of a status.

Whoever changes anything of an execution first locks its row (`hold`), so that within an execution
everything happens one after the other: numbers have no gaps, verdicts see what is. Moves are made
in memory and written by one guarded statement, which leaves in one flight with the commit.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Final

from app.db import Json, Transaction, new_id
from app.errors import Missing, Refused
from app.executions.rows import (
    EXECUTION_COLUMNS,
    EXECUTION_WIDTH,
    Execution,
    Job,
    Lease,
    execution_of,
)
from app.executions.states import (
    DONE,
    ENDED,
    EXECUTION_MOVES,
    FINAL,
    JOB_MOVES,
    LEASED,
    MOVING,
    settled,
)
from app.executions.writing import Changes, written


class Run:
    """A held execution, the jobs of it that were read, and what happens to them."""

    def __init__(self, execution: Execution, now: dt.datetime) -> None:
        self.execution = execution
        self.now = now
        self.jobs: dict[uuid.UUID, Job] = {}
        self.leases: dict[uuid.UUID, Lease] = {}
        self.successors: dict[uuid.UUID, list[Job]] = {}
        self.freed: list[Job] = []  # nothing stands before them any more; `settle` sends them on
        self.rings: dict[str, int] = {}
        self._events: list[Json] = []
        self._changed_jobs: dict[uuid.UUID, Job] = {}
        self._changed_leases: dict[uuid.UUID, Lease] = {}
        self._new_leases: dict[uuid.UUID, Lease] = {}
        self._changed = False

    def add(self, job: Job) -> Job:
        """Takes a job into the run. One that is known already stays as it has become."""
        return self.jobs.setdefault(job.id, job)

    def add_lease(self, lease: Lease) -> Lease:
        """The same for a lease."""
        return self.leases.setdefault(lease.id, lease)

    def new_lease(self, lease: Lease) -> None:
        self._new_leases[lease.id] = self.add_lease(lease)

    def change_lease(self, lease: Lease) -> None:
        if lease.id not in self._new_leases:
            self._changed_leases[lease.id] = lease

    def follow(self, prerequisite: uuid.UUID, job: Job) -> None:
        self.successors.setdefault(prerequisite, []).append(self.add(job))

    def log(
        self,
        event: str,
        *,
        actor: str,
        job: Job | None = None,
        agent: uuid.UUID | None = None,
        message: str = "",
        data: Json | None = None,
        agent_timestamp: dt.datetime | None = None,
    ) -> int:
        """Appends a line to the execution's log and gives its number."""
        execution = self.execution
        execution.last_event += 1
        self._events.append(
            {
                "id": new_id(),
                "execution_id": execution.id,
                "number": execution.last_event,
                "type": event,
                "job_id": None if job is None else job.id,
                "agent_id": agent,
                "actor": actor,
                "message": message,
                "data": data or {},
                "agent_timestamp": agent_timestamp,
            }
        )
        return execution.last_event

    def move(
        self,
        job: Job,
        event: str,
        to: str,
        *,
        actor: str,
        agent: uuid.UUID | None = None,
        message: str = "",
        data: Json | None = None,
        agent_timestamp: dt.datetime | None = None,
    ) -> int:
        """The one way in which a job changes its status. The event's number is the answer."""
        sources, targets = JOB_MOVES[event]
        if job.status not in sources or to not in targets:
            raise Refused(
                f"Job {job.code} is {job.status}, which does not go to {to}.",
                hint="Look at the job again; somebody may have been faster.",
                job_status=job.status,
            )
        self._count(job, to)
        self.change(job)
        was, job.status = job.status, to
        if was == "ready":
            self.offer(job, False)
            job.not_before = None
        if was == "blocked":
            job.recheck_at = None
        if to == "ready":
            job.ready_at = self.now
            due = job.not_before is None or job.not_before <= self.now
            self.offer(job, due and self.execution.serving)
        if to == "pending":
            job.ready_at = None
        if to in DONE:
            self._free_successors(job)
        return self.log(
            event,
            actor=actor,
            job=job,
            agent=agent,
            message=message,
            data={**(data or {}), "status": to},
            agent_timestamp=agent_timestamp,
        )

    def offer(self, job: Job, offered: bool) -> None:
        """Puts a ready job on offer to claims or withdraws it, and counts the ring it is worth."""
        if job.offered != offered:
            self.rings[job.lane] = self.rings.get(job.lane, 0) + (1 if offered else -1)
            job.offered = offered
            self.change(job)

    def change(self, job: Job) -> None:
        """Says that a job's columns changed: it is written with the run."""
        self._changed_jobs[job.id] = job

    def _count(self, job: Job, to: str) -> None:
        execution, was = self.execution, job.status
        live = (to in LEASED) - (was in LEASED)
        execution.live_leases += live
        execution.moving_jobs += (to in MOVING) - (was in MOVING)
        over = (to in FINAL) - (was in FINAL)
        execution.unfinished_jobs -= over
        if over:
            job.finished_at = self.now if over > 0 else None
        done = (to in DONE) - (was in DONE)
        execution.finished_weight += done * job.weight
        if not job.optional:
            execution.open_jobs -= done
        if was == "leased" and to in ("running", "completed") and job.started_at is None:
            job.started_at = self.now

    def _free_successors(self, job: Job) -> None:
        for successor in self.successors.get(job.id, ()):
            successor.open_prerequisites -= 1
            self.change(successor)
            if successor.open_prerequisites == 0 and successor.status == "pending":
                self.freed.append(successor)

    def move_execution(
        self, to: str, event: str, *, actor: str, reason: str, data: Json | None = None
    ) -> int:
        """The one way in which an execution changes its status."""
        execution = self.execution
        if to not in EXECUTION_MOVES[execution.status]:
            raise Refused(
                f"The execution is {execution.status}, which does not go to {to}.",
                hint=NEXT_STEPS.get(execution.status),
                status=execution.status,
            )
        execution.status = to
        execution.status_reason = reason
        execution.paused_at = self.now if to == "paused" else None
        execution.finished_at = self.now if to in ENDED else None
        if to == "running" and execution.started_at is None:
            execution.started_at = self.now
        return self.log(event, actor=actor, message=reason, data={**(data or {}), "status": to})

    def settle(self) -> None:
        """Ends the execution where its jobs say so."""
        execution = self.execution
        end = settled(
            execution.status, open_jobs=execution.open_jobs, moving_jobs=execution.moving_jobs
        )
        if end == "completed":
            self.move_execution(
                "completed",
                "execution_completed",
                actor="taskyard",
                reason="Every job that is not optional is done.",
            )
        elif end == "failed":
            self.move_execution(
                "failed",
                "execution_failed",
                actor="taskyard",
                reason="A job failed or was cancelled, and nothing else can move.",
            )

    def withdraw_offers(self, tx: Transaction) -> None:
        """Nothing of this execution may be claimed from now on."""
        for job in self.jobs.values():
            if job.offered:
                self.offer(job, False)
        tx.later(WITHDRAW_OFFERS, {"execution": self.execution.id})

    def renew_offers(self, tx: Transaction) -> None:
        """What is ready may be claimed again, unless its backoff is not over."""
        rows = tx.execute(RENEW_OFFERS, {"execution": self.execution.id, "now": self.now})
        for row in rows.fetchall():
            self.touch()  # what is not written rings for nobody
            known = self.jobs.get(row["id"])
            if known is not None:
                known.offered = True
            self.rings[row["lane"]] = self.rings.get(row["lane"], 0) + 1

    def touch(self) -> None:
        """Says that the execution's own columns changed, though no event tells of it."""
        self._changed = True

    @property
    def changed(self) -> bool:
        return bool(self._events or self._changed_jobs or self._changed_leases or self._changed)

    def write(self, tx: Transaction) -> None:
        """Queues everything that changed, to leave in one flight with the commit."""
        write_runs(tx, [self])

    def changes(self) -> Changes:
        return Changes(
            self.execution,
            list(self._changed_jobs.values()),
            list(self._new_leases.values()),
            list(self._changed_leases.values()),
            self._events,
        )


def write_runs(tx: Transaction, runs: Iterable[Run]) -> None:
    """Queues the changes of several runs in one statement."""
    changed = [run for run in runs if run.changed]
    if not changed:
        return
    assert not any(run.freed for run in changed), "freed jobs were left behind: settle the run"
    tx.later(*written(changed[0].now, [run.changes() for run in changed]))
    for run in changed:
        for lane, on_offer in run.rings.items():
            tx.outgoing.rings[lane] += on_offer
        tx.outgoing.nudges.add(run.execution.id)


def hold(tx: Transaction, execution_id: uuid.UUID) -> Run:
    """Locks an execution's row, waiting for it. Nothing else may be locked before."""
    rows = tx.rows(HOLD, {"execution": execution_id})
    if not rows:
        raise Missing("There is no such execution.", hint="GET /api/executions lists yours.")
    return Run(execution_of(rows[0]), tx.read_now(rows[0][EXECUTION_WIDTH]))


HOLD: Final = f"""
SELECT {EXECUTION_COLUMNS}, now() FROM executions e WHERE e.id = %(execution)s FOR NO KEY UPDATE
"""

WITHDRAW_OFFERS: Final = """
UPDATE jobs SET offered = false, updated_at = now() WHERE execution_id = %(execution)s AND offered
"""
RENEW_OFFERS: Final = """
UPDATE jobs SET offered = true, updated_at = now()
WHERE execution_id = %(execution)s AND status = 'ready' AND NOT offered
  AND (not_before IS NULL OR not_before <= %(now)s)
RETURNING id, lane
"""

NEXT_STEPS: Final = {
    "created": "Start it first.",
    "completed": "A completed execution is final; start a new one from its plan.",
    "cancelled": "A cancelled execution is final; start a new one from its plan.",
    "failed": "Retry it: failed and cancelled jobs get new attempts.",
    "paused": "Resume it first.",
}
