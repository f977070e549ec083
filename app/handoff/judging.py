"""What each report does to its job, its lease and its execution.

Everything it needs was read before; what it decides is written after. The job's execution is held,
and the lease is live: the token was checked.
"""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Final

from app.checkpoints.asking import WAYS_OUT, ask, escalate
from app.db import Json, Transaction
from app.errors import Refused
from app.executions.breakdown import break_down
from app.executions.retry import GiveUp, after_failure, after_return
from app.executions.rows import Job, Lease
from app.executions.run import Run
from app.handoff.reports import (
    Asked,
    Blocked,
    Completed,
    Decomposed,
    Failed,
    Heartbeat,
    Log,
    Progress,
    Released,
    Report,
    Said,
    Started,
    Usage,
)
from app.handoff.standstill import keep_to_budget


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a report is judged: the transaction, the run, the job and the lease it is about."""

    tx: Transaction
    run: Run
    job: Job
    lease: Lease
    actor: str

    def move(
        self, event: str, to: str, said: Said | None, data: Json | None = None, message: str = ""
    ) -> int:
        """`said` is None where nobody reported: the clock acts, and says why in `message`."""
        return self.run.move(
            self.job,
            event,
            to,
            actor=self.actor,
            agent=self.lease.agent_id,
            message=message if said is None else said.message,
            data=data,
            agent_timestamp=None if said is None else said.agent_timestamp,
        )

    def log(self, event: str, said: Said, data: Json | None = None) -> int:
        return self.run.log(
            event,
            actor=self.actor,
            job=self.job,
            agent=self.lease.agent_id,
            message=said.message,
            data=data,
            agent_timestamp=said.agent_timestamp,
        )

    def alive(self, said: Said) -> int | None:
        """Every report is a sign of life, and the first one is the start."""
        self.lease.keep(self.run.now)
        if self.job.status == "leased":
            return self.move("job_started", "running", said, {"attempt": self.lease.attempt})
        return None


def judge(bench: Bench, report: Report) -> int | None:
    """Applies a report. The answer is its event's number; a heartbeat leaves no event."""
    if bench.job.status == "waiting" and not isinstance(
        report, Heartbeat | Log | Usage | Progress | Released
    ):
        raise Refused(
            f"Job {bench.job.code} waits for a person's decision; `{report.type}` must wait too.",
            hint="Send heartbeats until `control` says continue, or release the job.",
        )
    return _judge(report, bench)


@singledispatch
def _judge(report: Report, bench: Bench) -> int | None:
    raise TypeError(f"no verdict for {type(report).__name__} at {bench}")


@_judge.register
def _started(report: Started, bench: Bench) -> int | None:
    number = bench.alive(report)
    return number if number is not None else bench.log("started_again", report)


@_judge.register
def _heartbeat(report: Heartbeat, bench: Bench) -> int | None:
    return bench.alive(report)


@_judge.register
def _progress(report: Progress, bench: Bench) -> int | None:
    bench.alive(report)
    bench.lease.percent = report.percent
    return bench.log("progress", report, {"percent": report.percent})


@_judge.register
def _log(report: Log, bench: Bench) -> int | None:
    bench.alive(report)
    return bench.log("log", report, report.data)


@_judge.register
def _usage(report: Usage, bench: Bench) -> int | None:
    bench.alive(report)
    job, lease, execution = bench.job, bench.lease, bench.run.execution
    for spender in (job, lease):
        spender.tokens += report.tokens
        spender.cost_usd += report.cost
    bench.run.change(job)
    execution.spent_tokens += report.tokens
    execution.spent_usd += report.cost
    said = {"tokens": report.tokens, "cost": float(report.cost), "model": report.model}
    number = bench.log("usage", report, said)
    keep_to_budget(bench.tx, bench.run)
    return number


@_judge.register
def _completed(report: Completed, bench: Bench) -> int | None:
    job, now = bench.job, bench.run.now
    job.result = report.output
    job.returns = 0
    bench.lease.keep(now)
    bench.lease.percent = 100.0
    bench.lease.end("completed", now)
    if job.approval != "after" and not report.human_review_required:
        return bench.move("job_completed", "completed", report)
    number = bench.move("checkpoint_opened", "waiting", report, {"kind": "approval"})
    ask(
        bench.tx,
        bench.run,
        kind="approval",
        title=f"Accept the result of {job.code} {job.title}?",
        asked_by=bench.actor,
        job=job,
        stage="after",
        data={"output": report.output},
    )
    return number


@_judge.register
def _failed(report: Failed, bench: Bench) -> int | None:
    error = report.error.model_dump(by_alias=True, mode="json")
    return attempt_failed(bench, report, error, "failed", "job_retrying")


def lose(bench: Bench, error_class: str, message: str, outcome: str) -> int:
    """The clock's verdict on an attempt that nobody ended."""
    error = {"class": error_class, "message": message}
    return attempt_failed(bench, None, error, outcome, "lease_expired")


def attempt_failed(bench: Bench, said: Failed | None, error: Json, outcome: str, event: str) -> int:
    """An attempt ended badly: again after a while, or a person is asked, or the job fails."""
    job, run = bench.job, bench.run
    if error["class"] == "quota":
        job.returns += 1
    else:
        job.attempts_used += 1
        job.returns = 0
    verdict = after_failure(
        error["class"],
        attempts_used=job.attempts_used,
        max_attempts=job.max_attempts,
        returns=job.returns,
        policy=job.retry_policy,
        now=run.now,
        dice=random.random(),
        reset_at=None if said is None else said.error.reset_at,
    )
    job.error = error
    bench.lease.end(outcome, run.now)
    if isinstance(verdict, GiveUp):
        return give_up(bench, said, verdict.reason, error)
    job.not_before = verdict.not_before
    data = {"error": error, "not_before": verdict.not_before, "attempts_used": job.attempts_used}
    return bench.move(event, "ready", said, data, error["message"])


def give_up(bench: Bench, said: Said | None, reason: str, error: Json) -> int:
    """No rule helps this job any more: a person is asked, or it fails, as it was told."""
    data = {"error": error, "reason": reason}
    if bench.job.on_exhausted == "fail" and error["class"] != "needs_human":
        return bench.move("job_failed", "failed", said, data, reason)
    return escalate(
        bench.tx,
        bench.run,
        bench.job,
        kind=ASKED_AS.get(error["class"], "escalation"),
        reason=reason,
        actor=bench.actor,
        data=data,
    )


ASKED_AS: Final = {"decomposition_failed": "decomposition", "needs_human": "error"}


@_judge.register
def _blocked(report: Blocked, bench: Bench) -> int | None:
    job, now = bench.job, bench.run.now
    job.recheck_at = now + dt.timedelta(seconds=report.recheck_after)
    if job.give_up_at is None:
        job.give_up_at = now + dt.timedelta(seconds=report.max_wait)
    bench.lease.end("blocked", now)
    data: Json = {"on": report.on, "recheck_at": job.recheck_at, "give_up_at": job.give_up_at}
    number = bench.move("job_blocked", "blocked", report, data)
    ask(
        bench.tx,
        bench.run,
        kind="blocker",
        title=f"{job.code} {job.title} waits for: {report.on}",
        asked_by=bench.actor,
        job=job,
        data={name: str(value) for name, value in data.items()},
        options=[{"id": "go_on", "label": "It is there: go on"}, *WAYS_OUT],
    )
    return number


@_judge.register
def _released(report: Released, bench: Bench) -> int | None:
    if bench.job.status == "waiting":
        # The question stays; its answer finds the job without a lease and makes it ready.
        bench.lease.end("released", bench.run.now)
        return bench.log("lease_given_up", report)
    return hand_back(bench, report, "job_released", "released")


def hand_back(bench: Bench, said: Said | None, event: str, outcome: str) -> int:
    """The job goes back to the queue as it was: no attempt is used, but not for ever."""
    job = bench.job
    job.returns += 1
    bench.lease.end(outcome, bench.run.now)
    verdict = after_return(job.returns, what="It was handed back or left unstarted")
    if isinstance(verdict, GiveUp):
        return give_up(
            bench, said, verdict.reason, {"class": "returned", "message": verdict.reason}
        )
    job.not_before = None
    return bench.move(event, "ready", said, message="Its lease ran out before it was started.")


@_judge.register
def _asked(report: Asked, bench: Bench) -> int | None:
    bench.alive(report)
    blocking = report.kind != "info"
    checkpoint = ask(
        bench.tx,
        bench.run,
        kind=report.kind,
        title=report.title,
        asked_by=bench.actor,
        job=bench.job,
        data=report.data,
        options=report.options,
        blocking=blocking,
    )
    said: dict[str, Any] = {"checkpoint_id": checkpoint, "kind": report.kind, "title": report.title}
    if not blocking:
        return bench.log("checkpoint_noted", report, said)
    number = bench.move("checkpoint_opened", "waiting", report, said)
    bench.lease.still(bench.run.now)
    return number


@_judge.register
def _decomposed(report: Decomposed, bench: Bench) -> int | None:
    parts = [part.model_dump() for part in report.jobs]
    number = break_down(
        bench.tx, bench.run, bench.job, parts, actor=bench.actor, agent=bench.lease.agent_id
    )
    bench.lease.end("superseded", bench.run.now)
    return number
