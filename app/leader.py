"""Which of several clocks sweeps: the one whose session holds PostgreSQL's advisory lock."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final

import psycopg

log = logging.getLogger(__name__)

LOCK: Final = 0x636C6F63


class Leadership:
    """A session of its own, held open: when it dies, so does the lock, and another takes over."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: psycopg.Connection[Any] | None = None
        self.held = False

    def seek(self) -> bool:
        """Take the lock if it is free, or make sure that it is still ours."""
        try:
            if self._session is None or self._session.closed:
                self._session = self._connect()
                self.held = False
            if self.held:
                self._session.execute("SELECT 1")
            else:
                row = self._session.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
                self.held = bool(row and row[0])
        except psycopg.Error as fault:
            if self.held:
                log.warning("lost the database, and with it the lead: %s", fault)
            self.give_up()
        return self.held

    def give_up(self) -> None:
        self.held = False
        if self._session is not None:
            with contextlib.suppress(psycopg.Error):
                self._session.close()
            self._session = None

    def _connect(self) -> psycopg.Connection[Any]:
        # Short probes both ways: a host that vanishes without a word must not lead for hours.
        return psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=5,
            application_name="taskyard clock",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            options="-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2"
            " -c tcp_keepalives_count=3",
        )


def is_led(connection: psycopg.Connection[Any]) -> bool:
    """Whether any clock holds the lead."""
    question = (
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND classid = 0 AND objid = %s AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return connection.execute(question, [LOCK]).fetchone() is not None
