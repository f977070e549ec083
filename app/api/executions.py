"""Executions: made from a plan, read, steered."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BeforeValidator, Field, WithJsonSchema

from app.accounts import audit, policy
from app.accounts.policy import Caller
from app.api.agents import WebAddress
from app.api.execution_view import ExecutionLine, ExecutionOut, Executions, Tree
from app.api.frame import database, settings
from app.api.paging import Paging, read_page
from app.api.room import Room
from app.api.wire import Body, Moment, Name
from app.control import changing, starting, steering
from app.control.starting import Budget
from app.db import Json, Transaction
from app.errors import Fault, Invalid
from app.executions import queries, standing, summary
from app.executions.models import Execution
from app.executions.run import Run, hold
from app.executions.states import ENDED
from app.executions.tree import read_tree
from app.plans.keeping import find_plan

room = Room("executions", "Runs of plans: made, read, steered.")

WORDS = {"critical": 9, "high": 7, "medium": 5, "low": 3}
Status = Literal[
    "created", "queued", "running", "blocked", "paused", "completed", "failed", "cancelled"
]


def read_priority(value: Any) -> Any:
    return WORDS.get(value, value) if isinstance(value, str) else value


Priority = Annotated[
    int,
    BeforeValidator(read_priority),
    Field(ge=0, le=9),
    WithJsonSchema(
        {
            "anyOf": [{"enum": list(WORDS)}, {"type": "integer", "minimum": 0, "maximum": 9}],
            "description": "0 to 9, larger is sooner; critical is 9, high 7, medium 5, low 3",
        }
    ),
]
Reason = Annotated[str, Field(max_length=2_000)]


class BudgetBody(Body):
    """What may be spent; null is without limit."""

    tokens: int | None = Field(default=None, gt=0, le=10**15)
    usd: float | None = Field(default=None, ge=0.000001, le=10_000_000)


class NewExecution(Body):
    plan_id: uuid.UUID
    start: bool = Field(default=False, description="Start it at once")
    name: Name | None = Field(default=None, description="The plan's title unless given")
    threshold: float = Field(
        default=0.7, ge=0, le=1, description="Jobs of less confidence wait for a person"
    )
    ordering: Literal["phased", "strict", "free"] = Field(
        default="phased", description="What holds beside the explicit dependencies"
    )
    priority: Priority = 5
    deadline: Moment | None = None
    budget: BudgetBody | None = None
    agents: list[uuid.UUID] = Field(
        default=[], max_length=200, description="Its jobs go to these agents and to no other"
    )
    callback: WebAddress | None = Field(default=None, description="Told when it ends or asks")


class ExecutionChange(Body):
    """An action, changes, or both at once. What is left out stays as it is."""

    action: Literal["start", "pause", "resume", "cancel", "retry"] | None = None
    reason: Reason = ""
    name: Name | None = None
    priority: Priority | None = None
    deadline: Moment | None = Field(default=None, description="null: no deadline")
    budget: BudgetBody | None = Field(default=None, description="null: no limits")


class Filter(Paging):
    status: list[Status] | None = Field(default=None, description="One or several")
    owner: Literal["me"] | uuid.UUID | None = Field(default=None, description="`me`, or an id")
    plan: uuid.UUID | None = None
    text: str | None = Field(default=None, max_length=200, description="Part of name or goal")


@room.post("/api/executions", status=201)
def create(caller: Caller, body: NewExecution) -> ExecutionOut:
    """Make an execution of a plan, and start it where `start` says so."""
    policy.require_person(caller)
    budget = body.budget or BudgetBody()
    with database().transaction() as tx:
        plan = find_plan(tx, caller, body.plan_id)
        execution_id = starting.create_execution(
            tx,
            plan.id,
            caller.id,
            timeout_seconds=settings().execution_timeout_hours * 3600,
            name=body.name,
            ordering=body.ordering,
            threshold=body.threshold,
            priority=body.priority,
            deadline=body.deadline,
            budget=Budget(budget.tokens, money(budget.usd)),
            agents=body.agents,
            callback=body.callback,
        )
        told = {"plan_id": plan.id, "start": body.start}
        audit.record(tx, caller, "execution_created", "execution", execution_id, after=told)
        if body.start:
            run = hold(tx, execution_id)
            starting.start(tx, run, caller.actor)
            run.write(tx)
        return show(tx, caller, execution_id)


@room.get("/api/executions")
def find(caller: Caller, query: Filter) -> Executions:
    """List executions, newest first: your own and those shared with you; operators see all.

    An agent is told the id of an execution with its work.
    """
    policy.require_person(caller)
    wanted = sa.select(Execution).where(standing.visible(caller))
    if query.status is not None:
        wanted = wanted.where(Execution.status.in_(query.status))
    if query.owner is not None:
        owner = caller.id if query.owner == "me" else query.owner
        wanted = wanted.where(Execution.owner_id == owner)
    if query.plan is not None:
        wanted = wanted.where(Execution.plan_id == query.plan)
    if query.text:
        wanted = wanted.where(
            Execution.name.icontains(query.text, autoescape=True)
            | Execution.goal.icontains(query.text, autoescape=True)
        )
    with database().transaction() as tx:
        page = read_page(tx, wanted, Execution, query, lambda one: ExecutionLine.of(one, tx.now))
        lines: list[ExecutionLine] = page["items"]
        counts = queries.count_jobs(tx, [line.id for line in lines])
    for line in lines:
        line.count(counts.get(line.id, queries.NONE))
    return Executions(**page)


@room.get("/api/executions/<uuid:execution_id>")
def read(caller: Caller, execution_id: uuid.UUID) -> ExecutionOut:
    """Read one execution: how far it is, what it waits for, and once ended what it came to."""
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        return show(tx, caller, execution_id)


@room.get("/api/executions/<uuid:execution_id>/tree")
def tree(caller: Caller, execution_id: uuid.UUID) -> Tree:
    """Its phases, tasks and jobs, nested."""
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        return Tree.model_validate(read_tree(tx, execution_id))


@room.patch("/api/executions/<uuid:execution_id>")
def change(caller: Caller, execution_id: uuid.UUID, body: ExecutionChange) -> ExecutionOut:
    """Start, pause, resume, cancel or retry it; change its name, priority, deadline or budget.

    Changes are made before the action: `{action: resume, budget: {…}}` raises a spent budget and
    goes on. Cancelling is final.
    """
    asked = changes_of(body)
    if body.action is None and not asked:
        raise Invalid(
            "This changes nothing.",
            [Fault("/action", "is missing, and so is every change")],
            hint="Send {action}, or one of name, priority, deadline, budget.",
        )
    with database().transaction() as tx:
        standing.steer(tx, caller, execution_id)
        run = hold(tx, execution_id)
        before = run.execution.status
        changed = changing.change(tx, run, asked, actor=caller.actor) if asked else {}
        if changed:
            audit.record(
                tx,
                caller,
                "execution_changed",
                "execution",
                execution_id,
                before={name: was["from"] for name, was in changed.items()},
                after={name: is_now["to"] for name, is_now in changed.items()},
            )
        if body.action is None:
            changing.finish(tx, run)
        else:
            act(tx, run, body.action, actor=caller.actor, reason=body.reason)
            audit.record(
                tx,
                caller,
                DONE[body.action],
                "execution",
                execution_id,
                before={"status": before},
                after={"status": run.execution.status, "reason": body.reason},
            )
        return show(tx, caller, execution_id)


DONE = {
    "start": "execution_started",
    "pause": "execution_paused",
    "resume": "execution_resumed",
    "cancel": "execution_cancelled",
    "retry": "execution_retried",
}


def act(tx: Transaction, run: Run, action: str, *, actor: str, reason: str) -> None:
    if action == "start":
        starting.start(tx, run, actor)
        run.write(tx)
    elif action == "pause":
        steering.pause(tx, run, actor=actor, reason=reason)
    elif action == "resume":
        steering.resume(tx, run, actor=actor, reason=reason)
    elif action == "cancel":
        steering.cancel(tx, run, actor=actor, reason=reason)
    else:
        steering.retry(tx, run, actor=actor, reason=reason)


def changes_of(body: ExecutionChange) -> Json:
    """What was named; null means something for the deadline and the budget alone."""
    asked: Json = {}
    if body.name is not None:
        asked["name"] = body.name
    if body.priority is not None:
        asked["priority"] = body.priority
    if "deadline" in body.model_fields_set:
        asked["deadline_at"] = body.deadline
    if "budget" in body.model_fields_set:
        budget = body.budget or BudgetBody(tokens=None, usd=None)
        if "tokens" in budget.model_fields_set:
            asked["budget_tokens"] = budget.tokens
        if "usd" in budget.model_fields_set:
            asked["budget_usd"] = money(budget.usd)
    return asked


def show(tx: Transaction, caller: Caller, execution_id: uuid.UUID) -> ExecutionOut:
    """As the tables have it now: what this transaction changed has been sent to them."""
    tx.flush()
    tx.session.expire_all()
    execution = tx.session.get(Execution, execution_id)
    assert execution is not None, "its row was found, and none is ever deleted while it is held"
    counts = queries.count_jobs(tx, [execution_id]).get(execution_id, queries.NONE)
    steers = caller.kind != "agent" and policy.may_steer(
        caller, standing.see(tx, caller, execution_id)
    )
    more: dict[str, Any] = {
        "callback": execution.callback_url if steers else None,
        "agents": queries.engaged_agents(tx, execution_id),
        "blockers": queries.blockers_of(tx, execution_id),
        "summary": summary.summarise(tx, execution, counts) if execution.status in ENDED else None,
    }
    return ExecutionOut.of(execution, tx.now, counts, **more)


def money(usd: float | None) -> Decimal | None:
    return None if usd is None else Decimal(str(usd)).quantize(Decimal("0.000001"))
