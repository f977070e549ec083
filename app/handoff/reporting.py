"""One report: who speaks, about which lease, whether it was said before, what it is answered."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

from app.agents.calling import Agent
from app.db import Json, Transaction
from app.errors import Missing, Refused
from app.executions.rows import Lease
from app.executions.run import Run
from app.executions.states import ENDED
from app.handoff.judging import Bench, judge
from app.handoff.questions import HAS_HELD
from app.handoff.receipts import Receipts, keys_of
from app.handoff.reports import Report


def answer(
    tx: Transaction,
    run: Run,
    agent: Agent,
    lease: Lease | None,
    said: Report,
    receipts: Receipts,
) -> Json:
    """A report's answer: as it was once given, or by judging it now."""
    before = receipts.find(agent.id, said)
    if before is not None:
        return before
    job = run.jobs.get(said.job_id)
    if job is None:
        raise Missing("There is no such job in this execution.", job_id=str(said.job_id))
    if lease is None or not lease.live or lease.job_id != job.id or lease.agent_id != agent.id:
        raise Refused(
            f"This token holds no live lease of job {job.code}; the report changes nothing.",
            hint="The lease ran out, was ended or is another's. Drop this work and poll again.",
            control="cancel",
            job_status=job.status,
        )
    number = judge(Bench(tx, run, job, lease, agent.name), said)
    run.change_lease(lease)
    given: Json = {
        "number": number,
        "type": said.type,
        "job_id": str(job.id),
        "status": job.status,
        "expires_at": deadline_of(lease),
        "control": "pause" if job.status == "waiting" else control_of(run, lease),
    }
    receipts.give(agent.id, said, given)
    return given


def deadline_of(lease: Lease) -> str | None:
    return lease.expires_at.isoformat().replace("+00:00", "Z") if lease.live else None


def control_of(run: Run, lease: Lease | None) -> str:
    status = run.execution.status
    if status in ENDED and (lease is None or lease.live):
        return "cancel"
    return "pause" if status == "paused" else "continue"


def claim_after(taken: Sequence[Report]) -> str | None:
    """Under what the next work is found again, when the reports that it came with are repeated."""
    keys = "\n".join(key for one in taken for key in keys_of(one))
    return f"after {hashlib.sha256(keys.encode()).hexdigest()[:40]}" if keys else None


def must_know(tx: Transaction, agent: Agent, execution_id: uuid.UUID, *, exists: bool) -> None:
    """An agent's key opens only the executions whose jobs it holds or has held."""
    who = {"agent": agent.id, "execution": execution_id}
    if not exists or tx.execute(HAS_HELD, who).fetchone() is None:
        raise Missing(
            "There is no execution of this id that this agent holds a job of.",
            hint="Report to the `execution_id` that came with the work.",
        )
