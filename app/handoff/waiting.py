"""Long polls: who finds nothing sleeps until the bell rings, with no database connection held."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from app.bell import Bell, Ring
from app.db import Database
from app.handoff.calls import Answers, Call
from app.handoff.counter import Counter

MISSED_SECONDS: Final = 0.05
MOST_MISSES: Final = 3


def ask_for_work(
    counter: Counter, bell: Bell, call: Call, seconds: float, gone: Callable[[], bool]
) -> Answers:
    """Looks for work, for so many seconds. Subscribes before it looks, so that no ring is lost.

    Who has `gone` meanwhile gets nothing: the job would wait for its start deadline.
    """
    answers = look(counter, call)
    if answers.work or answers.barred or seconds <= 0:
        return answers
    until = time.monotonic() + seconds
    with bell.waiting.for_work(answers.agent.lanes) as waiter:
        while not bell.closing.is_set() and not gone():
            ring = waiter.take_ring()
            answers = look(counter, call)
            left = until - time.monotonic()
            if answers.work:
                break
            if ring is not None and for_others(counter, call, answers, ring):
                bell.waiting.pass_on(ring)
            if answers.barred or left <= 0:
                break
            # Beside work that another transaction holds nobody sleeps for long.
            waiter.wait(min(left, MISSED_SECONDS if answers.missed else left))
    # It came after the last look, to one who goes: somebody else waits for it.
    late = waiter.take_ring()
    if late is not None:
        bell.waiting.pass_on(late)
    return answers


def for_others(counter: Counter, call: Call, answers: Answers, ring: Ring) -> bool:
    """Whether what rang is there, though not for this one."""
    if answers.missed is not None or answers.barred:
        return True
    draws = [draw for draw in answers.agent.draws if draw.lane == ring.lane]
    choosy = call.wish is not None and call.wish.actions is not None
    if not choosy and any(draw.params is None for draw in draws):
        return False  # it would have fitted, so it is gone
    return look_for_work(counter.database, [ring.lane])[ring.lane] > 0


def look(counter: Counter, call: Call) -> Answers:
    """Asks once; where all that is on offer is in other hands, waits for the first of it."""
    answers = counter.serve(call)
    for _ in range(MOST_MISSES):
        if answers.work or answers.missed is None:
            break
        answers = counter.serve(replace(call, missed=answers.missed))
    return answers


def look_for_work(database: Database, lanes: list[str]) -> dict[str, int]:
    """How many jobs are on offer in these lanes, counting no further than anybody could wait."""
    with database.transaction() as tx:
        rows = tx.execute(ON_OFFER, {"lanes": lanes}).fetchall()
    return {row["lane"]: row["jobs"] for row in rows}


ON_OFFER: Final = """
SELECT lane.lane, (SELECT count(*) FROM (
    SELECT 1 FROM jobs j WHERE j.offered AND j.lane = lane.lane LIMIT 100) seen) AS jobs
FROM unnest(%(lanes)s::text[]) AS lane(lane)
"""
