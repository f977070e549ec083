"""An agent that calls with its key, looked up in the transaction that serves it.

Not before it: a key that was revoked is refused from that moment on.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from app.db import Tuple
from app.errors import Forbidden, Unauthenticated

SORTED: Final = orjson.OPT_SORT_KEYS
SEEN_SECONDS: Final = 10  # how fine `last_seen_at` is: the row is too hot to be written each time


@dataclass(frozen=True, slots=True)
class Draw:
    """A lane, and the params that a job in it must contain. Agents with equal ones are served
    together, so two are equal, and have one hash, when they say the same."""

    lane: str
    params: Any = field(default=None, compare=False)  # None: any
    text: bytes | None = field(init=False)

    def __post_init__(self) -> None:
        said = None if self.params is None else orjson.dumps(self.params, option=SORTED)
        object.__setattr__(self, "text", said)


@dataclass(slots=True)
class Agent:
    id: uuid.UUID
    name: str
    kind: str
    status: str
    max_concurrent: int
    capabilities: list[Any]
    last_seen_at: dt.datetime | None
    reserved: list[uuid.UUID]  # executions that are for it and a few others alone
    draws: tuple[Draw, ...] = field(init=False)  # the lanes that others share with it

    def __post_init__(self) -> None:
        draws: list[Draw] = []
        for one in self.capabilities:
            params = one.get("params") or None
            draws.append(Draw(one["action"], params))
            draws += [Draw(f"{one['action']}@{execution}", params) for execution in self.reserved]
        if self.kind == "human":
            draws.append(Draw("human"))
        self.draws = tuple(draws)

    @property
    def own_lane(self) -> str:
        return f"agent:{self.id}"

    @property
    def lanes(self) -> list[str]:
        return [draw.lane for draw in self.draws] + [self.own_lane]

    def takes(self, lane: str, params: dict[str, Any]) -> bool:
        """Whether a job in this lane is for this agent."""
        return lane == self.own_lane or any(
            lane == draw.lane and (draw.params is None or contains(params, draw.params))
            for draw in self.draws
        )

    def seen_lately(self, now: dt.datetime) -> bool:
        if self.last_seen_at is None or self.status == "unreachable":
            return False
        return (now - self.last_seen_at).total_seconds() < SEEN_SECONDS


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
    if isinstance(wanted, bool) or isinstance(params, bool):
        return params is wanted
    return bool(params == wanted)


def agent_of(row: Tuple) -> Agent:
    """The agent of a row of IDENTIFY, behind the digest of its key."""
    return Agent(*row[1:])


def identified(agent: Agent | None, agent_id: uuid.UUID | None = None) -> Agent:
    """Refused where the key is unknown, or not the agent's own."""
    if agent is None:
        raise Unauthenticated(
            "This key is unknown, revoked or expired.",
            hint="Send `Authorization: Bearer <the agent's key>`; POST /api/agents makes one.",
        )
    if agent_id is not None and agent.id != agent_id:
        raise Forbidden(
            "This key belongs to another agent.", hint="Call with the id that the key was made for."
        )
    if agent.status == "retired":
        raise Forbidden("This agent is retired.", hint="Register a new one.")
    return agent


# Locks the rows in the order of ids: two calls of one agent at once must see each other's leases.
IDENTIFY: Final = """
SELECT t.digest, a.id, a.name, a.kind, a.status, a.max_concurrent, a.capabilities, a.last_seen_at,
  ARRAY(SELECT g.execution_id FROM engagements g WHERE g.agent_id = a.id) AS reserved
FROM agents a JOIN api_tokens t ON t.agent_id = a.id
WHERE t.digest = ANY (%(digests)s) AND t.revoked_at IS NULL
  AND (t.expires_at IS NULL OR t.expires_at > now())
ORDER BY a.id
FOR NO KEY UPDATE OF a
"""
SEEN: Final = """
UPDATE agents SET last_seen_at = %(now)s, updated_at = now(),
  status = CASE status WHEN 'unreachable' THEN 'active' ELSE status END
WHERE id = ANY (%(agents)s)
"""
