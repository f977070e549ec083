"""Who can do jobs: registered, changed, given new keys, retired."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any, Final

import sqlalchemy as sa

from app.accounts import audit, tokens
from app.accounts.models import ApiToken
from app.accounts.policy import Caller
from app.agents.models import Agent
from app.db import Transaction
from app.errors import Fault, Invalid, Missing, Refused

ACTION: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
RESERVED: Final = ("human",)  # the lane where jobs wait for a person
CHANGEABLE: Final = (
    "name",
    "role",
    "capabilities",
    "max_concurrent",
    "status",
    "version",
    "webhook_url",
    "budget",
)


def register(tx: Transaction, caller: Caller, **facts: Any) -> tuple[Agent, str]:
    """A new agent and its first key, which is shown this once."""
    check_capabilities(facts["capabilities"])
    check_name(tx, facts["name"])
    agent = Agent(
        **facts, registered_by=caller.id if caller.kind == "user" else None, status="active"
    )
    tx.session.add(agent)
    flush_name(tx, agent.name)
    _, key = tokens.issue(tx, "agent", agent.id, "first key")
    audit.record(
        tx,
        caller,
        "agent_registered",
        "agent",
        agent.id,
        after={"name": agent.name, "capabilities": names_of(agent.capabilities)},
    )
    return agent, key


def get(tx: Transaction, agent_id: uuid.UUID, *, lock: bool = False) -> Agent:
    agent = tx.session.get(Agent, agent_id, with_for_update=lock)
    if agent is None:
        raise Missing("There is no such agent.", hint="GET /api/agents lists them.")
    return agent


def change(tx: Transaction, caller: Caller, agent_id: uuid.UUID, changes: dict[str, Any]) -> Agent:
    """Sets what is named in `changes`, and nothing else."""
    agent = get(tx, agent_id, lock=True)
    if agent.status == "retired":
        raise Refused("This agent is retired, for good.", hint="Register a new one.")
    if "capabilities" in changes:
        check_capabilities(changes["capabilities"])
    if "name" in changes and changes["name"].lower() != agent.name.lower():
        check_name(tx, changes["name"])
    before = {name: getattr(agent, name) for name in changes}
    for name, value in changes.items():
        assert name in CHANGEABLE
        setattr(agent, name, value)
    flush_name(tx, agent.name)
    audit.record(
        tx,
        caller,
        "agent_changed",
        "agent",
        agent.id,
        before=secretless(before),
        after=secretless(changes),
    )
    return agent


def retire(tx: Transaction, caller: Caller, agent_id: uuid.UUID) -> Agent:
    """The agent works no more and its keys open nothing; its jobs are handed back by `control`."""
    agent = get(tx, agent_id, lock=True)
    if agent.status != "retired":
        before, agent.status = agent.status, "retired"
        tokens.revoke_all(tx, agent_id=agent.id)
        audit.record(
            tx,
            caller,
            "agent_retired",
            "agent",
            agent.id,
            before={"status": before},
            after={"status": "retired"},
        )
    return agent


def rotate_key(
    tx: Transaction, caller: Caller, agent_id: uuid.UUID, name: str, overlap: dt.timedelta
) -> tuple[ApiToken, str]:
    """A new key; the one in use lives on for `overlap`, so that the agent can change over."""
    agent = get(tx, agent_id, lock=True)
    if agent.status == "retired":
        raise Refused("This agent is retired, for good.", hint="Register a new one.")
    token, key = tokens.rotate(tx, agent.id, name, overlap)
    audit.record(
        tx,
        caller,
        "agent_key_rotated",
        "agent",
        agent.id,
        after={"key": token.prefix, "overlap_seconds": int(overlap.total_seconds())},
    )
    return token, key


def revoke_key(tx: Transaction, caller: Caller, agent_id: uuid.UUID, key_id: uuid.UUID) -> None:
    token = tx.session.get(ApiToken, key_id)
    if token is None or token.agent_id != agent_id:
        raise Missing("This agent has no such key.", hint="List its keys to find the id.")
    tokens.revoke(tx, token)
    audit.record(tx, caller, "agent_key_revoked", "agent", agent_id, before={"key": token.prefix})


def check_capabilities(capabilities: list[dict[str, Any]]) -> None:
    if not capabilities:
        raise Invalid(
            "An agent needs at least one capability.",
            [Fault("/capabilities", "is empty")],
            hint='For example {"capabilities": [{"action": "write"}]}.',
        )
    faults = [
        Fault(f"/capabilities/{place}/action", _fault_of(one["action"]))
        for place, one in enumerate(capabilities)
        if _fault_of(one["action"])
    ]
    if faults:
        raise Invalid(
            "An action is a short word in small letters.",
            faults,
            hint="Small letters, digits, _ and -, at most 64, beginning with a letter.",
        )


def _fault_of(action: str) -> str:
    if not ACTION.fullmatch(action):
        return "is no name of an action"
    return "is reserved for people" if action in RESERVED else ""


def check_name(tx: Transaction, name: str) -> None:
    taken = tx.session.scalar(
        sa.select(Agent.id).where(
            sa.func.lower(Agent.name) == name.lower(), Agent.status != "retired"
        )
    )
    if taken is not None:
        raise name_taken(name)


def flush_name(tx: Transaction, name: str) -> None:
    """Two that register one name at the same moment both pass the check; the index decides."""
    try:
        tx.session.flush()
    except sa.exc.IntegrityError as fault:
        if "agents_name_key" not in str(fault.orig):
            raise
        raise name_taken(name) from fault


def name_taken(name: str) -> Refused:
    return Refused(
        f"There is an agent named {name} already.",
        hint="Choose another name, or retire that one first.",
    )


def names_of(capabilities: list[Any]) -> str:
    return ", ".join(one["action"] for one in capabilities)


def secretless(facts: dict[str, Any]) -> dict[str, Any]:
    """A webhook's address may carry a password; the audit log tells only that it changed."""
    told = dict(facts)
    if told.get("webhook_url"):
        told["webhook_url"] = "(set)"
    if "capabilities" in told:
        told["capabilities"] = names_of(told["capabilities"])
    return told
