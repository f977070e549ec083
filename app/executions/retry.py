"""Whether a failed attempt is tried again, and when. Pure: `now` and the dice are handed in."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

MOST_RETURNS: Final = 20
BASE_SECONDS: Final = 30.0
CAP_SECONDS: Final = 3600.0
JITTER: Final = 0.2
QUOTA_SECONDS: Final = 60.0

# Errors that another attempt may mend; `quota` waits without using one.
RETRIED: Final = frozenset({"transient", "timeout", "lost"})
ERROR_CLASSES: Final = (
    "transient",
    "quota",
    "bad_input",
    "needs_human",
    "timeout",
    "decomposition_failed",
    "fatal",
)


@dataclass(frozen=True, slots=True)
class Again:
    """The job goes back to the queue, at the earliest then."""

    not_before: dt.datetime | None
    uses_attempt: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No retry mends it; why, in words."""

    reason: str


def backoff(policy: dict[str, Any], attempts_used: int, dice: float) -> dt.timedelta:
    """Exponential with jitter: base · 2^(n-1), capped, give or take the jitter. `dice` in 0..1."""
    base = float(policy.get("base_seconds", BASE_SECONDS))
    cap = float(policy.get("cap_seconds", CAP_SECONDS))
    jitter = float(policy.get("jitter", JITTER))
    seconds = min(cap, base * 2.0 ** min(max(attempts_used - 1, 0), 30))
    return dt.timedelta(seconds=seconds * (1 + jitter * (2 * dice - 1)))


def after_failure(
    error_class: str,
    *,
    attempts_used: int,
    max_attempts: int,
    returns: int,
    policy: dict[str, Any],
    now: dt.datetime,
    dice: float,
    reset_at: dt.datetime | None = None,
) -> Again | GiveUp:
    """`attempts_used` counts the attempt that has just failed, unless it was for want of quota."""
    if error_class == "quota":
        if returns >= MOST_RETURNS:
            return GiveUp(f"It waited for quota {returns} times in a row.")
        wait = backoff({"base_seconds": QUOTA_SECONDS}, returns, dice)
        return Again(max(reset_at, now) if reset_at else now + wait, uses_attempt=False)
    if error_class not in RETRIED:
        return GiveUp(UNMENDED.get(error_class, "No retry mends this error."))
    if attempts_used >= max_attempts:
        return GiveUp(f"All {max_attempts} attempts are used up.")
    return Again(now + backoff(policy, attempts_used, dice), uses_attempt=True)


def after_return(returns: int, *, what: str) -> Again | GiveUp:
    """Handed back, or its lease ran out, before it was begun: no attempt, but not for ever."""
    if returns >= MOST_RETURNS:
        return GiveUp(f"{what} {returns} times in a row.")
    return Again(None, uses_attempt=False)


UNMENDED: Final = {
    "bad_input": "Its input is wrong, which no retry mends.",
    "fatal": "Its agent says that no retry mends this.",
    "needs_human": "Its agent asks for a person.",
    "decomposition_failed": "Its agent could not break it down or make sense of it.",
}
