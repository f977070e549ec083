"""Agents: registering, reading, changing, new keys, retiring. Their work is in work.py."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field

from app.accounts import policy
from app.accounts.models import ApiToken
from app.accounts.policy import Caller
from app.agents import registry
from app.agents.models import Agent
from app.api.frame import database
from app.api.paging import Page, Paging, read_page
from app.api.room import Room
from app.api.tokens import TokenOut
from app.api.wire import WEB_ADDRESS, Answer, Body, Count, JsonObject, Moment, Name
from app.control.agents import hand_jobs_back

room = Room("agents", "Whoever does jobs: registering, keys, capabilities.")

LONGEST_OVERLAP = 7 * 86_400


WebAddress = Annotated[str, Field(max_length=2_000, pattern=WEB_ADDRESS)]


class Capability(Body):
    """One thing that an agent can do."""

    action: str = Field(
        pattern="^[a-z][a-z0-9_-]{0,63}$", description="Small letters, digits, _ and -"
    )
    params: JsonObject | None = Field(
        default=None, description="Only jobs whose params contain these values"
    )


class CapabilityOut(Answer):
    action: str
    params: dict[str, Any] | None = None


class Budget(Body):
    """What an agent may spend; a part that is left out has no limit."""

    tokens: Count | None = None
    usd: float | None = Field(default=None, ge=0, le=1e9)


Capabilities = Annotated[list[Capability], Field(min_length=1, max_length=200)]
Concurrency = Annotated[int, Field(ge=1, le=10_000, description="How many jobs at once")]
Role = Annotated[str, Field(max_length=200, description="The role of a plan that it plays")]
Version = Annotated[str, Field(max_length=100)]


class Registration(Body):
    name: Name
    capabilities: Capabilities
    kind: Literal["external", "human"] = "external"
    role: Role | None = None
    max_concurrent: Concurrency = 1
    version: Version | None = None
    webhook_url: WebAddress | None = Field(
        default=None, description="Told when work waits, at most once a minute"
    )
    budget: Budget | None = None


class Change(Body):
    """What is left out stays as it is."""

    name: Name | None = None
    capabilities: Capabilities | None = None
    role: Role | None = None
    max_concurrent: Concurrency | None = None
    status: Literal["active", "paused"] | None = None
    version: Version | None = None
    webhook_url: WebAddress | None = None
    budget: Budget | None = None


class AgentOut(Answer):
    id: uuid.UUID
    name: str
    kind: str
    role: str | None
    capabilities: list[CapabilityOut]
    max_concurrent: int
    status: str = Field(description="active, paused, unreachable or retired")
    last_seen_at: Moment | None
    version: str | None
    webhook_url: str | None = Field(description="Shown to operators and admins")
    budget: dict[str, Any] | None
    completed_count: int
    failed_count: int
    spent_tokens: int
    spent_usd: float
    created_at: Moment
    updated_at: Moment


class Registered(AgentOut):
    api_key: str = Field(description="The agent's key: shown this once")


class Agents(Page[AgentOut]):
    pass


class AgentFilter(Paging):
    status: Literal["active", "paused", "unreachable", "retired"] | None = None
    kind: Literal["external", "builtin", "human"] | None = None
    action: str | None = Field(default=None, max_length=64, description="Has this capability")


class Ability(Answer):
    items: list[CapabilityOut]


class Rotation(Body):
    name: Name = "key"
    overlap_seconds: int = Field(
        default=3_600, ge=0, le=LONGEST_OVERLAP, description="How long the old key lives on"
    )


class Rotated(Answer):
    api_key: str = Field(description="The new key: shown this once")
    key: TokenOut
    overlap_seconds: int


class Keys(Page[TokenOut]):
    pass


@room.post("/api/agents", status=201)
def register(caller: Caller, body: Registration) -> Registered:
    """Register an agent; answers its key once.

    For operators and admins.
    """
    policy.require_operator(caller)
    with database().transaction() as tx:
        agent, key = registry.register(tx, caller, **facts_of(body))
        tx.session.refresh(agent)
        return Registered(api_key=key, **show(caller, agent).model_dump())


@room.get("/api/agents")
def find(caller: Caller, query: AgentFilter) -> Agents:
    """List agents, newest first; retired ones only when asked for."""
    policy.require_person(caller)
    wanted = sa.select(Agent)
    if query.status is None:
        wanted = wanted.where(Agent.status != "retired")
    else:
        wanted = wanted.where(Agent.status == query.status)
    if query.kind is not None:
        wanted = wanted.where(Agent.kind == query.kind)
    if query.action is not None:
        wanted = wanted.where(Agent.capabilities.contains([{"action": query.action}]))
    with database().transaction() as tx:
        return Agents(**read_page(tx, wanted, Agent, query, lambda agent: show(caller, agent)))


@room.get("/api/agents/<uuid:agent_id>")
def read(caller: Caller, agent_id: uuid.UUID) -> AgentOut:
    """Read one agent. An agent reads itself."""
    require_sight(caller, agent_id)
    with database().transaction() as tx:
        return show(caller, registry.get(tx, agent_id))


@room.patch("/api/agents/<uuid:agent_id>")
def change(caller: Caller, agent_id: uuid.UUID, body: Change) -> AgentOut:
    """Change an agent; what is left out stays. An agent may tell its own version.

    For operators and admins.
    """
    changes = facts_of(body, exclude_unset=True)
    for name in ("name", "capabilities", "max_concurrent", "status"):
        if changes.get(name, ...) is None:
            del changes[name]
    if not (caller.kind == "agent" and caller.id == agent_id and set(changes) <= {"version"}):
        policy.require_operator(caller)
    with database().transaction() as tx:
        agent = registry.change(tx, caller, agent_id, changes)
        tx.session.refresh(agent)
        return show(caller, agent)


@room.delete("/api/agents/<uuid:agent_id>")
def retire(caller: Caller, agent_id: uuid.UUID) -> AgentOut:
    """Retire an agent: its jobs are handed back and its keys open nothing any more.

    For operators and admins.
    """
    policy.require_operator(caller)
    with database().transaction() as tx:
        agent = registry.retire(tx, caller, agent_id)
        tx.session.flush()
        tx.session.refresh(agent)
        shown = show(caller, agent)
    # After that commit it is handed nothing more; before it, a claim could slip in behind us. Both
    # in one would take the agent's lock before those of executions, against the order of locks.
    with database().transaction() as tx:
        hand_jobs_back(tx, agent_id, actor=caller.actor)
    return shown


@room.get("/api/agents/<uuid:agent_id>/capabilities")
def read_capabilities(caller: Caller, agent_id: uuid.UUID) -> Ability:
    """What an agent can do."""
    require_sight(caller, agent_id)
    with database().transaction() as tx:
        return Ability(items=show(caller, registry.get(tx, agent_id)).capabilities)


@room.post("/api/agents/<uuid:agent_id>/keys", status=201)
def rotate_key(caller: Caller, agent_id: uuid.UUID, body: Rotation) -> Rotated:
    """Give an agent a new key; the old one lives on for a while.

    For operators and admins.
    """
    policy.require_operator(caller)
    overlap = dt.timedelta(seconds=body.overlap_seconds)
    with database().transaction() as tx:
        token, key = registry.rotate_key(tx, caller, agent_id, body.name, overlap)
        tx.session.refresh(token)
        shown = TokenOut.model_validate(token)
        return Rotated(api_key=key, key=shown, overlap_seconds=body.overlap_seconds)


@room.get("/api/agents/<uuid:agent_id>/keys")
def find_keys(caller: Caller, agent_id: uuid.UUID, query: Paging) -> Keys:
    """List an agent's keys, without the keys themselves.

    For operators and admins.
    """
    policy.require_operator(caller)
    with database().transaction() as tx:
        registry.get(tx, agent_id)
        wanted = sa.select(ApiToken).where(ApiToken.agent_id == agent_id)
        return Keys(**read_page(tx, wanted, ApiToken, query, TokenOut.model_validate))


@room.delete("/api/agents/<uuid:agent_id>/keys/<uuid:key_id>")
def revoke_key(caller: Caller, agent_id: uuid.UUID, key_id: uuid.UUID) -> None:
    """Revoke one key of an agent, at once.

    For operators and admins.
    """
    policy.require_operator(caller)
    with database().transaction() as tx:
        registry.revoke_key(tx, caller, agent_id, key_id)


def facts_of(body: Registration | Change, *, exclude_unset: bool = False) -> dict[str, Any]:
    """What was sent, as it is kept: a capability without params has none, rather than null."""
    facts = body.model_dump(exclude_unset=exclude_unset)
    if body.capabilities is not None:
        facts["capabilities"] = [
            {"action": one.action} | ({"params": one.params} if one.params else {})
            for one in body.capabilities
        ]
    return facts


def require_sight(caller: Caller, agent_id: uuid.UUID) -> None:
    policy.require(
        policy.may_see_agent(caller, agent_id),
        "This key belongs to another agent.",
        "Call with the id that the key was made for.",
    )


def show(caller: Caller, agent: Agent) -> AgentOut:
    shown = AgentOut.model_validate(agent)
    if not caller.ranks("operator"):
        shown.webhook_url = None
    return shown
