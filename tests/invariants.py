"""domain.md, "What always holds": one function a promise, checked against what the tables say.

`Watch.check()` judges the moment by itself and against the moment before, and raises with a line
for each promise that is broken.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from app.db import Database
from app.executions.states import DONE, FINAL, JOB_MOVES, LEASED, MOVING, SERVING
from app.plans.graph import find_cycle
from tests.moments import Log, Moment, Row, read_moment

REOPENING: Final = ("job_requeued", "job_unblocked")  # a person's: attempts are counted anew
SLACK: Final = 1e-6  # weights are sums of fractions


class Broken(AssertionError):
    """A promise of domain.md does not hold."""


def promise_1(now: Moment) -> Iterator[str]:
    """A job has at most one live lease. leased and running have one, waiting may, no other does."""
    for job in now.jobs.values():
        live = len(now.live[job.id])
        allowed = (1,) if job.status in LEASED else (0, 1) if job.status == "waiting" else (0,)
        if live not in allowed:
            yield f"{told(job)} has {live} live leases"
        for lease in now.live[job.id]:
            if lease.attempt != job.attempt:
                yield f"{told(job)}: its live lease is attempt {lease.attempt} of {job.attempt}"


def promise_2(now: Moment) -> Iterator[str]:
    """Attempts are numbered 1, 2, 3 …, a lease each."""
    attempts = defaultdict(list)
    for lease in now.leases.values():
        attempts[lease.job_id].append(lease.attempt)
    for job in now.jobs.values():
        if sorted(attempts[job.id]) != list(range(1, job.attempt + 1)):
            yield f"{told(job)} is at attempt {job.attempt}, its leases: {attempts[job.id]}"
        if job.attempts_used > job.attempt:
            yield f"{told(job)} used {job.attempts_used} of {job.attempt} attempts"


def promise_2_over_time(was: Moment, now: Moment) -> Iterator[str]:
    """Attempts only grow, an ended lease stays as it ended, and only lost or failed ones count."""
    reopened = {event.job_id for event in now.events if event.type in REOPENING}
    ended: dict[uuid.UUID, list[Row]] = defaultdict(list)
    for lease in now.leases.values():
        before = was.leases.get(lease.id)
        if before is not None and before.ended_at is not None and lease != before:
            yield f"an ended lease changed: {before} became {lease}"
        if lease.ended_at is not None and (before is None or before.ended_at is None):
            ended[lease.job_id].append(lease)
    for gone in was.leases.keys() - now.leases.keys():
        yield f"lease {gone} is gone"
    for job in now.jobs.values():
        before = was.jobs.get(job.id)
        if before is None:
            continue
        if job.attempt < before.attempt:
            yield f"{told(job)} went back from attempt {before.attempt} to {job.attempt}"
        used = job.attempts_used - before.attempts_used
        if job.id in reopened:
            continue
        lost = sum(one.outcome == "expired" and one.started_at is not None for one in ended[job.id])
        failed = sum(one.outcome == "failed" for one in ended[job.id])
        if not lost <= used <= lost + failed:
            yield f"{told(job)} used {used} attempts by {[one.outcome for one in ended[job.id]]}"


def promise_4(now: Moment) -> Iterator[str]:
    """A poll repeated under its claim id brought no more leases."""
    for claim in now.claims:
        if claim.grants != 1:
            yield f"claim {claim.claim!r} was granted leases at {claim.grants} times"


def promise_5(now: Moment) -> Iterator[str]:
    """In an execution that was cancelled or completed nothing is unfinished, leased or asked."""
    for execution in now.executions.values():
        if execution.status not in ("completed", "cancelled"):
            continue
        for job in now.jobs_of(execution):
            if job.status not in FINAL:
                yield f"{told(job)} in an execution that is {execution.status}"
            if now.live[job.id]:
                yield f"{told(job)} is held in an execution that is {execution.status}"


def promise_5_over_time(was: Moment, now: Moment) -> Iterator[str]:
    """completed and skipped stay; failed and cancelled end only by a person's retry."""
    skipped = {event.job_id for event in now.events if event.type == "job_skipped"}
    requeued = {event.job_id for event in now.events if event.type == "job_requeued"}
    for job in now.jobs.values():
        before = was.jobs.get(job.id)
        if before is None or before.status == job.status:
            continue
        if before.status in DONE:
            yield f"{told(job)} was {before.status}"
        if before.status in ("failed", "cancelled") and job.id not in requeued | skipped:
            yield f"{told(job)} was {before.status} and nobody retried it"
    for execution in now.executions.values():
        earlier = was.executions.get(execution.id)
        if earlier is None or earlier.status not in ("completed", "cancelled"):
            continue
        if execution.status != earlier.status:
            yield f"an execution that was {earlier.status} is {execution.status}"
        moved = [one for one in now.events if one.execution_id == execution.id and moves(one)]
        if moved:
            yield f"{moved[0].type} in an execution that is {execution.status}"
    for job_id in was.jobs.keys() - now.jobs.keys():
        yield f"job {job_id} is gone"


def promise_6(now: Moment) -> Iterator[str]:
    """While paused nothing is handed out, and the clocks of what is out stand still."""
    for execution in now.executions.values():
        paused = execution.status == "paused"
        for job in now.jobs_of(execution):
            for lease in now.live[job.id]:
                still = lease.stilled_at is not None
                if still != (paused or job.status == "waiting"):
                    yield (
                        f"the clock of {told(job)} {'stands still' if still else 'runs'}"
                        f" while the execution is {execution.status}"
                    )
                if paused and lease.granted_at > execution.paused_at:
                    yield f"{told(job)} was handed out while paused"


def promise_7(now: Moment) -> Iterator[str]:
    """Ready only when every prerequisite is done; what has none open is not left pending."""
    for job in now.jobs.values():
        left = now.open_before(job)
        if job.open_prerequisites != left:
            yield f"{told(job)} counts {job.open_prerequisites} open prerequisites of {left}"
        if job.status in (*MOVING, "completed") and left:
            yield f"{told(job)} while {left} prerequisites are open"
        if job.status == "pending" and not left and now.execution(job).status != "created":
            yield f"{told(job)} is stuck: nothing stands before it"
    needs = {str(job): [str(one) for one in before] for job, before in now.needs.items()}
    cycle = find_cycle(needs)
    if cycle:
        yield f"the graph has a cycle: {cycle}"


def promise_8(now: Moment) -> Iterator[str]:
    """Who waits for a person has one open question, and nobody else has."""
    for job in now.jobs.values():
        blocking = [one for one in now.asked[job.id] if one.blocking and one.status == "pending"]
        if len(blocking) != (job.status in ("waiting", "blocked")):
            yield f"{told(job)} has {len(blocking)} open questions that block it"


def promise_9(now: Moment) -> Iterator[str]:
    """Event numbers of an execution are 1..n, and n is what the execution says."""
    for execution in now.executions.values():
        counted = now.numbers.get(execution.id)
        found = (0, 0, 0) if counted is None else (counted.first, counted.last, counted.events)
        n = execution.last_event
        if found != ((1, n, n) if n else (0, 0, 0)):
            yield f"its events are {found} (first, last, how many), it says {n}"
    yield from now.log.faults


def promise_10(now: Moment) -> Iterator[str]:
    """Replaying an execution's events gives its job statuses, and its own."""
    for job in now.jobs.values():
        replayed = now.log.jobs.get(job.id, "pending")
        if job.status != replayed:
            yield f"{told(job)}, but the log says {replayed}"
    for execution in now.executions.values():
        replayed = now.log.executions.get(execution.id, "created")
        if execution.status != replayed:
            yield f"the execution is {execution.status}, but the log says {replayed}"


def promise_11(now: Moment) -> Iterator[str]:
    """Progress and the counters are what the jobs say."""
    for execution in now.executions.values():
        jobs = now.jobs_of(execution)
        counted = {
            "total_weight": sum(job.weight for job in jobs),
            "finished_weight": sum(job.weight for job in jobs if job.status in DONE),
            "open_jobs": sum(not job.optional and job.status not in DONE for job in jobs),
            "moving_jobs": sum(job.status in MOVING for job in jobs),
            "unfinished_jobs": sum(job.status not in FINAL for job in jobs),
            "live_leases": sum(job.status in LEASED for job in jobs),
        }
        for name, truth in counted.items():
            if abs(getattr(execution, name) - truth) > SLACK:
                yield f"{name} is {getattr(execution, name)}, counted {truth}"


def promise_11_over_time(was: Moment, now: Moment) -> Iterator[str]:
    """Progress never falls: what is done stays done, and a breakdown shares its job's weight."""
    for execution in now.executions.values():
        before = was.executions.get(execution.id)
        if before is not None and execution.finished_weight < before.finished_weight - SLACK:
            yield f"progress fell from {before.finished_weight} to {execution.finished_weight}"


def promise_12(now: Moment) -> Iterator[str]:
    """Nothing that needs an approval before it starts was handed out without one."""
    for job in now.jobs.values():
        if job.approval == "before" and job.attempt:
            decided = [one for one in now.asked[job.id] if one.stage == "before" and allows(one)]
            if not decided:
                yield f"{told(job)} was handed out, and nobody approved it"
    for checkpoint in now.checkpoints.values():
        decided = checkpoint.status in ("approved", "rejected", "answered")
        if decided and checkpoint.decided_by_id is None:
            yield f"checkpoint {checkpoint.title!r} was decided by nobody"


def promise_12_over_time(was: Moment, now: Moment) -> Iterator[str]:
    """A checkpoint is decided once, and a job that was refused its start is asked about again."""
    for checkpoint in now.checkpoints.values():
        before = was.checkpoints.get(checkpoint.id)
        if before is not None and before.status != "pending" and checkpoint != before:
            yield f"checkpoint {before.title!r} was {before.status}, is {checkpoint.status}"
    for event in now.events:
        if event.type == "job_leased":
            asked = [one for one in now.asked[event.job_id] if one.stage == "before"]
            if asked and not allows(max(asked, key=lambda one: one.id)):
                yield f"{told(now.jobs[event.job_id])} was handed out after a refusal"


def promise_14(now: Moment) -> Iterator[str]:
    """Spend is what the jobs spent; a budget that is reached has paused the execution."""
    for execution in now.executions.values():
        jobs = now.jobs_of(execution)
        for name, each in (("spent_tokens", "tokens"), ("spent_usd", "cost_usd")):
            spent = sum(getattr(job, each) for job in jobs)
            if getattr(execution, name) != spent:
                yield f"{name} is {getattr(execution, name)}, its jobs spent {spent}"
        budget = execution.budget_tokens
        if budget is not None and execution.spent_tokens >= budget and serving(execution):
            yield f"it spent {execution.spent_tokens} of {budget} tokens and is {execution.status}"


def offers(now: Moment) -> Iterator[str]:
    """On offer is exactly what may be claimed."""
    for job in now.jobs.values():
        may = job.status == "ready" and serving(now.execution(job))
        early = job.not_before is not None and job.not_before > now.now
        if job.offered and (not may or early):
            yield f"{told(job)} is on offer in an execution that is {now.execution(job).status}"
        if may and not job.offered:
            if job.not_before is None:
                yield f"{told(job)} is not on offer, though nothing stands against it"
            elif now.swept is not None and job.not_before <= now.swept:
                yield f"{told(job)} is not on offer, though its time had come at the last sweep"


def limits(was: Moment, now: Moment) -> Iterator[str]:
    """An agent is handed only what it can do, and never more than its limit."""
    working = Counter(
        lease.agent_id for live in now.live.values() for lease in live if not lease.stilled_at
    )
    for lease in now.leases.values():
        if lease.id in was.leases or lease.execution_id not in was.executions:
            continue
        agent, job = now.agents[lease.agent_id], now.jobs[lease.job_id]
        if working[agent.id] > agent.max_concurrent:
            yield f"{agent.name} works on {working[agent.id]} jobs of {agent.max_concurrent}"
        lanes = [one["action"] for one in agent.capabilities] + [f"agent:{agent.id}"]
        if job.lane not in lanes + ["human"] * (agent.kind == "human"):
            yield f"{agent.name} was handed {told(job)}, which it cannot do"
        if agent.status in ("paused", "retired") and was.agents[agent.id].status == agent.status:
            yield f"{agent.name} is {agent.status} and was handed {told(job)}"


PROMISES: Final[Sequence[Callable[[Moment], Iterator[str]]]] = (
    promise_1,
    promise_2,
    promise_4,
    promise_5,
    promise_6,
    promise_7,
    promise_8,
    promise_9,
    promise_10,
    promise_11,
    promise_12,
    promise_14,
    offers,
)
OVER_TIME: Final[Sequence[Callable[[Moment, Moment], Iterator[str]]]] = (
    promise_2_over_time,
    promise_5_over_time,
    promise_11_over_time,
    promise_12_over_time,
    limits,
)


class Watch:
    """Looks at the tables again and again, and remembers what it saw."""

    def __init__(self, database: Database, executions: Sequence[uuid.UUID] | None = None) -> None:
        self.database = database
        self.executions = None if executions is None else list(executions)
        self.seen: Moment | None = None
        self.swept: dt.datetime | None = None  # set it when the bell was swept
        self._log = Log()

    def look(self) -> Moment:
        """What is there now, unjudged and forgotten again."""
        return read_moment(self.database, self.executions, Log(), self.swept)

    def check(self) -> Moment:
        """What is there now, once it has been found to be as promised."""
        now = read_moment(self.database, self.executions, self._log, self.swept)
        broken = [(rule, line) for rule in PROMISES for line in rule(now)]
        if self.seen is not None:
            broken += [(rule, line) for rule in OVER_TIME for line in rule(self.seen, now)]
        if broken:
            lines = [f"{rule.__name__}: {line}\n    ({rule.__doc__})" for rule, line in broken]
            raise Broken("\n".join(lines))
        self.seen = now
        return now


def check(database: Database) -> Moment:
    """Everything that can be judged at one look, for a test at its end."""
    return Watch(database).check()


def told(job: Row) -> str:
    return f"job {job.code} is {job.status}"


def serving(execution: Row) -> bool:
    return execution.status in SERVING


def moves(event: Row) -> bool:
    return event.type in JOB_MOVES or "status" in event.data


def allows(checkpoint: Row) -> bool:
    """A start that was approved, or answered in any way but no."""
    return checkpoint.status in ("approved", "answered")
