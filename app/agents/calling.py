"""An agent that calls with its key, looked up in the transaction that serves it.

Not before it: a key that was revoked is refused from that moment on.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.db import Row, Transaction
from app.errors import Forbidden, Unauthenticated


@dataclass(frozen=True, slots=True)
class Agent:
    id: uuid.UUID
    name: str
    kind: str
    status: str
    max_concurrent: int
    capabilities: list[Any]
    busy: int
    reserved: list[uuid.UUID]  # executions that are reserved for it

    @property
    def lanes(self) -> list[str]:
        """Where it waits for work; what it may take there is for the claim to say."""
        actions = [one["action"] for one in self.capabilities]
        reserved = [f"{action}@{execution}" for execution in self.reserved for action in actions]
        human = ["human"] if self.kind == "human" else []
        return [*actions, f"agent:{self.id}", *reserved, *human]

    def serves(self, lane: str, action: str, params: dict[str, Any]) -> bool:
        """Whether a job of this lane is for this agent; the same rule as the lanes of a claim."""
        if lane == f"agent:{self.id}":
            return True
        return lane in self.lanes and any(
            one["action"] == action and contains(params, one.get("params") or {})
            for one in self.capabilities
        )


def contains(params: Any, wanted: Any) -> bool:
    """PostgreSQL's `@>` for JSON, as far as capabilities use it."""
    if isinstance(wanted, dict):
        return isinstance(params, dict) and all(
            name in params and contains(params[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(params, list) and all(
            any(contains(one, value) for one in params) for value in wanted
        )
    return type(params) is type(wanted) and bool(params == wanted)


def identified(callers: Sequence[Row], agent_id: uuid.UUID | None = None) -> Agent:
    """The agent of an IDENTIFY's answer, refused where the key is not its own."""
    if not callers:
        raise Unauthenticated(
            "This key is unknown, revoked or expired.",
            hint="Send `Authorization: Bearer <the agent's key>`; POST /api/agents makes one.",
        )
    row = callers[0]
    if agent_id is not None and row["id"] != agent_id:
        raise Forbidden(
            "This key belongs to another agent.", hint="Call with the id that the key was made for."
        )
    if row["status"] == "retired":
        raise Forbidden("This agent is retired.", hint="Register a new one.")
    return Agent(**{name: row[name] for name in Agent.__dataclass_fields__})


SEEN_SECONDS: Final = 10


def seen(tx: Transaction, agent: Agent, last_seen_at: dt.datetime | None) -> None:
    """Notes a sign of life, not oftener than is of use to anybody: the row is hot."""
    if last_seen_at is None or (tx.now - last_seen_at).total_seconds() >= SEEN_SECONDS:
        tx.later(SEEN, {"agent": agent.id, "now": tx.now})


# Locks the agent's row: two of its polls at once would both see room for one more job. Comes after
# the lock of an execution that is waited for, and before those that are only tried.
IDENTIFY: Final = """
SELECT a.id, a.name, a.kind, a.status, a.max_concurrent, a.capabilities, a.last_seen_at,
  now() AS now,
  ARRAY(SELECT g.execution_id FROM engagements g WHERE g.agent_id = a.id) AS reserved,
  (SELECT count(*) FROM leases l
   WHERE l.agent_id = a.id AND l.ended_at IS NULL AND l.stilled_at IS NULL) AS busy
FROM agents a JOIN api_tokens t ON t.agent_id = a.id
WHERE t.digest = %(digest)s AND t.revoked_at IS NULL
  AND (t.expires_at IS NULL OR t.expires_at > now())
FOR NO KEY UPDATE OF a
"""
SEEN: Final = """
UPDATE agents SET last_seen_at = %(now)s, updated_at = now(),
  status = CASE status WHEN 'unreachable' THEN 'active' ELSE status END
WHERE id = %(agent)s
"""
