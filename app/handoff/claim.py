"""Claiming work: which jobs an agent gets, and what goes out with them.

A claim never waits while it holds a lock: executions and jobs that another transaction holds are
skipped. So it cannot deadlock with those that lock an execution and then its jobs.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from app.agents.calling import IDENTIFY, Agent, identified, seen
from app.db import Json, Row, Transaction
from app.executions.rows import (
    EXECUTION_BESIDE,
    JOB_COLUMNS,
    WORK_COLUMNS,
    Execution,
    Job,
    execution_beside,
    job_of,
)
from app.executions.run import Run
from app.handoff.leases import LEASE_BESIDE, Lease, grant, lease_of
from app.handoff.terms import Terms


@dataclass(frozen=True, slots=True)
class Wish:
    """What an agent asks for."""

    most: int = 1
    seconds: int = 900
    actions: tuple[str, ...] | None = None
    claim: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A job in an agent's hands: what one item of `work` tells of."""

    execution: Execution
    job: Job
    lease: Lease


@dataclass(slots=True)
class Claimed:
    agent: Agent
    work: list[Held] = field(default_factory=list)
    control: list[Json] = field(default_factory=list)
    barred: bool = False  # it may not work now, whatever there is; `control` says why
    # Work was there, but in another transaction's hands: look again at once, don't sleep beside it.
    missed: uuid.UUID | None = None


def claim(tx: Transaction, terms: Terms, agent_id: uuid.UUID, digest: bytes, wish: Wish) -> Claimed:
    """One look for work. Holds no lock when it begins, so it may be repeated freely."""
    who = {"digest": digest, "agent": agent_id}
    questions = [(IDENTIFY, who), (CONTROL, who), pick(who, wish, enabled=terms.enabled)]
    if wish.claim is not None:
        questions.append((REPEATED, {**who, "claim": wish.claim}))
    callers, control, picked, *repeated = tx.together(*questions)
    agent = identified(callers, agent_id)
    now = tx.read_now(callers[0]["now"])
    claimed = Claimed(agent, control=[standing(row) for row in control])
    if agent.status == "paused":
        claimed.barred = True
        claimed.control.append({"control": "pause", "reason": f"This agent is {agent.status}."})
        return claimed
    if repeated and repeated[0]:
        # A poll repeated after a lost answer gets what it was given, and no more.
        claimed.work = [held_of(row) for row in repeated[0] if row["l_ended_at"] is None]
        return claimed
    runs: dict[uuid.UUID, Run] = {}
    for row in picked:
        run = runs.setdefault(row["e_id"], Run(execution_beside(row), now))
        claimed.work.append(take(tx, run, job_of(row), agent, wish))
    for run in runs.values():
        run.write(tx)
    seen(tx, agent, callers[0]["last_seen_at"])
    if agent.busy >= agent.max_concurrent:
        claimed.barred = True
        claimed.control.append(
            {"control": "pause", "reason": f"It holds {agent.busy} jobs, which is its limit."}
        )
    elif not picked and terms.enabled:
        claimed.missed = missed(tx, who, wish)
    return claimed


def take(tx: Transaction, run: Run, job: Job, agent: Agent, wish: Wish) -> Held:
    lease = grant(
        tx,
        run,
        run.add(job),
        agent=agent.id,
        kind=agent.kind,
        name=agent.name,
        seconds=wish.seconds,
        claim=wish.claim,
    )
    return Held(run.execution, job, lease)


def holding(tx: Transaction, agent_id: uuid.UUID, digest: bytes) -> list[Held]:
    """What an agent holds, for one that was restarted and forgot."""
    who = {"digest": digest, "agent": agent_id}
    callers, rows = tx.together((IDENTIFY, who), (HOLDING, who))
    identified(callers, agent_id)
    return [held_of(row) for row in rows]


def missed(tx: Transaction, who: Json, wish: Wish) -> uuid.UUID | None:
    """The execution of the first job on offer, when none could be picked."""
    rows = tx.execute(FIRST_ON_OFFER, asked(who, wish)).fetchall()
    return rows[0]["execution_id"] if rows else None


def pick(who: Json, wish: Wish, *, ending: int = 0, enabled: bool = True) -> tuple[str, Json]:
    """The question for the next jobs. `ending`: leases of the agent that end in this transaction."""
    return pick_query(8 if wish.most <= 8 else 100), {
        **asked(who, wish),
        "most": wish.most if enabled else 0,
        "ending": ending,
    }


def asked(who: Json, wish: Wish) -> Json:
    return {**who, "actions": None if wish.actions is None else list(wish.actions)}


def held_of(row: Row) -> Held:
    return Held(execution_beside(row), job_of(row), lease_of(row, "l_"))


def standing(row: Row) -> Json:
    cancelled = row["outcome"] == "cancelled"
    return {
        "control": "cancel" if cancelled else "pause",
        "execution_id": row["execution_id"],
        "job_id": row["job_id"],
        "lease_id": row["id"],
        "reason": row["status_reason"],
    }


# The lanes that an agent draws from: its capabilities, what is assigned to it, and the same in
# executions that are reserved for it.
LANES: Final = """
me AS MATERIALIZED (
  SELECT a.id, a.kind, a.capabilities, a.max_concurrent,
    (SELECT count(*) FROM leases l
     WHERE l.agent_id = a.id AND l.ended_at IS NULL AND l.stilled_at IS NULL) AS busy
  FROM agents a JOIN api_tokens t ON t.agent_id = a.id
  WHERE (%(agent)s::uuid IS NULL OR a.id = %(agent)s) AND a.status IN ('active', 'unreachable') AND t.digest = %(digest)s
    AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
), able AS MATERIALIZED (
  SELECT c ->> 'action' AS action, nullif(c -> 'params', '{}') AS params
  FROM me, jsonb_array_elements(me.capabilities) c
  WHERE %(actions)s::text[] IS NULL OR c ->> 'action' = ANY (%(actions)s::text[])
), lanes AS MATERIALIZED (
  SELECT action AS lane, params FROM able
  UNION ALL SELECT 'agent:' || me.id, NULL FROM me
  UNION ALL SELECT 'human', NULL FROM me WHERE me.kind = 'human'
  UNION ALL SELECT able.action || '@' || g.execution_id, able.params
  FROM me JOIN engagements g ON g.agent_id = me.id, able
)"""


@cache
def candidates(look: int) -> str:
    # One equality a lane keeps the order of the index jobs_offered: no sort of every ready row. The
    # number is part of the text because the planner guesses badly about a limit it cannot see.
    return f"""{LANES}, candidate AS MATERIALIZED (
  SELECT c.id, c.execution_id,
    row_number() OVER (ORDER BY c.priority DESC, c.rank DESC, c.ready_at, c.id) AS place
  FROM lanes CROSS JOIN LATERAL (
    SELECT j.id, j.execution_id, j.priority, j.rank, j.ready_at FROM jobs j
    WHERE j.offered AND j.lane = lanes.lane AND (lanes.params IS NULL OR j.params @> lanes.params)
      AND (%(actions)s::text[] IS NULL OR j.action = ANY (%(actions)s::text[]))
    ORDER BY j.priority DESC, j.rank DESC, j.ready_at, j.id LIMIT {look}
  ) c
  ORDER BY place LIMIT {look}
)"""


@cache
def pick_query(look: int) -> str:
    return f"""WITH {candidates(look)}, room AS MATERIALIZED (
  SELECT least(%(most)s, me.max_concurrent - me.busy + %(ending)s) AS jobs FROM me
), house AS MATERIALIZED (
  SELECT {EXECUTION_BESIDE}
  FROM (SELECT execution_id, min(place) AS place FROM candidate GROUP BY execution_id) c
  JOIN executions e ON e.id = c.execution_id
  WHERE e.status IN ('queued', 'running', 'blocked')
  ORDER BY c.place LIMIT greatest((SELECT coalesce(min(jobs), 0) FROM room), 0)
  FOR NO KEY UPDATE OF e SKIP LOCKED
)
SELECT house.*, {JOB_COLUMNS}, {WORK_COLUMNS}
FROM house JOIN candidate ON candidate.execution_id = house.e_id JOIN jobs j ON j.id = candidate.id
WHERE j.offered
ORDER BY candidate.place LIMIT greatest((SELECT coalesce(min(jobs), 0) FROM room), 0)
FOR NO KEY UPDATE OF j SKIP LOCKED
"""


FIRST_ON_OFFER: Final = f"WITH {candidates(1)} SELECT execution_id FROM candidate"

# What stands still or was cancelled among what the agent holds, or held until just now.
CONTROL: Final = """
SELECT l.id, l.execution_id, l.job_id, l.outcome, e.status_reason
FROM leases l JOIN executions e ON e.id = l.execution_id
WHERE l.agent_id = %(agent)s AND l.ended_at IS NULL AND e.status = 'paused'
UNION ALL
SELECT l.id, l.execution_id, l.job_id, l.outcome, e.status_reason
FROM leases l JOIN executions e ON e.id = l.execution_id
WHERE l.agent_id = %(agent)s AND l.outcome = 'cancelled' AND l.ended_at > now() - interval '10 min'
LIMIT 100
"""

HELD: Final = f"""
SELECT {LEASE_BESIDE}, {EXECUTION_BESIDE}, {JOB_COLUMNS}, {WORK_COLUMNS}
FROM leases l JOIN jobs j ON j.id = l.job_id JOIN executions e ON e.id = l.execution_id
WHERE l.agent_id = %(agent)s"""
REPEATED: Final = HELD + " AND l.claim = %(claim)s ORDER BY l.id"
HOLDING: Final = HELD + " AND l.ended_at IS NULL ORDER BY l.id"
