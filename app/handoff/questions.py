"""The statements with which the desk asks everything that it needs, in one flight.

Order of locks: executions that were missed before, by id, are waited for, then agents by id. All
other executions, and jobs, are only tried: those that another transaction holds are skipped. So
no two desks, and no desk and a person's change, can wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from psycopg.types.json import Jsonb

from app.agents.calling import Draw
from app.db import Json
from app.executions.rows import (
    EXECUTION_COLUMNS,
    JOB_COLUMNS,
    LEASE_COLUMNS,
    WORK_COLUMNS,
)

Question = tuple[str, Json]

# First of every flight. These statements are long, and planning them anew each time costs three
# times their running, so their plans are kept. A plan that is kept must not depend on how small the
# tables were when it was made: by an index, row by row, whatever the statistics say.
BEGIN: Final = f"""SELECT now(), set_config('plan_cache_mode', 'force_generic_plan', true), {
    ", ".join(
        f"set_config('enable_{way}', 'off', true)"
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")
    )
}"""


def pick(draws: Iterable[Draw], most: int, actions: Sequence[str] | None = None) -> Question:
    """The next jobs on offer in these lanes, locked, with their executions."""
    drawn = list(draws)
    return pick_query(look_for(most)), {
        "lanes": [draw.lane for draw in drawn],
        "narrow": [None if draw.params is None else Jsonb(draw.params) for draw in drawn],
        "actions": None if actions is None else list(actions),
        "most": most,
    }


def first_on_offer(draws: Iterable[Draw], actions: Sequence[str] | None) -> Question:
    _, params = pick(draws, 1, actions)
    return FIRST_ON_OFFER, params


def look_for(most: int) -> int:
    """How far to look, in a few sizes only: each is a statement of its own. Further than is wished
    for, because some of what is on offer will be in other hands."""
    return next((size for size in (12, 40, 120, 400) if size >= 3 * most), 4000)


@cache
def candidates(look: int) -> str:
    # One equality a lane keeps the order of the index jobs_offered: no sort of every ready row. The
    # number is part of the text because the planner guesses badly about a limit it cannot see.
    return f"""
candidate AS MATERIALIZED (
  SELECT c.id, c.execution_id, drawn.lane,
    row_number() OVER (ORDER BY c.priority DESC, c.rank DESC, c.ready_at, c.id) AS place
  FROM unnest(%(lanes)s::text[], %(narrow)s::jsonb[]) AS drawn(lane, params)
  CROSS JOIN LATERAL (
    SELECT j.id, j.execution_id, j.priority, j.rank, j.ready_at FROM jobs j
    WHERE j.offered AND j.lane = drawn.lane AND (drawn.params IS NULL OR j.params @> drawn.params)
      AND (%(actions)s::text[] IS NULL OR j.action = ANY (%(actions)s::text[]))
    ORDER BY j.priority DESC, j.rank DESC, j.ready_at, j.id LIMIT {look}
  ) c
  ORDER BY place LIMIT {look}
)"""


@cache
def pick_query(look: int) -> str:
    return f"""
WITH {candidates(look)}, house AS MATERIALIZED (
  SELECT {EXECUTION_COLUMNS}
  FROM (SELECT execution_id, min(place) AS place FROM candidate GROUP BY execution_id) c
  JOIN executions e ON e.id = c.execution_id
  WHERE e.status IN ('queued', 'running', 'blocked')
  ORDER BY c.place LIMIT %(most)s
  FOR NO KEY UPDATE OF e SKIP LOCKED
)
SELECT house.*, {JOB_COLUMNS}, {WORK_COLUMNS}
FROM house JOIN candidate ON candidate.execution_id = house.id JOIN jobs j ON j.id = candidate.id
WHERE j.offered
ORDER BY candidate.place LIMIT %(most)s
FOR NO KEY UPDATE OF j SKIP LOCKED
"""


FIRST_ON_OFFER: Final = f"WITH {candidates(1)} SELECT execution_id, lane FROM candidate"

# Those that were missed before are waited for; the others only tried, so that one execution in
# other hands holds up none but its own calls.
HOLD_MISSED: Final = f"""
SELECT {EXECUTION_COLUMNS} FROM executions e WHERE e.id = ANY (%(executions)s)
ORDER BY e.id FOR NO KEY UPDATE
"""
HOLD_FREE: Final = f"{HOLD_MISSED} SKIP LOCKED"
# After the lock on the agents' rows, or two polls of one agent would both see room for one more.
BUSY: Final = """
SELECT l.agent_id, count(DISTINCT l.id) AS jobs
FROM leases l JOIN api_tokens t ON t.agent_id = l.agent_id
WHERE t.digest = ANY (%(digests)s) AND l.ended_at IS NULL AND l.stilled_at IS NULL
GROUP BY l.agent_id
"""
JOBS: Final = f"SELECT {JOB_COLUMNS} FROM jobs j WHERE j.id = ANY (%(jobs)s)"
LEASES: Final = f"SELECT {LEASE_COLUMNS} FROM leases l WHERE l.id = ANY (%(leases)s)"
RECEIPTS: Final = """
SELECT r.agent_id, r.key, r.digest, r.answer
FROM unnest(%(digests)s::bytea[], %(keys)s::text[]) AS asked(digest, key)
JOIN api_tokens t ON t.digest = asked.digest
JOIN receipts r ON r.agent_id = t.agent_id AND r.key = asked.key
"""
KEEP_RECEIPTS: Final = """
INSERT INTO receipts (id, agent_id, key, digest, answer)
SELECT r.id, r.agent_id, r.key, decode(r.digest, 'hex'), r.answer
FROM jsonb_to_recordset(%(receipts)s)
  AS r(id uuid, agent_id uuid, key text, digest text, answer jsonb)
"""
HAS_HELD: Final = """
SELECT 1 FROM leases WHERE agent_id = %(agent)s AND execution_id = %(execution)s LIMIT 1
"""
# What stands still or was cancelled among what an agent holds, or held until just now.
STANDING: Final = """
SELECT DISTINCT l.agent_id, l.id, l.execution_id, l.job_id, l.outcome, e.status_reason
FROM api_tokens t CROSS JOIN LATERAL (
  SELECT * FROM leases
  WHERE agent_id = t.agent_id AND ended_at IS NULL AND stilled_at IS NOT NULL
  UNION ALL
  SELECT * FROM leases
  WHERE agent_id = t.agent_id AND outcome = 'cancelled' AND ended_at > now() - interval '10 min'
) l JOIN executions e ON e.id = l.execution_id
WHERE t.digest = ANY (%(digests)s) AND (l.outcome = 'cancelled' OR e.status = 'paused')
"""
HELD: Final = f"""
SELECT {LEASE_COLUMNS}, {EXECUTION_COLUMNS}, {JOB_COLUMNS}, {WORK_COLUMNS}
FROM leases l JOIN jobs j ON j.id = l.job_id JOIN executions e ON e.id = l.execution_id
"""
# A poll repeated under its claim id finds what it was given; ended or not, it is given no more.
GIVEN: Final = f"""{HELD}
JOIN unnest(%(digests)s::bytea[], %(claims)s::text[]) AS asked(digest, claim)
  ON asked.claim = l.claim
JOIN api_tokens t ON t.digest = asked.digest AND t.agent_id = l.agent_id
ORDER BY l.id
"""
HOLDING: Final = f"{HELD} WHERE l.agent_id = %(agent)s AND l.ended_at IS NULL ORDER BY l.id"
