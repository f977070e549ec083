"""What a decision does to the job that waited for it."""

from __future__ import annotations

import uuid

from app.checkpoints.deciding import Verdict, find, record
from app.control.jobs import unblock
from app.db import Row, Transaction
from app.errors import Refused
from app.executions.loading import load_job
from app.executions.rows import Job, Lease
from app.executions.run import Run, hold
from app.handoff.leases import live_lease
from app.handoff.settling import settle


def decide(
    tx: Transaction,
    checkpoint_id: uuid.UUID,
    verdict: Verdict,
    *,
    actor: str,
    by: uuid.UUID | None,
    address: str = "",
) -> Row:
    """The checkpoint as decided. Its execution is held first, then the checkpoint is read again."""
    run = hold(tx, find(tx, checkpoint_id)["execution_id"])
    checkpoint = find(tx, checkpoint_id, lock=True)
    record(tx, run, checkpoint, verdict, by=by, address=address)
    if checkpoint["job_id"] is None or not checkpoint["blocking"]:
        run.log(
            "checkpoint_decided_aside",
            actor=actor,
            message=verdict.reason,
            data={"checkpoint_id": checkpoint_id, **verdict.told()},
        )
    else:
        job = load_job(tx, run, checkpoint["job_id"])
        job.answers = [*job.answers, {"title": checkpoint["title"], **verdict.told()}]
        run.change(job)
        lease = live_lease(tx, run, job)
        if job.status == "waiting":
            answer_waiting(run, job, lease, checkpoint, verdict, actor)
        elif job.status == "blocked":
            answer_blocked(run, job, verdict, actor)
        else:
            raise Refused(
                f"Job {job.code} is {job.status}; it waits for no answer any more.",
                hint="Look at the job again.",
                job_status=job.status,
            )
        if lease is not None:
            run.change_lease(lease)
        settle(tx, run)
    run.write(tx)
    return find(tx, checkpoint_id)


def answer_waiting(
    run: Run, job: Job, lease: Lease | None, checkpoint: Row, verdict: Verdict, actor: str
) -> None:
    data = {"checkpoint_id": checkpoint["id"], **verdict.told()}
    if verdict.decision == "reject":
        if lease is not None:
            lease.end("failed", run.now)
        job.error = {"class": "rejected", "message": verdict.reason}
        run.move(job, "job_failed", "failed", actor=actor, message=verdict.reason, data=data)
        return
    after = checkpoint["stage"] == "after"
    if after and verdict.decision == "approve":
        if verdict.data is not None:
            job.result = verdict.data
        to = "completed"
    elif lease is not None and verdict.decision != "send_back":
        if run.execution.status != "paused":
            lease.go_on(run.now)
        to = "running"
    else:
        if lease is not None:
            lease.end("released", run.now)
        to = "ready"
    run.move(job, "checkpoint_decided", to, actor=actor, message=verdict.reason, data=data)


def answer_blocked(run: Run, job: Job, verdict: Verdict, actor: str) -> None:
    """The ways out that an escalation or a blocker offers."""
    way = verdict.option if verdict.decision == "choose" else WAYS.get(verdict.decision)
    reason = verdict.reason
    if way in ("retry", "go_on"):
        job.attempts_used = 0 if way == "retry" else job.attempts_used
        job.returns = 0
        job.not_before = None
        unblock(run, job, actor=actor, reason=reason)
    elif way == "complete":
        job.result = verdict.data if verdict.data is not None else verdict.answer
        by_hand = {"by_hand": True}
        run.move(job, "job_completed", "completed", actor=actor, message=reason, data=by_hand)
    elif way == "skip":
        run.move(job, "job_skipped", "skipped", actor=actor, message=reason)
    elif way == "fail":
        job.error = {"class": "rejected", "message": reason}
        run.move(job, "job_failed", "failed", actor=actor, message=reason)
    else:
        raise Refused(
            f"{way!r} is no way out of this.", hint="Choose retry, go_on, complete, skip or fail."
        )


WAYS = {"approve": "go_on", "answer": "go_on", "send_back": "go_on", "reject": "fail"}
