"""Rate limits, per key and per address. They live in Redis; without it everybody may go on.

A purse is filled from Redis with a handful of turns at a time, so that most requests ask nobody.
Each process may therefore be off by one handful a window, which is what these limits can bear.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any, Final

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.errors import TooMany

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 0.25
FIRST_REST_SECONDS: Final = 1.0
LONGEST_REST_SECONDS: Final = 30.0
MOST_PURSES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Limit:
    """So many turns in so many seconds, taken from Redis by the handful (a divisor of `turns`)."""

    name: str
    turns: int
    seconds: int
    handful: int

    @property
    def item(self) -> RateLimitItemPerSecond:
        return RateLimitItemPerSecond(self.turns, self.seconds, self.name)


@dataclass(frozen=True, slots=True)
class Pair:
    """What one key may, and what all the keys behind one address may together."""

    key: Limit
    address: Limit


def pair(name: str, turns: int, address_turns: int, handfuls: int) -> Pair:
    return Pair(
        Limit(name, turns, 60, max(1, turns // handfuls)),
        Limit(f"{name}-address", address_turns, 60, max(1, address_turns // handfuls)),
    )


POLLS: Final = pair("polls", 6_000, 300_000, 100)
EVENTS: Final = pair("events", 30_000, 300_000, 100)
OTHERS: Final = pair("others", 6_000, 30_000, 100)
LOGINS: Final = pair("logins", 10, 60, 60)  # tried one by one: a handful is one turn


@dataclass(slots=True)
class Purse:
    """Turns that this process may spend before it asks again, or until when there are none."""

    turns: int = 0
    until: float = 0.0
    refused_until: float = 0.0


@dataclass(slots=True)
class Limits:
    """The limits of one process. `take` either lets the request pass or raises TooMany."""

    url: str
    enabled: bool = True
    _purses: dict[tuple[str, str], Purse] = field(default_factory=dict)
    _limiter: FixedWindowRateLimiter | None = None
    _storage: RedisStorage | None = None
    _resting_until: float = 0.0
    _rest: float = FIRST_REST_SECONDS

    @property
    def resting_until(self) -> float:
        """While Redis is left alone, because it did not answer."""
        return self._resting_until

    @property
    def size(self) -> int:
        return len(self._purses)

    def close(self) -> None:
        if self._storage is not None:
            self._storage.storage.close()
        self._storage = self._limiter = None

    def take(self, limit: Limit, who: str) -> None:
        if not self.enabled:
            return
        now = time.monotonic()
        purse = self._purses.get((limit.name, who))
        if purse is None:
            purse = self._open_purse(limit, who, now)
        if purse.turns > 0 and now < purse.until:
            purse.turns -= 1
            return
        if now < purse.refused_until:
            raise self._refusal(limit, purse.refused_until - now)
        if now < self._resting_until:
            return
        self._fill(limit, who, purse, now)
        if purse.turns > 0:
            purse.turns -= 1
        elif purse.refused_until > now:
            raise self._refusal(limit, purse.refused_until - now)

    def _fill(self, limit: Limit, who: str, purse: Purse, now: float) -> None:
        try:
            limiter = self._reach()
            if limiter.hit(limit.item, who, cost=limit.handful):
                purse.turns = limit.handful
                purse.until = now + limit.seconds
            else:
                reset = limiter.get_window_stats(limit.item, who).reset_time - time.time()
                purse.turns = 0
                purse.refused_until = now + min(max(reset, 1.0), limit.seconds)
        except (RedisError, OSError) as fault:
            # Asking a dead server again at each request would slow all of them down.
            self._resting_until = time.monotonic() + self._rest
            log.warning(
                "rate limits are off for %.0f s: Redis does not answer (%s)",
                self._rest,
                type(fault).__name__,
            )
            self._rest = min(self._rest * 2, LONGEST_REST_SECONDS)
        else:
            self._rest = FIRST_REST_SECONDS

    def _reach(self) -> FixedWindowRateLimiter:
        if self._limiter is None:
            patience: dict[str, Any] = {
                "socket_timeout": PATIENCE_SECONDS,
                "socket_connect_timeout": PATIENCE_SECONDS,
                "retry": Retry(NoBackoff(), 0),
            }
            self._storage = RedisStorage(self.url, key_prefix="taskyard:limits", **patience)
            self._limiter = FixedWindowRateLimiter(self._storage)
        return self._limiter

    def _open_purse(self, limit: Limit, who: str, now: float) -> Purse:
        if len(self._purses) >= MOST_PURSES:
            self._purses = {
                place: purse
                for place, purse in self._purses.items()
                if purse.until > now or purse.refused_until > now
            }
            if len(self._purses) >= MOST_PURSES:
                self._purses.clear()
        return self._purses.setdefault((limit.name, who), Purse())

    @staticmethod
    def _refusal(limit: Limit, wait: float) -> TooMany:
        seconds = max(1, math.ceil(wait))
        return TooMany(
            f"More than {limit.turns} of these requests came within {limit.seconds} s.",
            hint=f"Wait {seconds} s. An agent that waits for work polls with wait=60.",
            retry_after=seconds,
            headers={
                "RateLimit": f'"{limit.name}";r=0;t={seconds}',
                "RateLimit-Policy": f'"{limit.name}";q={limit.turns};w={limit.seconds}',
            },
        )
