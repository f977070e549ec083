"""Runs the migrations on the connection of the app; `taskyard migrate` and `flask db` start it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context
from flask import current_app

from app.migrating import LOCK

migrate = current_app.extensions["migrate"]


def drop_when_empty(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """No script where nothing changed."""
    script = directives[0]
    if script.upgrade_ops is not None and script.upgrade_ops.is_empty():
        directives[:] = []


def run() -> None:
    with migrate.db.engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=migrate.db.metadata,
            process_revision_directives=drop_when_empty,
            transaction_per_migration=True,
            **migrate.configure_args,
        )
        # Two that start at once would both create the same table.
        connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        with context.begin_transaction():
            context.run_migrations()


run()
