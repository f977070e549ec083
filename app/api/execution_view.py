"""What is told of an execution: in lists, alone, as a tree."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Self

from pydantic import Field

from app.api.paging import Page
from app.api.wire import Answer, Moment
from app.executions import queries
from app.executions.models import Execution


class Progress(Answer):
    total: int = Field(description="Jobs, without those that were broken down into others")
    completed: int = Field(description="Jobs completed or skipped")
    percent: float = Field(description="Finished weight of the whole, 0 to 100")


class BudgetOut(Answer):
    tokens: int | None
    usd: float | None


class Spent(Answer):
    tokens: int
    usd: float


class ExecutionLine(Answer):
    id: uuid.UUID
    name: str
    goal: str
    plan_id: uuid.UUID | None
    owner_id: uuid.UUID
    status: str
    status_reason: str = Field(description="Why, in words")
    progress: Progress
    counts: dict[str, int] = Field(description="Jobs by status")
    priority: int
    ordering: str
    threshold: float
    deadline_at: Moment | None = Field(description="While paused it moves on with the clock")
    timed_out: bool
    budget: BudgetOut
    spent: Spent
    last_event: int = Field(description="The number of the last event")
    created_at: Moment
    updated_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    paused_at: Moment | None

    @classmethod
    def of(
        cls,
        execution: Execution,
        now: dt.datetime,
        counts: queries.Counts = queries.NONE,
        **more: Any,
    ) -> Self:
        percent = queries.percent_of(execution.finished_weight, execution.total_weight)
        plain = {name: getattr(execution, name) for name in PLAIN}
        return cls(
            **plain,
            progress=Progress(total=counts.total, completed=counts.done, percent=percent),
            counts=counts.by_status,
            deadline_at=queries.deadline_now(execution.deadline_at, execution.paused_at, now),
            budget=BudgetOut(
                tokens=execution.budget_tokens,
                usd=None if execution.budget_usd is None else float(execution.budget_usd),
            ),
            spent=Spent(tokens=execution.spent_tokens, usd=float(execution.spent_usd)),
            **more,
        )

    def count(self, counts: queries.Counts) -> None:
        """Fills in the jobs, which a list counts for all of its page at once."""
        self.counts = counts.by_status
        self.progress.total, self.progress.completed = counts.total, counts.done


MADE = frozenset({"progress", "counts", "deadline_at", "budget", "spent"})
PLAIN = tuple(name for name in ExecutionLine.model_fields if name not in MADE)


class Executions(Page[ExecutionLine]):
    pass


class Blocker(Answer):
    checkpoint_id: uuid.UUID
    kind: str
    title: str
    job_id: uuid.UUID | None
    code: str | None = Field(description="The job's")
    since: Moment


class NotDone(Answer):
    job_id: uuid.UUID
    code: str
    title: str
    status: str
    reason: str
    error_class: str | None


class Output(Answer):
    job_id: uuid.UUID
    code: str
    title: str
    size: int = Field(description="Characters of its JSON")
    output: Any = Field(description="Null where it is large; GET …/jobs/{job} has all of it")


class Summary(Answer):
    planned_days: float | None = Field(description="The longest path through the graph")
    lasted_seconds: float | None
    jobs: dict[str, int]
    attempts: int
    spent: Spent
    not_done: list[NotDone] = Field(description="What was skipped, failed or cancelled, and why")
    outputs: list[Output] = Field(description="Of the jobs that nothing else waited for")


class ExecutionOut(ExecutionLine):
    callback: str | None = Field(description="Shown to who may steer")
    agents: list[uuid.UUID] = Field(description="Its jobs go to these alone; none: to all")
    blockers: list[Blocker] = Field(description="What waits for a person, longest first")
    summary: Summary | None = Field(description="Once it has ended")


class JobLine(Answer):
    """A job, as a line of a list or a leaf of a tree."""

    id: uuid.UUID
    task_id: uuid.UUID | None
    position: int
    code: str
    title: str
    kind: str
    action: str
    role: str | None
    status: str
    lane: str
    priority: int
    optional: bool
    confidence: float | None
    planned_days: float | None
    attempt: int = Field(description="How many times it was handed out")
    attempts_used: int
    max_attempts: int
    open_prerequisites: int
    ready_at: Moment | None
    not_before: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    tokens: int
    cost_usd: float
    agent_id: uuid.UUID | None = Field(description="Who holds it")
    agent_name: str | None
    percent: float | None = Field(description="Of the attempt that runs")
    expires_at: Moment | None = Field(description="Of its lease")


class TaskNode(Answer):
    """A phase or a task: its status is computed from the jobs below it."""

    id: uuid.UUID
    parent_id: uuid.UUID | None
    position: int
    code: str
    title: str
    role: str | None
    planned_days: float | None
    status: str
    counts: dict[str, int]
    tasks: list[TaskNode]
    jobs: list[JobLine]


class Tree(Answer):
    tasks: list[TaskNode] = Field(description="The phases")
    jobs: list[JobLine] = Field(description="Jobs that stand under no task")
