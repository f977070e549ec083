"""`taskyard migrate`: bring the database up to date."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from app import create_app, waiting
from app.cli.finding import data_option, find
from app.embedded import DataFolder, Postgres
from app.embedded.account import servers_account
from app.errors import TaskyardError
from app.settings import Settings, load

PATIENCE = 60.0


@click.command()
@data_option
@click.option("--check", is_flag=True, help="Change nothing: do the migrations equal the models?")
def migrate(data: Path | None, check: bool) -> None:
    """Bring the database up to date. Several at once wait for each other."""
    from app import migrating

    if check:
        with throwaway() as settings:
            app = create_app(settings)
            migrating.upgrade(app)
            differences = migrating.differences(app)
        if differences:
            raise TaskyardError(
                "\n".join(["The models are ahead of the migrations:", *differences])
            )
        click.echo("The migrations equal the models.")
        return
    settings = find(data)
    waiting.for_database(settings.database_url, PATIENCE)
    app = create_app(settings)
    database = app.extensions["taskyard.db"]
    before = migrating.current(database)
    migrating.upgrade(app)
    after = migrating.current(database)
    if before == after:
        click.echo(f"The database is up to date ({after}).")
    else:
        click.echo(f"The database is now at {after} (was {before or 'empty'}).")


@contextlib.contextmanager
def throwaway() -> Iterator[Settings]:
    """Settings with a database that is thrown away after."""
    with tempfile.TemporaryDirectory(prefix="taskyard-check-") as place:
        folder = DataFolder(Path(place))
        sockets = folder.open_sockets(servers_account())
        postgres = Postgres(folder.postgres, sockets, fast=True)
        try:
            postgres.start()
            yield load(
                {
                    "DATABASE_URL": postgres.url,
                    "REDIS_URL": "redis://127.0.0.1:1",
                    "SECRET_KEY": "nobody signs with this one",
                }
            )
        finally:
            postgres.stop()
            folder.close_sockets(sockets)
