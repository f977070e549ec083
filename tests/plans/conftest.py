"""What tests of plans share."""

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

__all__ = [
    "admin",
    "app",
    "client",
    "database",
    "member",
    "migrated",
    "operator",
    "people",
    "shared_app",
]
