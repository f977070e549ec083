"""A transaction's last flight, however heavy."""

from __future__ import annotations

import threading

from app.db import Database


def test_large_statements_leave_with_the_commit(database: Database) -> None:
    """Megabytes still wait to be sent when the commit is queued behind them."""
    heavy = "x" * 5_000_000

    def write() -> None:
        with database.transaction() as tx:
            for _ in range(3):
                tx.later("SELECT length(%(text)s::text)", {"text": heavy})

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(20)
    assert not writing.is_alive(), "the commit waits for an answer to what was never sent"
