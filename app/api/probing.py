"""Looking at each thing that the service needs, without waiting long for any of them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

import psycopg
import redis
from psycopg.rows import dict_row

from app import migrating
from app.settings import Settings

PATIENCE_SECONDS: Final = 2.0
CLOCK_SILENCE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen; with a hint where something is missing."""

    detail: str
    hint: str | None = None


Findings = dict[str, Finding]

LOOK: Final = """
SELECT to_regclass('alembic_version') IS NOT NULL AS migrated,
       to_regclass('beats') IS NOT NULL AS beating
"""
SILENCE: Final = """
SELECT extract(epoch FROM now() - max(seen_at)) AS seconds FROM beats WHERE kind = 'clock'
"""
LOOK_AT_IT: Final = "Look whether it runs, at its log, and at the network between."


def look_at_database(settings: Settings) -> Findings:
    """On a connection of its own: the pool may be exhausted, or full of dead ones."""
    with psycopg.connect(
        settings.database_url,
        connect_timeout=2,
        application_name="taskyard ready",
        options="-c statement_timeout=1500",
        row_factory=dict_row,
        autocommit=True,
    ) as connection:
        there = connection.execute(LOOK).fetchone() or {}
        found = {"postgresql": Finding("answers")}
        revision = None
        if there["migrated"]:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            revision = row["version_num"] if row else None
        found["migrations"] = judge_revision(revision)
        silence = None
        if there["beating"]:
            row = connection.execute(SILENCE).fetchone()
            silence = row["seconds"] if row else None
        found["clock"] = judge_silence(None if silence is None else float(silence))
        return found


def judge_revision(revision: str | None) -> Finding:
    newest = migrating.newest()
    if revision == newest:
        return Finding(f"at {newest}")
    if revision is not None and revision > newest:
        # A deploy is under way: a migration is compatible with the code before it.
        return Finding(f"at {revision}, newer than this process ({newest})")
    return Finding(f"at {revision or 'none'}, needs {newest}", "Run `taskyard migrate`.")


def judge_silence(seconds: float | None) -> Finding:
    if seconds is None:
        return Finding("has never beaten", "Start the clock process: `taskyard clock`.")
    if seconds > CLOCK_SILENCE_SECONDS:
        return Finding(
            f"last beat {seconds:.0f} s ago", "Look at the clock's log, or start `taskyard clock`."
        )
    return Finding(f"last beat {max(seconds, 0):.0f} s ago")


def look_at_redis(settings: Settings) -> Findings:
    client = redis.Redis.from_url(
        settings.redis_url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=None
    )
    try:
        client.ping()
    finally:
        client.close()
    return {"redis": Finding("answers")}


LOOKS: Final = {
    look_at_database: ("postgresql", "migrations", "clock"),
    look_at_redis: ("redis",),
}
ORDER: Final = ("postgresql", "redis", "migrations", "clock")

_pool = ThreadPoolExecutor(max_workers=len(LOOKS), thread_name_prefix="ready")
_running: dict[str, Future[Findings]] = {}
_lock = threading.Lock()


def probe(settings: Settings) -> Findings:
    """All of them at once. A look that hangs is not started a second time beside the first: a
    load balancer that asks every second would pile them up."""
    asked = {}
    with _lock:
        for look in LOOKS:
            name = f"{look.__name__} {settings.database_url} {settings.redis_url}"
            running = _running.get(name)
            if running is None or running.done():
                running = _running[name] = _pool.submit(look, settings)
            asked[look] = running
    wait(asked.values(), timeout=PATIENCE_SECONDS)
    found: Findings = {}
    for look, future in asked.items():
        names = LOOKS[look]
        try:
            found |= future.result(timeout=0)
        except TimeoutError:
            found |= unanswered(names, f"no answer in {PATIENCE_SECONDS:.0f} s")
        except (psycopg.Error, redis.RedisError, OSError) as fault:
            found |= unanswered(names, f"does not answer ({type(fault).__name__})")
    return {name: found[name] for name in ORDER}


def unanswered(names: tuple[str, ...], detail: str) -> Findings:
    """The server, and what could only be asked of it."""
    server, *rest = names
    told = {server: Finding(detail, LOOK_AT_IT)}
    for name in rest:
        told[name] = Finding("unknown", f"Bring {server} back first.")
    return told
