"""The tree of an execution: phases, tasks and jobs, nested; and its jobs one by one."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from app.db import Json, Row, Transaction
from app.errors import Missing
from app.executions.states import DONE


def status_of(counts: Mapping[str, int]) -> str:
    """A task's status, from its jobs': what moves is told before what stands, and what needs
    somebody before what only waits its turn."""
    present = {status for status, jobs in counts.items() if jobs}
    for telling, told in PRECEDENCE:
        if telling in present:
            return told
    if present and present <= DONE:
        return "completed" if "completed" in present else "skipped"
    return "pending"


# Leased is about to run. Pending stands last: behind it nothing but what is done can be told.
PRECEDENCE: Final = (
    ("running", "running"),
    ("leased", "running"),
    ("blocked", "blocked"),
    ("waiting", "waiting"),
    ("ready", "ready"),
    ("failed", "failed"),
    ("cancelled", "cancelled"),
    ("pending", "pending"),
)


def read_tree(tx: Transaction, execution_id: uuid.UUID) -> Json:
    """The phases, each with its tasks and jobs; and the jobs that stand under no task."""
    given = {"execution": execution_id}
    tasks = tx.execute(TASKS, given).fetchall()
    jobs = tx.execute(f"{LINES} WHERE j.execution_id = %(execution)s {IN_ORDER}", given).fetchall()
    root: Json = {"tasks": [], "jobs": []}
    nodes: dict[uuid.UUID | None, Json] = {
        row["id"]: {**row, "tasks": [], "jobs": [], "counts": Counter()} for row in tasks
    }
    for row in tasks:
        nodes.get(row["parent_id"], root)["tasks"].append(nodes[row["id"]])
    for job in jobs:
        nodes.get(job["task_id"], root)["jobs"].append(job)
    # A task stands behind the one above it, so counting from the end counts each subtree once.
    for row in reversed(tasks):
        node = nodes[row["id"]]
        node["counts"].update(job["status"] for job in node["jobs"])
        node["status"] = status_of(node["counts"])
        if row["parent_id"] in nodes:
            nodes[row["parent_id"]]["counts"].update(node["counts"])
    return root


def read_lines(
    tx: Transaction,
    execution_id: uuid.UUID,
    *,
    statuses: Sequence[str] | None = None,
    after: uuid.UUID | None = None,
    limit: int,
) -> list[Row]:
    """Jobs in the plan's order, behind one of them."""
    where = "j.execution_id = %(execution)s"
    given: Json = {"execution": execution_id, "limit": limit}
    if statuses is not None:
        where += " AND j.status = ANY (%(statuses)s)"
        given["statuses"] = list(statuses)
    if after is not None:
        where += f" AND (j.position, j.id) > ({PLACE})"
        given["after"] = after
    query = f"{LINES} WHERE {where} {IN_ORDER} LIMIT %(limit)s"
    return tx.execute(query, given).fetchall()


def read_job(tx: Transaction, execution_id: uuid.UUID, job_id: uuid.UUID) -> Json:
    """All of one job: what it is, what stands around it, its attempts, its questions."""
    given = {"execution": execution_id, "job": job_id}
    row = tx.execute(JOB, given).fetchone()
    if row is None:
        raise Missing("There is no such job in this execution.", hint="Its jobs are at …/jobs.")
    return {
        **row,
        "prerequisites": tx.execute(PREREQUISITES, given).fetchall(),
        "successors": tx.execute(SUCCESSORS, given).fetchall(),
        "attempts": tx.execute(ATTEMPTS, given).fetchall(),
        "checkpoints": tx.execute(CHECKPOINTS, given).fetchall(),
    }


PLACE: Final = """
SELECT b.position, b.id FROM jobs b WHERE b.id = %(after)s AND b.execution_id = %(execution)s
"""
IN_ORDER: Final = "ORDER BY j.position, j.id"
TASKS: Final = """
SELECT id, parent_id, position, code, title, role, planned_days FROM execution_tasks
WHERE execution_id = %(execution)s ORDER BY position, id
"""
LINE_COLUMNS: Final = """j.id, j.task_id, j.position, j.code, j.title, j.kind, j.action, j.role,
  j.status, j.lane, j.priority, j.optional, j.confidence, j.planned_days, j.attempt,
  j.attempts_used, j.max_attempts, j.open_prerequisites, j.ready_at, j.not_before, j.started_at,
  j.finished_at, j.tokens, j.cost_usd, l.agent_id, a.name AS agent_name,
  CASE WHEN l.id IS NULL THEN NULL ELSE coalesce(l.percent, 0) END AS percent, l.expires_at"""
HELD_BY: Final = """LEFT JOIN leases l ON l.job_id = j.id AND l.ended_at IS NULL
LEFT JOIN agents a ON a.id = l.agent_id"""
LINES: Final = f"SELECT {LINE_COLUMNS} FROM jobs j {HELD_BY}"
JOB: Final = f"""
SELECT {LINE_COLUMNS}, j.execution_id, j.instructions, j.params, j.acceptance, j.path,
  j.retry_policy, j.timeout_seconds, j.approval, j.on_exhausted, j.rank, j.weight, j.recheck_at,
  j.give_up_at, j.metadata, j.answers, j.result, j.error
FROM jobs j {HELD_BY} WHERE j.id = %(job)s AND j.execution_id = %(execution)s
"""
PREREQUISITES: Final = """
SELECT p.id, p.code, p.title, p.status FROM job_dependencies d
JOIN jobs p ON p.id = d.prerequisite_id WHERE d.job_id = %(job)s ORDER BY p.position, p.id
"""
SUCCESSORS: Final = """
SELECT s.id, s.code, s.title, s.status FROM job_dependencies d
JOIN jobs s ON s.id = d.job_id WHERE d.prerequisite_id = %(job)s ORDER BY s.position, s.id
"""
ATTEMPTS: Final = """
SELECT l.id, l.attempt, l.agent_id, a.name AS agent_name, l.granted_at, l.started_at,
  l.heartbeat_at, l.expires_at, l.stilled_at, l.percent, l.ended_at, l.outcome, l.tokens,
  l.cost_usd
FROM leases l JOIN agents a ON a.id = l.agent_id WHERE l.job_id = %(job)s ORDER BY l.attempt
"""
CHECKPOINTS: Final = """
SELECT id, kind, title, status, created_at, decided_at, reason FROM checkpoints
WHERE job_id = %(job)s ORDER BY id
"""
