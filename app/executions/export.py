"""All of an execution, a line a row: read in batches, with no transaction open in between."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

import orjson

from app.db import Database, Json, Transaction
from app.executions.queries import read_events, told_event

BATCH: Final = 500
FORMAT: Final = 1
OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


def export(database: Database, execution_id: uuid.UUID) -> Iterator[bytes]:
    """JSON Lines, a batch at a time. The last line counts the others: without it, it was cut off.

    Rows that change meanwhile are told as they are when their batch is read.
    """
    written: dict[str, int] = {}
    for kind in TABLES:
        last: uuid.UUID | None = None
        while True:
            with database.transaction() as tx:
                rows = read_batch(tx, kind, execution_id, last)
            if not rows:
                break
            last = rows[-1]["id"]
            written[kind] = written.get(kind, 0) + len(rows)
            yield b"".join(line(kind, row) for row in rows)
    after = 0
    while True:
        with database.transaction() as tx:
            page = read_events(tx, execution_id, after=after, limit=BATCH)
        if page.events:
            written["event"] = written.get("event", 0) + len(page.events)
            yield b"".join(line("event", told_event(row)) for row in page.events)
        if page.next_after >= page.last:
            break
        after = page.next_after
    yield line("end", {"format": FORMAT, "lines": written})


def read_batch(
    tx: Transaction, kind: str, execution_id: uuid.UUID, last: uuid.UUID | None
) -> list[Json]:
    tx.execute("SET LOCAL timezone TO 'UTC'")  # the database writes the times itself
    given = {"execution": execution_id, "last": last or uuid.UUID(int=0), "batch": BATCH}
    return [row["told"] for row in tx.execute(TABLES[kind], given).fetchall()]


def line(kind: str, told: Json) -> bytes:
    return orjson.dumps({"kind": kind, "data": told}, option=OPTIONS, default=str)


def table(name: str, where: str, without: str = "") -> str:
    """Whole rows as the database itself writes them: a new column is exported without a word."""
    return f"""
SELECT to_jsonb(t) - ARRAY[{without}]::text[] AS told
FROM {name} t WHERE {where} AND t.id > %(last)s ORDER BY t.id LIMIT %(batch)s
"""


MINE: Final = "t.execution_id = %(execution)s"
TABLES: Final = {
    "execution": table("executions", "t.id = %(execution)s", "'callback_url'"),
    "task": table("execution_tasks", MINE),
    "job": table("jobs", MINE),
    "dependency": table(
        "job_dependencies",
        "t.job_id IN (SELECT id FROM jobs j WHERE j.execution_id = %(execution)s)",
    ),
    "attempt": table("leases", MINE, "'claim', 'workspace'"),
    "checkpoint": table("checkpoints", MINE, "'decided_from'"),
}
