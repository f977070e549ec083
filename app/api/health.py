"""Whether it lives, and whether it can do its work."""

from __future__ import annotations

from typing import Any

from app.api.frame import settings
from app.api.probing import probe
from app.api.room import Room
from app.api.wire import Answer
from app.errors import Unavailable

room = Room("health", "Whether it lives, and whether it can do its work.")


class Alive(Answer):
    status: str


class CheckOut(Answer):
    status: str = "ok"
    detail: str
    hint: str | None = None


class Ready(Answer):
    status: str
    checks: dict[str, CheckOut]


@room.get("/api/health", limit=None)
def live() -> Alive:
    """Whether this process answers; asks nobody else."""
    return Alive(status="ok")


@room.get("/api/ready", limit=None)
def ready() -> Ready:
    """Whether PostgreSQL, Redis, the migrations and the clock are there, each by name.

    503 with the same `checks` when one of them is missing.
    """
    found = probe(settings())
    checks: dict[str, Any] = {
        name: CheckOut(status="missing" if each.hint else "ok", detail=each.detail, hint=each.hint)
        for name, each in found.items()
    }
    missing = [name for name, each in found.items() if each.hint]
    if missing:
        raise Unavailable(
            f"Not ready: {', '.join(missing)} missing.",
            hint=" ".join(dict.fromkeys(each.hint for each in found.values() if each.hint)),
            checks={name: each.model_dump(exclude_none=True) for name, each in checks.items()},
        )
    return Ready(status="ready", checks=checks)
