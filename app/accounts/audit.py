"""What privileged people did: one line an act, in the transaction of the act."""

from __future__ import annotations

import uuid
from typing import Any

from app.accounts.models import AuditEntry
from app.accounts.policy import Caller
from app.db import Json, Transaction


def record(
    tx: Transaction,
    caller: Caller,
    action: str,
    object_kind: str,
    object_id: uuid.UUID | None,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Append one entry; `before` and `after` hold what changed, in brief and without secrets."""
    tx.session.add(
        AuditEntry(
            actor=caller.actor,
            action=action,
            object_kind=object_kind,
            object_id=object_id,
            before=brief(before),
            after=brief(after),
            address=caller.address or None,
        )
    )


def brief(facts: dict[str, Any] | None) -> Json | None:
    if facts is None:
        return None
    return {name: _shorten(value) for name, value in facts.items()}


def _shorten(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 200 else text[:199] + "…"
