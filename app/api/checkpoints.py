"""The inbox of people: questions, and their decisions. Agents never decide."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import Field

from app.accounts import audit, policy
from app.accounts.policy import Caller, Standing
from app.api.frame import database, settings
from app.api.paging import Page, Paging, read_cursor, write_cursor
from app.api.room import Room
from app.api.wire import Answer, Body, JsonObject, JsonValue, Moment
from app.checkpoints.deciding import Verdict
from app.checkpoints.inbox import missing, read_checkpoint, read_inbox
from app.control.deciding import decide as record_decision
from app.db import Row, Transaction
from app.errors import Fault, Forbidden, Invalid, Refused
from app.executions.standing import standing_of

room = Room("checkpoints", "What waits for a person's decision.")

CheckpointStatus = Literal["pending", "approved", "rejected", "answered", "expired", "withdrawn"]


class CheckpointOut(Answer):
    id: uuid.UUID
    execution_id: uuid.UUID | None
    execution_name: str | None
    job_id: uuid.UUID | None
    job_code: str | None
    plan_id: uuid.UUID | None
    kind: str = Field(description="info, approval, question, blocker, error, escalation, …")
    stage: str = Field(description="What it stands before: during the job, before or after it")
    title: str
    data: dict[str, Any]
    options: list[Any]
    blocking: bool
    status: str
    asked_by: str
    assignee_id: uuid.UUID | None
    expires_at: Moment | None
    created_at: Moment
    decided_by_id: uuid.UUID | None
    decided_at: Moment | None
    decision: dict[str, Any] | None
    reason: str | None
    may_decide: bool = Field(description="Whether you may, while it is pending")


class Checkpoints(Page[CheckpointOut]):
    pass


class Inbox(Paging):
    cursor: str | None = Field(
        default=None,
        pattern="^[pd][A-Za-z0-9_-]{22}$",
        description="`next_cursor` of the page before",
    )
    status: CheckpointStatus | None = None
    execution: uuid.UUID | None = None


class DecisionBody(Body):
    decision: Literal["approve", "reject", "send_back", "choose", "answer"]
    reason: Annotated[str, Field(max_length=2_000)] = ""
    option: str | None = Field(default=None, max_length=200, description="To choose: its id")
    answer: JsonValue = Field(default=None, description="To answer")
    data: JsonObject | None = Field(default=None, description="To approve: the data as edited")


@room.get("/api/checkpoints")
def find(caller: Caller, query: Inbox) -> Checkpoints:
    """List what is yours to decide: pending first, then what was decided, newest first."""
    refuse_agents(caller)
    after = None if query.cursor is None else read_place(query.cursor)
    with database().transaction() as tx:
        rows = read_inbox(
            tx,
            caller,
            settings().approvers,
            status=query.status,
            execution=query.execution,
            after=after,
            limit=query.limit + 1,
        )
    shown = rows[: query.limit]
    more = len(rows) > query.limit
    return Checkpoints(
        items=[show(row, allowed=True) for row in shown],
        next_cursor=write_place(shown[-1]) if more else None,
    )


@room.get("/api/checkpoints/<uuid:checkpoint_id>")
def read(caller: Caller, checkpoint_id: uuid.UUID) -> CheckpointOut:
    """Read one checkpoint of an execution that you may see."""
    refuse_agents(caller)
    with database().transaction() as tx:
        row, stands = find_seen(tx, caller, checkpoint_id)
    return show(row, allowed=may_decide(caller, row, stands))


@room.post("/api/checkpoints/<uuid:checkpoint_id>")
def decide(caller: Caller, checkpoint_id: uuid.UUID, body: DecisionBody) -> CheckpointOut:
    """Decide it, once: approve, reject, send back, choose, answer."""
    refuse_agents(caller)
    check(body)
    verdict = Verdict(body.decision, body.reason, body.option, body.answer, body.data)
    with database().transaction() as tx:
        row, stands = find_seen(tx, caller, checkpoint_id)
        policy.require(
            may_decide(caller, row, stands),
            f"This {row['kind']} is not yours to decide.",
            "Approvals are decided by those whom TASKYARD_APPROVERS names; ask one of them.",
        )
        if row["execution_id"] is None:
            raise Refused(
                "This is about a plan's breakdown.",
                hint="Break the plan down again, or edit its tasks.",
            )
        record_decision(
            tx,
            checkpoint_id,
            verdict,
            actor=caller.actor,
            by=caller.id if caller.kind == "user" else None,
            address=caller.address,
        )
        told = {"execution_id": row["execution_id"], "decision": body.decision}
        audit.record(
            tx,
            caller,
            "checkpoint_decided",
            "checkpoint",
            checkpoint_id,
            before={"status": row["status"]},
            after={**told, "option": body.option, "reason": body.reason},
        )
        return show(read_checkpoint(tx, checkpoint_id), allowed=True)


def check(body: DecisionBody) -> None:
    """Each decision needs something said with it."""
    needed = {"reject": "reason", "send_back": "reason", "choose": "option", "answer": "answer"}
    name = needed.get(body.decision)
    if name is not None and getattr(body, name) in ("", None):
        raise Invalid(
            f"To {body.decision.replace('_', ' ')} needs `{name}`.",
            [Fault(f"/{name}", "is required with this decision")],
            hint=f"Send {{decision, {name}}}.",
        )


def find_seen(tx: Transaction, caller: Caller, checkpoint_id: uuid.UUID) -> tuple[Row, Standing]:
    """A checkpoint of something that the caller may see. Others' are as missing as none at all."""
    row = read_checkpoint(tx, checkpoint_id)
    if row["execution_id"] is not None:
        stands = standing_of(tx, caller, row["execution_id"])
    else:
        stands = Standing(owns=row["plan_owner_id"] == caller.id)
    if stands is None or not policy.may_see(caller, stands):
        raise missing()
    return row, stands


def may_decide(caller: Caller, row: Row, stands: Standing) -> bool:
    return policy.may_decide(caller, row["kind"], stands, settings().approvers)


def refuse_agents(caller: Caller) -> None:
    if caller.kind == "agent":
        raise Forbidden(
            "Agents never decide.",
            hint="A decision about your job comes with your next poll or heartbeat.",
        )


def show(row: Row, *, allowed: bool) -> CheckpointOut:
    plain = {name: row[name] for name in CheckpointOut.model_fields if name != "may_decide"}
    return CheckpointOut(**plain, may_decide=allowed and row["status"] == "pending")


def write_place(row: Row) -> str:
    return ("p" if row["status"] == "pending" else "d") + write_cursor(row["id"])


def read_place(text: str) -> tuple[bool, uuid.UUID]:
    return text[0] == "p", read_cursor(text[1:])
