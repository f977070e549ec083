"""Every record of every room, imported: what migrations compare the database with."""

from __future__ import annotations

from app.accounts import models as accounts
from app.agents import models as agents
from app.callbacks import models as callbacks
from app.checkpoints import models as checkpoints
from app.db import Base
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
    "plans",
]

METADATA = Base.metadata
