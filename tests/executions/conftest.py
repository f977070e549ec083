"""What tests of executions share."""

from tests.fresh import (
    admin,
    app,
    client,
    database,
    member,
    migrated,
    operator,
    people,
    shared_app,
)
from tests.served import server

__all__ = [
    "admin",
    "app",
    "client",
    "database",
    "member",
    "migrated",
    "operator",
    "people",
    "server",
    "shared_app",
]
