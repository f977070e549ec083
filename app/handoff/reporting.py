"""Taking reports: who speaks, about which lease, whether it was said before, and what comes next.

One flight asks everything (and locks the execution), memory decides, one flight writes and commits.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from psycopg.types.json import Jsonb

from app.agents.calling import IDENTIFY, Agent, identified, seen
from app.db import Json, Row, Transaction, new_id
from app.errors import Missing, Refused, TaskyardError
from app.executions.loading import JOBS, SUCCESSORS, take_successors
from app.executions.rows import (
    EXECUTION_COLUMNS,
    Job,
    execution_beside,
    execution_of,
    job_of,
)
from app.executions.run import Run
from app.handoff.claim import REPEATED, Held, Wish, held_of, pick, take
from app.handoff.judging import Bench, judge
from app.handoff.leases import LEASE_COLUMNS, Lease, lease_of, save
from app.handoff.reports import TERMINAL, Report
from app.handoff.settling import settle
from app.handoff.terms import Terms


@dataclass(slots=True)
class Answers:
    """One answer, or one refusal, a report; and the next work where it was asked for."""

    given: list[Json | TaskyardError]
    agent: uuid.UUID | None = None
    control: str = "continue"
    work: list[Held] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return any(not isinstance(one, TaskyardError) for one in self.given)


@dataclass(slots=True)
class Desk:
    """What one call has on its desk."""

    tx: Transaction
    run: Run
    agent: Agent
    leases: dict[uuid.UUID, Lease]
    receipts: dict[str, Row]
    touched: dict[uuid.UUID, Lease] = field(default_factory=dict)


def report(
    tx: Transaction,
    terms: Terms,
    execution_id: uuid.UUID,
    digest: bytes,
    reports: Sequence[Report],
    wish: Wish | None = None,
) -> Answers:
    """Judges each report by itself. With a wish, hands out the next work in the same transaction.

    `wish.claim` is derived from the reports, so that the call repeated brings the same work again.
    """
    ids = [terms.lease_of(one.token) for one in reports]
    ending = sum(isinstance(one, TERMINAL) for one in reports)
    jobs = [one.job_id for one in reports]
    who: Json = {"digest": digest, "agent": None}
    questions: list[tuple[str, Json]] = [
        (HOLD_FOR_KEY, {"digest": digest, "execution": execution_id}),
        (IDENTIFY, who),
        (JOBS, {"execution": execution_id, "jobs": jobs}),
        (LEASES, {"leases": [one for one in ids if one is not None], "digest": digest}),
        (RECEIPTS, {"keys": [key for one in reports for key in keys_of(one)], "digest": digest}),
        (SUCCESSORS, {"jobs": jobs if ending else []}),
    ]
    if wish is not None:
        questions.append(pick(who, wish, ending=ending, enabled=terms.enabled))
    held, callers, job_rows, lease_rows, receipt_rows, successors, *picked = tx.together(*questions)
    agent = identified(callers)
    now = tx.read_now(callers[0]["now"])
    leases = {row["id"]: lease_of(row) for row in lease_rows}
    if not held or not (leases or receipt_rows):
        must_know(tx, agent, execution_id, exists=bool(held))
    run = Run(execution_of(held[0]), now)
    for row in job_rows:
        run.add(job_of(row))
    take_successors(run, successors)
    desk = Desk(tx, run, agent, leases, {row["key"]: row for row in receipt_rows})
    answers = Answers([], agent.id)
    for one, lease_id in zip(reports, ids, strict=True):
        try:
            answers.given.append(answer(desk, one, lease_id))
        except TaskyardError as refusal:
            answers.given.append(refusal)
    settle(tx, run)
    for lease in desk.touched.values():
        save(tx, lease)
    if wish is not None and answers.accepted:
        hand_on(desk, answers, wish, picked[0])
    run.write(tx)
    seen(tx, agent, callers[0]["last_seen_at"])
    answers.control = control_of(run, None)
    return answers


def answer(desk: Desk, said: Report, lease_id: uuid.UUID | None) -> Json:
    """One report's answer: as it was once given, or by judging it now."""
    digest = said.digest() if keys_of(said) else b""
    for key in keys_of(said):
        receipt = desk.receipts.get(key)
        if receipt is not None:
            if bytes(receipt["digest"]) == digest:
                return dict(receipt["answer"], repeated=True)
            raise Refused(
                f"The key {key!r} was used for another report."
                if said.idempotency_key == key
                else "This lease has ended with another report.",
                hint="Use a new idempotency key for a new report; poll for new work.",
            )
    run, job = desk.run, desk.run.jobs.get(said.job_id)
    if job is None:
        raise Missing("There is no such job in this execution.", job_id=str(said.job_id))
    lease = None if lease_id is None else desk.leases.get(lease_id)
    if lease is None or not lease.live or lease.job_id != job.id or lease.agent_id != desk.agent.id:
        raise Refused(
            f"This token holds no live lease of job {job.code}; the report changes nothing.",
            hint="The lease ran out, was ended or is another's. Drop this work and poll again.",
            control=control_of(run, lease),
            job_status=job.status,
        )
    number = judge(Bench(desk.tx, run, job, lease, desk.agent.name), said)
    desk.touched[lease.id] = lease
    given: Json = {
        "number": number,
        "type": said.type,
        "job_id": str(job.id),
        "status": job.status,
        "expires_at": lease.expires_at.isoformat() if lease.live else None,
        "control": "pause" if job.status == "waiting" else control_of(run, lease),
    }
    for key in keys_of(said):
        receipt = {
            "id": new_id(),
            "agent": desk.agent.id,
            "key": key,
            "digest": digest,
            "answer": Jsonb(given),
        }
        desk.receipts[key] = {**receipt, "answer": given}
        desk.tx.later(KEEP_RECEIPT, receipt)
    return given


def keys_of(said: Report) -> list[str]:
    """Under what a report is known again. One that ends its lease is so by itself."""
    keys = [] if said.idempotency_key is None else [said.idempotency_key]
    if isinstance(said, TERMINAL):
        keys.append(f"end {said.token}")
    return keys


def claim_of(reports: Sequence[Report]) -> str | None:
    """The claim id of the work that is handed on, so that the call repeated brings the same."""
    keys = [key for one in reports for key in keys_of(one)]
    return f"after {hashlib.sha256(keys[-1].encode()).hexdigest()[:40]}" if keys else None


def hand_on(desk: Desk, answers: Answers, wish: Wish, picked: Sequence[Row]) -> None:
    """The next work in the same round trip: the best of what was on offer and what was just freed."""
    tx, run, agent = desk.tx, desk.run, desk.agent
    if all(isinstance(one, TaskyardError) or "repeated" in one for one in answers.given):
        rows = tx.execute(REPEATED, {"agent": agent.id, "claim": wish.claim}).fetchall()
        answers.work = [held_of(row) for row in rows if row["l_ended_at"] is None]
        return
    best = best_freed(desk)
    ended = sum(not lease.live for lease in desk.touched.values())
    if agent.status == "paused" or agent.busy - ended >= agent.max_concurrent:
        return
    house = run
    if picked:
        row = picked[0]
        job = job_of(row)
        if best is None or before(job, best):
            best = job
            if row["e_id"] != run.execution.id:
                house = Run(execution_beside(row), run.now)
    if best is None or not house.execution.serving:
        return
    answers.work.append(take(tx, house, best, agent, wish))
    if house is not run:
        house.write(tx)


def best_freed(desk: Desk) -> Job | None:
    best: Job | None = None
    for ended, successors in desk.run.successors.items():
        for job in successors:
            if not job.offered or not desk.agent.serves(job.lane, job.action, job.params):
                continue
            done = desk.run.jobs[ended]
            # Its inputs were read before its prerequisite ended.
            job.inputs[done.code] = {"title": done.title, "output": done.result}
            if best is None or before(job, best):
                best = job
    return best


def before(one: Job, other: Job) -> bool:
    """The order of the index jobs_offered."""
    return order_of(one) < order_of(other)


def order_of(job: Job) -> tuple[object, ...]:
    return (-job.priority, -job.rank, job.ready_at, job.id)


def control_of(run: Run, lease: Lease | None) -> str:
    status = run.execution.status
    if status in ("cancelled", "failed", "completed") or (lease and lease.outcome == "cancelled"):
        return "cancel"
    return "pause" if status == "paused" else "continue"


def must_know(tx: Transaction, agent: Agent, execution_id: uuid.UUID, *, exists: bool) -> None:
    """An agent's key opens only the executions whose jobs it holds or has held."""
    who = {"agent": agent.id, "execution": execution_id}
    if not exists or tx.execute(HAS_HELD, who).fetchone() is None:
        raise Missing(
            "There is no execution of this id that this agent holds a job of.",
            hint="Report to the `execution_id` that came with the work.",
        )


HOLD_FOR_KEY: Final = f"""
SELECT {EXECUTION_COLUMNS} FROM executions e
WHERE e.id = %(execution)s AND EXISTS (SELECT FROM api_tokens t WHERE t.digest = %(digest)s)
FOR NO KEY UPDATE
"""
LEASES: Final = f"SELECT {LEASE_COLUMNS} FROM leases l WHERE l.id = ANY (%(leases)s)"
RECEIPTS: Final = """
SELECT r.key, r.digest, r.answer FROM receipts r JOIN api_tokens t ON t.agent_id = r.agent_id
WHERE t.digest = %(digest)s AND r.key = ANY (%(keys)s)
"""
KEEP_RECEIPT: Final = """
INSERT INTO receipts (id, agent_id, key, digest, answer)
VALUES (%(id)s, %(agent)s, %(key)s, %(digest)s, %(answer)s)
"""
HAS_HELD: Final = """
SELECT 1 FROM leases WHERE agent_id = %(agent)s AND execution_id = %(execution)s LIMIT 1
"""
