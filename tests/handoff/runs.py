"""Executions made straight in the database: the smallest that a test of the hand-off needs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.db import Database, new_id
from app.executions.loading import load_by_status
from app.executions.models import Execution, Job, JobDependency
from app.executions.run import hold
from app.handoff.settling import settle


@dataclass
class MadeRun:
    id: uuid.UUID
    jobs: dict[str, uuid.UUID] = field(default_factory=dict)


def make_run(
    database: Database,
    owner: uuid.UUID,
    needs: Mapping[str, Sequence[str]],
    *,
    start: bool = True,
    execution: Mapping[str, Any] | None = None,
    every: Mapping[str, Any] | None = None,
    **jobs: Mapping[str, Any],
) -> MadeRun:
    """`needs` names each job's prerequisites; `every` and `jobs` say more about them."""
    made = MadeRun(new_id(), {code: new_id() for code in needs})
    with database.transaction() as tx:
        rows = [
            Job(
                id=made.jobs[code],
                execution_id=made.id,
                position=place,
                code=code,
                title=f"Job {code}",
                **{"action": "write", "lane": "write"}
                | dict(every or {})
                | dict(jobs.get(code, {})),
                open_prerequisites=len(before),
            )
            for place, (code, before) in enumerate(needs.items())
        ]
        tx.session.add(
            Execution(
                id=made.id,
                owner_id=owner,
                name="a run",
                total_weight=sum(row.weight or 1.0 for row in rows),
                open_jobs=sum(not row.optional for row in rows),
                unfinished_jobs=len(rows),
                **dict(execution or {}),
            )
        )
        tx.session.flush()
        tx.session.add_all(rows)
        tx.session.flush()
        tx.session.add_all(
            JobDependency(job_id=made.jobs[code], prerequisite_id=made.jobs[one])
            for code, before in needs.items()
            for one in before
        )
    if start:
        start_run(database, made.id)
    return made


def start_run(database: Database, execution: uuid.UUID) -> None:
    with database.transaction() as tx:
        run = hold(tx, execution)
        run.move_execution("queued", "execution_queued", actor="test", reason="Started.")
        run.freed = [
            job for job in load_by_status(tx, run, ["pending"]) if job.open_prerequisites == 0
        ]
        settle(tx, run)
        run.write(tx)
