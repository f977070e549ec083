"""Embedded PostgreSQL and Valkey: start, stop, and the folder where they live."""

from __future__ import annotations

from app.embedded.faults import CannotStart, FolderHeld, NotRunning
from app.embedded.folder import DataFolder, Instance
from app.embedded.postgres import Postgres
from app.embedded.valkey import Valkey
from app.settings import Settings

__all__ = [
    "CannotStart",
    "DataFolder",
    "FolderHeld",
    "Instance",
    "NotRunning",
    "Postgres",
    "Valkey",
    "attach",
]


def attach(settings: Settings) -> Settings:
    """The settings with the servers' addresses: as given, or of the instance on the data folder."""
    if not settings.embedded:
        return settings
    folder = DataFolder(settings.data)
    instance = folder.running()
    if instance is None or not instance.database_url:
        raise NotRunning(
            f"No Taskyard runs on {settings.data}: start one with `taskyard up`, name its folder"
            " with --data, or set DATABASE_URL and REDIS_URL."
        )
    return settings.with_servers(instance.database_url, instance.redis_url, folder.secret_key())
