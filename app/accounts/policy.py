"""Who may do what. Pure: every answer follows from who calls and how they stand to the thing."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

from app.errors import Forbidden

Role = Literal["member", "operator", "admin"]
Kind = Literal["user", "agent", "system"]
Approvers = Literal["admin", "operator", "owner"]

RANK: dict[str, int] = {"member": 1, "operator": 2, "admin": 3}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `role` is a user's; an agent has none and therefore no person's right."""

    kind: Kind
    id: uuid.UUID
    role: Role | Literal[""] = ""
    name: str = ""
    address: str = ""
    request_id: str = ""
    token_id: uuid.UUID | None = None

    @property
    def actor(self) -> str:
        """How events and the audit log name the caller."""
        return f"{self.kind}:{self.id}" if self.kind != "system" else f"system:{self.name}"

    def ranks(self, least: Role) -> bool:
        return RANK.get(self.role, 0) >= RANK[least]


def on_the_machine(name: str) -> Caller:
    """Whoever can run commands beside the data is its administrator."""
    return Caller("system", uuid.UUID(int=0), "admin", name, "local")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands to an execution, a plan or a job."""

    owns: bool = False
    shared: Literal["", "view", "steer"] = ""
    held: bool = False  # an agent that holds, or has held, one of its jobs


def may_see(caller: Caller, standing: Standing) -> bool:
    if caller.kind == "agent":
        return standing.held
    return standing.owns or standing.shared != "" or caller.ranks("operator")


def may_steer(caller: Caller, standing: Standing) -> bool:
    """Start, pause, resume, cancel, retry, skip, change, answer questions and blockers."""
    if caller.kind == "agent":
        return False
    return standing.owns or standing.shared == "steer" or caller.ranks("operator")


def may_share(caller: Caller, standing: Standing) -> bool:
    return caller.kind != "agent" and (standing.owns or caller.ranks("admin"))


def may_decide(caller: Caller, kind: str, standing: Standing, approvers: Approvers) -> bool:
    """Approvals are for those whom TASKYARD_APPROVERS names; everything else for who may steer."""
    if caller.kind == "agent":
        return False
    if kind != "approval":
        return may_steer(caller, standing)
    if approvers == "owner" and standing.owns:
        return True
    return caller.ranks("operator" if approvers == "operator" else "admin")


def may_register_agents(caller: Caller) -> bool:
    return caller.ranks("operator")


def may_see_agent(caller: Caller, agent_id: uuid.UUID) -> bool:
    """People pick agents for their executions, so all of them see all agents."""
    return caller.kind != "agent" or caller.id == agent_id


def may_drain(caller: Caller) -> bool:
    return caller.ranks("operator")


def may_start_commands(caller: Caller, least: Role = "operator") -> bool:
    """Shell commands and LLM jobs run on the worker's machine."""
    return caller.ranks(least)


def may_administer(caller: Caller) -> bool:
    """Users, other people's tokens, the audit log, settings."""
    return caller.ranks("admin")


def require(allowed: bool, detail: str, hint: str | None = None) -> None:
    """Turns a verdict into a refusal of one sentence."""
    if not allowed:
        raise Forbidden(detail, hint=hint)


def require_person(caller: Caller) -> None:
    require(
        caller.kind != "agent",
        "An agent's key cannot do this.",
        "Use a person's token: an agent's key opens only that agent's own work.",
    )


def require_admin(caller: Caller) -> None:
    require(may_administer(caller), "Only an admin may do this.", "Ask an admin.")


def require_operator(caller: Caller) -> None:
    require(
        caller.ranks("operator"), "Only an operator or an admin may do this.", "Ask an operator."
    )
