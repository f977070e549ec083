"""The newest events of each execution that is watched: read once a process, however many watch."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson

from app.db import Database, Transaction
from app.executions.queries import EVENT_COLUMNS, MOST_STORED, told_event
from app.executions.states import ENDED

BATCH: Final = 500
KEPT_LINES: Final = 500
KEPT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One event, written as JSON for all who will read it."""

    number: int
    type: str
    json: bytes


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an execution found: its state, and the lines behind a number."""

    lines: list[Line]
    status: str
    last: int

    @property
    def whole(self) -> bool:
        """Whether there was nothing more to read."""
        return not self.lines or self.lines[-1].number >= self.last


class Tail:
    """The end of one execution's log, as this process last saw it.

    What is kept comes only from looks that reached the end of the log, so nothing is missing in it.
    Who is further behind than it reaches reads for itself until it has caught up.
    """

    def __init__(self, database: Database, execution_id: uuid.UUID) -> None:
        self.execution_id = execution_id
        self.watchers = 0
        self.status = ""
        self.last = 0
        self.gone = False
        self._database = database
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._looked_at = float("-inf")

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def after(self, number: int, fresh: float) -> tuple[list[Line], int]:
        """Lines behind a number, from a look no older than `fresh` (of time.monotonic); and the
        number that the reader has reached with them."""
        with self._lock:
            kept = self._kept_after(number)
            if kept:
                return kept, kept[-1].number
            if number >= self.last:
                if self._looked_at < fresh:
                    return self._look(number)
                return [], number
        return reached(self._read(number), number)

    def _kept_after(self, number: int) -> list[Line]:
        if not self._lines or not self._lines[0].number <= number + 1 <= self._lines[-1].number:
            return []
        return self._lines[number + 1 - self._lines[0].number :]

    def _look(self, number: int) -> tuple[list[Line], int]:
        """Looks while the others wait for what it finds."""
        began = time.monotonic()
        found = self._read(number)
        if found is None:
            self.gone = True
        elif found.whole:
            self._keep(found)
            self._looked_at = began
        return reached(found, number)

    def _keep(self, found: Look) -> None:
        joined = [*self._lines, *found.lines] if self._joins(found) else list(found.lines)
        size = 0
        for place in range(len(joined) - 1, -1, -1):
            size += len(joined[place].json)
            if size > KEPT_BYTES or len(joined) - place > KEPT_LINES:
                joined = joined[place + 1 :]
                break
        self._lines = joined
        self.status, self.last = found.status, found.last

    def _joins(self, found: Look) -> bool:
        if not self._lines or not found.lines:
            return bool(self._lines)
        return self._lines[-1].number + 1 == found.lines[0].number

    def _read(self, number: int) -> Look | None:
        with self._database.transaction() as tx:
            return look(tx, self.execution_id, number)


def reached(found: Look | None, number: int) -> tuple[list[Line], int]:
    """Where the oldest events have been archived, there is nothing to wait for."""
    if found is None:
        return [], number
    if found.lines:
        return found.lines, found.lines[-1].number
    return [], max(number, found.last)


class Tails:
    """The tails of this process. One that nobody watches any more is forgotten."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._tails: dict[uuid.UUID, Tail] = {}

    @contextmanager
    def watch(self, execution_id: uuid.UUID) -> Iterator[Tail]:
        with self._lock:
            tail = self._tails.get(execution_id)
            if tail is None:
                tail = self._tails[execution_id] = Tail(self._database, execution_id)
            tail.watchers += 1
        try:
            yield tail
        finally:
            with self._lock:
                tail.watchers -= 1
                if not tail.watchers:
                    del self._tails[execution_id]


def look(tx: Transaction, execution_id: uuid.UUID, number: int) -> Look | None:
    """State and lines in one statement: so they belong to the same moment."""
    given = {"execution": execution_id, "after": number, "batch": BATCH, "bytes": MOST_STORED}
    rows = tx.execute(LOOK, given).fetchall()
    if not rows:
        return None
    lines = [
        Line(row["number"], row["type"], orjson.dumps(told_event(row), option=orjson.OPT_UTC_Z))
        for row in rows
        if row["number"] is not None
    ]
    return Look(lines, rows[0]["status"], rows[0]["last_event"])


LOOK: Final = f"""
SELECT e.status, e.last_event, v.* FROM executions e LEFT JOIN LATERAL (
  SELECT * FROM (
    SELECT {EVENT_COLUMNS},
      sum(pg_column_size(v.data) + pg_column_size(v.message)) OVER (ORDER BY v.number)
        - pg_column_size(v.data) - pg_column_size(v.message) AS before
    FROM (
      SELECT * FROM execution_events v WHERE v.execution_id = e.id AND v.number > %(after)s
      ORDER BY v.number LIMIT %(batch)s
    ) v
  ) v WHERE v.before < %(bytes)s
) v ON true
WHERE e.id = %(execution)s ORDER BY v.number
"""
