"""Whether it lives, and whether it can do its work."""

from __future__ import annotations

from app.api.room import Room
from app.api.wire import Answer

room = Room("health", "Whether it lives, and whether it can do its work.")


class Alive(Answer):
    status: str


@room.get("/api/health", limit=None)
def live() -> Alive:
    """Whether this process answers; asks nobody else."""
    return Alive(status="ok")
