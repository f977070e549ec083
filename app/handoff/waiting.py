"""Long polls: who finds nothing sleeps until the bell rings, with no database connection held."""

from __future__ import annotations

import time
import uuid
from typing import Final

from app.bell import Bell
from app.db import Database
from app.executions.run import hold
from app.handoff.claim import Claimed, Wish, claim
from app.handoff.terms import Terms

MISSED_SECONDS: Final = 0.05
MOST_MISSES: Final = 3


def claim_or_wait(
    database: Database,
    bell: Bell,
    terms: Terms,
    agent_id: uuid.UUID,
    digest: bytes,
    wish: Wish,
    seconds: float,
) -> Claimed:
    """Looks for work, for so many seconds. Subscribes before it looks, so that no ring is lost."""
    claimed = look(database, terms, agent_id, digest, wish)
    if claimed.work or claimed.barred or seconds <= 0:
        return claimed
    until = time.monotonic() + seconds
    with bell.waiting.for_work(claimed.agent.lanes) as waiter:
        while not bell.closing.is_set():
            claimed = look(database, terms, agent_id, digest, wish)
            if claimed.work or claimed.barred:
                return claimed
            left = until - time.monotonic()
            if left <= 0:
                return claimed
            if waiter.rung is not None and claimed.missed is not None:
                # Work is there which is not for this one: the next in the queue may take it.
                bell.waiting.ring(waiter.rung, 1)
            waiter.rung = None
            # Beside work that another transaction holds nobody sleeps for long.
            waiter.wait(min(left, MISSED_SECONDS if claimed.missed else left))
    return claimed


def look(
    database: Database, terms: Terms, agent_id: uuid.UUID, digest: bytes, wish: Wish
) -> Claimed:
    """Claims; where all that is on offer is in other hands, waits for the first of them."""
    with database.transaction() as tx:
        claimed = claim(tx, terms, agent_id, digest, wish)
    for _ in range(MOST_MISSES):
        if claimed.missed is None:
            break
        with database.transaction() as tx:
            hold(tx, claimed.missed)
            claimed = claim(tx, terms, agent_id, digest, wish)
    return claimed


def look_for_work(database: Database, lanes: list[str]) -> dict[str, int]:
    """How many jobs are on offer in these lanes, counting no further than anybody could wait."""
    with database.transaction() as tx:
        rows = tx.execute(ON_OFFER, {"lanes": lanes}).fetchall()
    return {row["lane"]: row["jobs"] for row in rows}


ON_OFFER: Final = """
SELECT lane.lane, (SELECT count(*) FROM (
    SELECT 1 FROM jobs j WHERE j.offered AND j.lane = lane.lane LIMIT 100) some) AS jobs
FROM unnest(%(lanes)s::text[]) AS lane(lane)
"""
