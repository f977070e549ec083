"""Breaking a job down into smaller ones, inside a running graph."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from psycopg.types.json import Jsonb

from app.db import Json, Transaction, new_id
from app.errors import Fault, Invalid
from app.executions.lanes import lane_of_part
from app.executions.rows import JOB_COLUMNS, Job, job_of
from app.executions.run import Run
from app.plans.graph import find_cycle


def break_down(
    tx: Transaction,
    run: Run,
    job: Job,
    parts: Sequence[Json],
    *,
    actor: str,
    agent: uuid.UUID | None = None,
) -> int:
    """Puts the parts in the job's place: they inherit what stands before and behind it, share its
    weight, and gain no action that its owner may not start. The job itself is skipped, superseded.

    Its successors must have been read: each waits for the last parts instead.
    """
    needs = prerequisites(parts)
    check_actions(job, parts)
    check_codes(tx, job, parts)
    ids = {part["code"]: new_id() for part in parts}
    rows = [
        {
            "id": ids[part["code"]],
            "code": f"{job.code}.{part['code']}",
            "title": part["title"],
            "instructions": part.get("instructions") or "",
            "action": part.get("action") or job.action,
            "lane": lane_of_part(job.lane, part.get("action")),
            "params": part.get("params") or job.params,
            "weight": job.weight / len(parts),
            "open_prerequisites": len(needs[part["code"]]) or job.open_prerequisites,
        }
        for part in parts
    ]
    tx.execute(PARTS, {"job": job.id, "parts": Jsonb(rows)})
    before_job = tx.execute(PREREQUISITES, {"job": job.id}).fetchall()
    inner = {before for befores in needs.values() for before in befores}
    last = [ids[part["code"]] for part in parts if part["code"] not in inner]
    edges = [(ids[code], ids[before]) for code, befores in needs.items() for before in befores]
    edges += [
        (ids[code], row["prerequisite_id"])
        for code, befores in needs.items()
        for row in before_job
        if not befores
    ]
    for successor in run.successors.get(job.id, ()):
        edges += [(successor.id, part) for part in last]
        successor.open_prerequisites += len(last)
        run.change(successor)
    tx.execute(
        EDGES,
        {
            "ids": [new_id() for _ in edges],
            "jobs": [after for after, _ in edges],
            "prerequisites": [before for _, before in edges],
        },
    )
    run.execution.unfinished_jobs += len(parts)
    run.execution.open_jobs += 0 if job.optional else len(parts)
    job.weight = 0.0  # it has gone to the parts
    number = run.move(
        job,
        "job_skipped",
        "skipped",
        actor=actor,
        agent=agent,
        message=f"Broken down into {len(parts)} smaller jobs.",
        data={"superseded": True, "parts": [row["code"] for row in rows]},
    )
    for row in tx.rows(READ_PARTS, {"ids": list(ids.values())}):
        part = run.add(job_of(row))
        if part.open_prerequisites == 0:
            run.freed.append(part)
    return number


def prerequisites(parts: Sequence[Json]) -> dict[str, list[str]]:
    codes = [part["code"] for part in parts]
    faults = [
        Fault(f"/jobs/{place}/code", f"{code!r} stands twice.")
        for place, code in enumerate(codes)
        if code in codes[:place]
    ]
    faults += [
        Fault(f"/jobs/{place}/prerequisites/{at}", f"There is no part {wanted!r} here.")
        for place, part in enumerate(parts)
        for at, wanted in enumerate(part.get("prerequisites") or [])
        if wanted not in codes
    ]
    if faults:
        raise Invalid("The breakdown does not hold together.", faults)
    needs = {part["code"]: list(dict.fromkeys(part.get("prerequisites") or [])) for part in parts}
    cycle = find_cycle(needs)
    if cycle:
        path = " → ".join(cycle)
        raise Invalid(
            f"The parts wait for each other in a circle: {path}.",
            [Fault("/jobs", f"circle: {path}")],
            hint="Take one of these prerequisites out.",
        )
    return needs


def check_codes(tx: Transaction, job: Job, parts: Sequence[Json]) -> None:
    codes = [f"{job.code}.{part['code']}" for part in parts]
    asked = {"execution": job.execution_id, "codes": codes}
    taken = {row["code"] for row in tx.execute(TAKEN, asked).fetchall()}
    faults = [
        Fault(f"/jobs/{place}/code", f"There is a job {code} already.")
        for place, code in enumerate(codes)
        if code in taken
    ]
    if faults:
        raise Invalid("Some parts would have the code of another job.", faults)


def check_actions(job: Job, parts: Sequence[Json]) -> None:
    faults = [
        Fault(f"/jobs/{place}/action", f"{part['action']!r} needs a permission of its own.")
        for place, part in enumerate(parts)
        if part.get("action") in RESTRICTED and part["action"] != job.action
    ]
    if faults:
        raise Invalid(
            "A breakdown gains no action that the job's owner may not start.",
            faults,
            hint="Leave `action` out: the parts then have the job's own.",
        )


# Actions that run on our own machines, which an admin allows to people, never to a breakdown.
RESTRICTED: Final = frozenset({"run_command"})

PARTS: Final = """
INSERT INTO jobs (id, execution_id, task_id, plan_task_id, position, code, title, instructions,
  kind, action, params, role, path, lane, priority, rank, weight, optional, open_prerequisites,
  max_attempts, retry_policy, timeout_seconds, approval, on_exhausted)
SELECT p.id, j.execution_id, j.task_id, j.plan_task_id, j.position, p.code, p.title,
  p.instructions, j.kind, p.action, p.params, j.role, j.path || to_jsonb(j.title), p.lane,
  j.priority, j.rank, p.weight, j.optional, p.open_prerequisites, j.max_attempts, j.retry_policy,
  j.timeout_seconds, j.approval, j.on_exhausted
FROM jobs j, jsonb_to_recordset(%(parts)s) AS p(id uuid, code text, title text, instructions text,
  action text, lane text, params jsonb, weight float8, open_prerequisites integer)
WHERE j.id = %(job)s
"""
TAKEN: Final = """
SELECT code FROM jobs WHERE execution_id = %(execution)s AND code = ANY (%(codes)s)
"""
PREREQUISITES: Final = "SELECT prerequisite_id FROM job_dependencies WHERE job_id = %(job)s"
EDGES: Final = """
INSERT INTO job_dependencies (id, job_id, prerequisite_id)
SELECT * FROM unnest(%(ids)s::uuid[], %(jobs)s::uuid[], %(prerequisites)s::uuid[])
"""
READ_PARTS: Final = f"SELECT {JOB_COLUMNS} FROM jobs j WHERE j.id = ANY (%(ids)s) ORDER BY j.code"
