"""An execution of a plan: its tree, its jobs and the graph between them; and its start."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from psycopg.types.json import Jsonb

from app.accounts import policy
from app.accounts.policy import Caller
from app.db import Json, Row, Transaction, new_id
from app.errors import Fault, Forbidden, Invalid, Missing, Refused
from app.executions.breakdown import RESTRICTED
from app.executions.lanes import lane_of
from app.executions.rows import JOB_COLUMNS, job_of
from app.executions.run import Run
from app.handoff.settling import settle
from app.plans.actions import GENERAL, touches_world
from app.plans.graph import JobGraph
from app.plans.outline import Outline, load_outline

BROKEN_DOWN: Final = ("done", "needs_review")
MOST_TOLD: Final = 50


@dataclass(frozen=True, slots=True)
class Budget:
    """What an execution may spend; None is without limit."""

    tokens: int | None = None
    usd: Decimal | None = None


def create_execution(
    tx: Transaction,
    plan_id: uuid.UUID,
    owner_id: uuid.UUID,
    *,
    timeout_seconds: int,
    name: str | None = None,
    ordering: str = "phased",
    threshold: float = 0.7,
    priority: int = 5,
    deadline: dt.datetime | None = None,
    budget: Budget = Budget(),
    agents: Sequence[uuid.UUID] = (),
    callback: str | None = None,
) -> uuid.UUID:
    """A new execution of a plan, created and not started.

    `timeout_seconds` is the length of its deadline, which runs from its start; `deadline` a moment
    instead. With `agents` its jobs go to these and to no other. Who may see the plan is decided
    before.
    """
    plan = tx.execute(PLAN, {"plan": plan_id, "owner": owner_id}).fetchone()
    if plan is None:
        raise Missing("There is no such plan.", hint="GET /api/plans lists those that you may see.")
    if plan["status"] not in BROKEN_DOWN:
        raise Refused(
            f"The plan's breakdown is {plan['status']}.",
            hint="Wait until its decomposition_status is done, or break it down again.",
            decomposition_status=plan["status"],
        )
    if deadline is not None:
        timeout_seconds = seconds_until(deadline, tx.now)
    check_agents(tx, agents)
    outline = load_outline(tx, plan_id)
    refuse_restricted(outline, Caller("user", owner_id, plan["role"]))
    graph = outline.expand(ordering)
    execution_id = new_id()
    tasks = {node["id"]: new_id() for node in grouping_nodes(outline)}
    jobs = plan_jobs(
        outline,
        graph,
        tasks,
        threshold=threshold,
        priority=priority,
        reserved=execution_id if agents else None,
    )
    tx.execute(
        EXECUTION,
        {
            "id": execution_id,
            "plan": plan_id,
            "owner": owner_id,
            "name": name or plan["title"],
            "goal": plan["goal"],
            "priority": priority,
            "ordering": ordering,
            "threshold": threshold,
            "deadline": deadline,
            "timeout": timeout_seconds,
            "tokens": budget.tokens,
            "usd": budget.usd,
            "callback": callback,
            "jobs": len(jobs),
            "open": sum(not job["optional"] for job in jobs),
        },
    )
    told: Json = {"plan_id": plan_id, "ordering": ordering, "jobs": len(jobs), "status": "created"}
    if graph.dropped:
        told["overruled"] = graph.dropped[:MOST_TOLD]
    tx.execute(
        EVENT,
        {
            "id": new_id(),
            "execution": execution_id,
            "actor": f"user:{owner_id}",
            "data": Jsonb(told),
            "message": f"Created from the plan with {len(jobs)} jobs.",
            "now": tx.now,
        },
    )
    if agents:
        chosen = list(dict.fromkeys(agents))
        tx.execute(
            ENGAGEMENTS,
            {"ids": [new_id() for _ in chosen], "agents": chosen, "execution": execution_id},
        )
    tx.execute(TASKS, {"execution": execution_id, "tasks": Jsonb(plan_tasks(outline, tasks))})
    tx.execute(JOBS, {"execution": execution_id, "jobs": Jsonb(jobs)})
    ids = {job["code"]: job["id"] for job in jobs}
    edges = [(ids[job], ids[awaited]) for job, awaited in graph.edges()]
    tx.execute(
        EDGES,
        {
            "ids": [new_id() for _ in edges],
            "jobs": [job for job, _ in edges],
            "prerequisites": [awaited for _, awaited in edges],
        },
    )
    tx.outgoing.nudges.add(execution_id)
    return execution_id


def start(tx: Transaction, run: Run, actor: str) -> None:
    """Created becomes queued: the deadline begins to run, and what waits for nothing is ready.

    The caller writes the run.
    """
    execution = run.execution
    if execution.status != "created":
        # A paused or failed one goes to queued too, by ways that give back what they took.
        raise Refused(
            f"The execution is {execution.status}; it was started before.",
            hint=STARTED.get(execution.status, "Start a new one from its plan."),
            status=execution.status,
        )
    if execution.deadline_at is None and execution.timeout_seconds is not None:
        execution.deadline_at = run.now + dt.timedelta(seconds=execution.timeout_seconds)
    elif execution.deadline_at is not None and execution.deadline_at <= run.now:
        raise Refused(
            "The execution's deadline has passed before its start.",
            hint="Give it a later deadline, then start it.",
        )
    run.move_execution(
        "queued", "execution_queued", actor=actor, reason="Started; its first jobs are on offer."
    )
    first = tx.rows(FIRST, {"execution": execution.id})
    run.freed += [run.add(job_of(row)) for row in first]
    settle(tx, run)


def seconds_until(deadline: dt.datetime, now: dt.datetime) -> int:
    seconds = (deadline - now).total_seconds()
    if seconds <= 0:
        raise Invalid(
            "The deadline has passed already.",
            [Fault("/deadline", "must lie in the future")],
            hint="Leave it out for the usual length, or name a later time.",
        )
    return max(1, min(int(seconds), 2**31 - 1))


def check_agents(tx: Transaction, agents: Sequence[uuid.UUID]) -> None:
    if not agents:
        return
    known = {row["id"] for row in tx.execute(AGENTS, {"ids": list(agents)}).fetchall()}
    faults = [
        Fault(f"/agents/{place}", "is no agent that could be engaged")
        for place, agent in enumerate(agents)
        if agent not in known
    ]
    if faults:
        raise Invalid(
            "Some of these agents do not exist or are retired.",
            faults,
            hint="GET /api/agents lists those that there are.",
        )


def refuse_restricted(outline: Outline, owner: Caller) -> None:
    """Commands run on our own machines: a plan gives nobody a right to them."""
    if policy.may_start_commands(owner):
        return
    jobs = [node["code"] for node in outline.nodes if node["action"] in RESTRICTED]
    if jobs:
        raise Forbidden(
            f"Job {jobs[0]} runs a command, which you may not start.",
            hint="Ask an operator to start this plan, or take these jobs out.",
            jobs=jobs[:MOST_TOLD],
        )


def grouping_nodes(outline: Outline) -> list[Row]:
    return [node for node, parts in zip(outline.nodes, outline.tree.children, strict=True) if parts]


def plan_tasks(outline: Outline, tasks: dict[uuid.UUID, uuid.UUID]) -> list[Json]:
    """A row for each phase and each task that has parts."""
    days = dict(zip(outline.tree.codes, outline.estimates, strict=True))
    return [
        {
            "id": tasks[node["id"]],
            "parent_id": tasks.get(node["parent_id"]),
            "position": outline.tree.number[node["code"]],
            "code": node["code"],
            "title": node["title"],
            "role": node["role"],
            "planned_days": days[node["code"]],
        }
        for node in grouping_nodes(outline)
    ]


def plan_jobs(
    outline: Outline,
    graph: JobGraph,
    tasks: dict[uuid.UUID, uuid.UUID],
    *,
    threshold: float,
    priority: int,
    reserved: uuid.UUID | None,
) -> list[Json]:
    """What a job's row says beside what its leaf says."""
    tree, nodes = outline.tree, outline.nodes
    ranks = outline.rank(graph)
    jobs: list[Json] = []
    for number in tree.leaves():
        leaf = nodes[number]
        handling: dict[str, Any] = leaf["handling"]
        action = leaf["action"] or GENERAL
        jobs.append(
            {
                "id": new_id(),
                "leaf": leaf["id"],
                "code": leaf["code"],
                "task_id": tasks.get(leaf["parent_id"]),
                "position": number,
                "path": [nodes[above]["title"] for above in tree.above(number)][::-1],
                "action": action,
                "lane": lane_of(action, human=for_people(leaf, threshold), reserved=reserved),
                "priority": handling.get("priority", priority),
                "rank": ranks[leaf["code"]],
                "planned_days": outline.estimates[number],
                "open_prerequisites": len(graph.needs[leaf["code"]]),
                "approval": handling.get("approval") or approval_of(leaf["tier"], action),
                "max_attempts": handling.get("max_attempts"),
                "timeout_seconds": handling.get("timeout_seconds"),
                "retry_policy": handling.get("retry_policy"),
                "on_exhausted": handling.get("on_exhausted"),
                "optional": handling.get("optional", False),
            }
        )
    return jobs


def for_people(leaf: Row, threshold: float) -> bool:
    alone: bool = leaf["agent_executable"] and leaf["tier"] < 3
    return not alone or leaf["confidence"] < threshold


def approval_of(tier: int, action: str) -> str:
    """A document can be looked at once it is there; a letter cannot be taken back."""
    if tier != 2:
        return "none"
    return "before" if touches_world(action) else "after"


STARTED: Final = {"paused": "Resume it.", "failed": "Retry it."}

# The plan's row is held, so that nobody deletes it before the execution that uses it is there.
PLAN: Final = """
SELECT p.title, p.goal, p.decomposition_status AS status,
  (SELECT role FROM users WHERE id = %(owner)s) AS role
FROM plans p WHERE p.id = %(plan)s FOR KEY SHARE OF p
"""
AGENTS: Final = "SELECT id FROM agents WHERE id = ANY (%(ids)s) AND status <> 'retired'"
EXECUTION: Final = """
INSERT INTO executions (id, plan_id, owner_id, name, goal, priority, ordering, threshold,
  deadline_at, timeout_seconds, budget_tokens, budget_usd, callback_url, last_event, total_weight,
  open_jobs, unfinished_jobs)
VALUES (%(id)s, %(plan)s, %(owner)s, %(name)s, %(goal)s, %(priority)s, %(ordering)s, %(threshold)s,
  %(deadline)s, %(timeout)s, %(tokens)s, %(usd)s, %(callback)s, 1, %(jobs)s, %(open)s, %(jobs)s)
"""
EVENT: Final = """
INSERT INTO execution_events (id, execution_id, number, type, actor, data, message, created_at)
VALUES (%(id)s, %(execution)s, 1, 'execution_created', %(actor)s, %(data)s, %(message)s, %(now)s)
"""
ENGAGEMENTS: Final = """
INSERT INTO engagements (id, execution_id, agent_id)
SELECT id, %(execution)s, agent FROM unnest(%(ids)s::uuid[], %(agents)s::uuid[]) AS e(id, agent)
"""
TASKS: Final = """
INSERT INTO execution_tasks (id, execution_id, parent_id, position, code, title, role, planned_days)
SELECT id, %(execution)s, parent_id, position, code, title, role, planned_days
FROM jsonb_to_recordset(%(tasks)s) AS t(id uuid, parent_id uuid, position integer, code text,
  title text, role text, planned_days float8)
"""
JOBS: Final = """
INSERT INTO jobs (id, execution_id, task_id, plan_task_id, position, code, title, instructions,
  kind, action, params, role, acceptance, confidence, path, lane, priority, rank, planned_days,
  optional, open_prerequisites, max_attempts, retry_policy, timeout_seconds, approval,
  on_exhausted)
SELECT j.id, %(execution)s, j.task_id, t.id, j.position, t.code, t.title, t.description,
  'plan', j.action, t.params, t.role, t.acceptance, t.decomposition_confidence, j.path, j.lane,
  j.priority, j.rank, j.planned_days, j.optional, j.open_prerequisites,
  coalesce(j.max_attempts, 3), coalesce(j.retry_policy, '{}'), coalesce(j.timeout_seconds, 86400),
  j.approval, coalesce(j.on_exhausted, 'escalate')
FROM jsonb_to_recordset(%(jobs)s) AS j(id uuid, leaf uuid, task_id uuid, position integer,
  path jsonb, action text, lane text, priority smallint, rank float8, planned_days float8,
  open_prerequisites integer, approval text, max_attempts integer, timeout_seconds integer,
  retry_policy jsonb, on_exhausted text, optional boolean)
JOIN plan_tasks t ON t.id = j.leaf
"""
EDGES: Final = """
INSERT INTO job_dependencies (id, job_id, prerequisite_id)
SELECT * FROM unnest(%(ids)s::uuid[], %(jobs)s::uuid[], %(prerequisites)s::uuid[])
"""
FIRST: Final = f"""
SELECT {JOB_COLUMNS} FROM jobs j WHERE j.execution_id = %(execution)s AND j.status = 'pending'
  AND j.open_prerequisites = 0 ORDER BY j.position
"""
