"""Migrations lead to what the models say, and back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask

from app import create_app, migrating
from app.db import Database, new_id
from app.records import METADATA
from app.settings import Settings


@pytest.fixture
def blank(servers: Any, settings: Settings) -> Iterator[Flask]:
    """An app over a database of its own in which nothing was made yet."""
    name = f"blank_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.postgres.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER taskyard".encode())
    app = create_app(
        replace(settings, database_url=settings.database_url.replace("/taskyard?", f"/{name}?"))
    )
    yield app
    app.extensions["taskyard.db"].engine.dispose()


def tables(app: Flask) -> set[str]:
    database: Database = app.extensions["taskyard.db"]
    return set(sa.inspect(database.engine).get_table_names())


def test_migrations_equal_the_models(blank: Flask) -> None:
    migrating.upgrade(blank)
    assert migrating.differences(blank) == []
    assert migrating.current(blank.extensions["taskyard.db"]) == migrating.newest()


def test_down_and_up_again_leaves_nothing_behind(blank: Flask) -> None:
    database: Database = blank.extensions["taskyard.db"]
    assert migrating.current(database) is None
    migrating.upgrade(blank)
    before = tables(blank)
    migrating.downgrade(blank)
    assert tables(blank) == {"alembic_version"}
    with database.transaction() as tx:
        left = tx.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert left == []
    migrating.upgrade(blank)
    assert tables(blank) == before
    assert migrating.differences(blank) == []


@pytest.mark.parametrize("table", ["audit_entries", "execution_events"])
def test_a_log_refuses_changes_and_lets_retention_delete(database: Database, table: str) -> None:
    with database.transaction() as tx:
        if table == "audit_entries":
            tx.execute(
                "INSERT INTO audit_entries (id, actor, action, object_kind) "
                "VALUES (%s, 'a', 'b', 'c')",
                (new_id(),),
            )
    record = METADATA.tables[table]
    change = sa.update(record).values(created_at=sa.func.now())
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.transaction() as tx:
        tx.session.execute(change)
    with database.transaction() as tx:
        tx.session.execute(sa.delete(record))
