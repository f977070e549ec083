"""Bringing a database up to date: Flask-Migrate drives, the scripts are in migrations/.

Migrations have a connection of their own, through Flask-SQLAlchemy: no pool, no prepared
statements, and locks that give up instead of queueing every request behind them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import flask_migrate
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from app.db import Database, sqlalchemy_url
from app.records import METADATA
from app.settings import Settings

FOLDER: Final = Path(__file__).resolve().parent.parent / "migrations"
LOCK: Final = 0x7461736B  # one migration at a time, whoever starts it


def register(app: Flask) -> None:
    """Make `flask db …` and the functions below work in this app."""
    settings: Settings = app.extensions["taskyard"]
    app.config.setdefault("SQLALCHEMY_DATABASE_URI", sqlalchemy_url(settings.database_url))
    app.config.setdefault(
        "SQLALCHEMY_ENGINE_OPTIONS",
        {
            "poolclass": sa.NullPool,
            "connect_args": {
                "application_name": "taskyard migrate",
                "connect_timeout": 5,
                "options": "-c lock_timeout=10s",
            },
        },
    )
    records = SQLAlchemy(metadata=METADATA, add_models_to_shell=False)
    records.init_app(app)
    flask_migrate.Migrate(
        app,
        records,
        directory=str(FOLDER),
        compare_type=True,
        compare_server_default=True,
        render_as_batch=False,
    )


def upgrade(app: Flask, revision: str = "head") -> None:
    with app.app_context():
        flask_migrate.upgrade(revision=revision)


def downgrade(app: Flask, revision: str = "base") -> None:
    with app.app_context():
        flask_migrate.downgrade(revision=revision)


def differences(app: Flask) -> list[str]:
    """What a database that is up to date still lacks of the models; nothing, if all is well."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            return [str(each) for each in compare_metadata(context, METADATA)]


@lru_cache(maxsize=1)
def newest() -> str:
    """The revision that this code expects."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None, "there is always a first migration"
    return head


def current(database: Database) -> str | None:
    """The revision that the database is at; None before its first migration."""
    with database.transaction() as tx:
        if tx.fetch("SELECT to_regclass('alembic_version') AS found")["found"] is None:
            return None
        row = tx.execute("SELECT version_num FROM alembic_version").fetchone()
        return row["version_num"] if row else None
