"""Every record of every room, imported: what migrations compare the database with, and what the
ORM must know before it can follow a foreign key from one room to another."""

from __future__ import annotations

from app.accounts import models as accounts
from app.agents import models as agents
from app.callbacks import models as callbacks
from app.checkpoints import models as checkpoints
from app.db import Base, Database
from app.dispatch import Dispatch
from app.executions import models as executions
from app.handoff import models as handoff
from app.plans import models as plans

__all__ = [
    "METADATA",
    "accounts",
    "agents",
    "callbacks",
    "checkpoints",
    "executions",
    "handoff",
    "open_database",
    "plans",
]

METADATA = Base.metadata


def open_database(url: str, dispatch: Dispatch, pool_size: int = 10) -> Database:
    """How every process opens the database."""
    return Database(url, dispatch, pool_size)
