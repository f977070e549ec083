"""Waiting for the servers: a process that comes up a second before them must not crash."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

import psycopg
import redis

from app.errors import Unavailable
from app.stopping import stopping
from app.variables import masked, printable

log = logging.getLogger(__name__)


class WrongAddress(Unavailable):
    """A server answered, and no amount of waiting will change what it said."""


def for_database(url: str, patience: float | None = None) -> None:
    """Return once PostgreSQL answers. Without patience: wait for as long as it takes."""
    _wait("PostgreSQL", url, lambda: ask_database(url), patience)


def for_redis(url: str, patience: float | None = None) -> None:
    """Return once Redis answers. Without patience: wait for as long as it takes."""
    _wait("Redis", url, lambda: ask_redis(url), patience)


def ask_database(url: str) -> None:
    """One question. Raises Unavailable, or WrongAddress where waiting is in vain."""
    try:
        psycopg.connect(url, connect_timeout=5, application_name="taskyard wait").close()
    except psycopg.OperationalError as fault:
        said = _last_line(fault)
        # FATAL is what the server says; these three of its words pass with time.
        passing = ("starting up", "shutting down", "too many", "in recovery", "reserved for")
        if "FATAL" in said and not any(words in said for words in passing):
            raise WrongAddress(said) from fault
        if "could not translate host name" in said or "failed to resolve host" in said:
            raise WrongAddress(said) from fault
        raise Unavailable(said) from fault


def ask_redis(url: str) -> None:
    client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError) as fault:
        raise WrongAddress(_last_line(fault)) from fault
    except (redis.RedisError, OSError) as fault:
        said = _last_line(fault)
        if "Name or service not known" in said or "No address" in said:
            raise WrongAddress(said) from fault
        raise Unavailable(said) from fault
    finally:
        client.close()


def _wait(name: str, url: str, ask: Callable[[], None], patience: float | None) -> None:
    deadline = None if patience is None else time.monotonic() + patience
    pause = 0.1
    said = False
    while not stopping.is_set():
        try:
            ask()
        except Unavailable as fault:
            late = deadline is not None and time.monotonic() + pause > deadline
            if late or (deadline is not None and isinstance(fault, WrongAddress)):
                raise Unavailable(
                    f"{name} at {masked(url)} cannot be used: {fault}.",
                    hint=f"Check that it runs, and the address in"
                    f" {'DATABASE_URL' if name == 'PostgreSQL' else 'REDIS_URL'}.",
                ) from fault
            if not said:
                log.warning("waiting for %s at %s: %s", name, masked(url), fault)
                said = True
        else:
            if said:
                log.info("%s answers", name)
            return
        stopping.wait(pause * random.uniform(0.7, 1.3))  # spreads the herd
        pause = min(pause * 2, 5)


def _last_line(fault: Exception) -> str:
    """libpq tells what it tried on one line each; the reason stands on the last that is not."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Is the server", "Multiple"))]
    return printable((told or lines or ["no reason given"])[-1], 300).rstrip(".")
