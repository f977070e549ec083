"""What happened in an execution: its events by their numbers, and all of it to take away."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from flask import Response
from pydantic import Field

from app.accounts.policy import Caller
from app.api.frame import database
from app.api.room import Room
from app.api.wire import Answer, Moment, Query
from app.executions import queries, standing
from app.executions.export import export

room = Room("history", "What happened in an execution.")

LARGEST_NUMBER = 2**31 - 1
EventNumber = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]


class EventOut(Answer):
    number: int
    type: str
    job_id: uuid.UUID | None
    agent_id: uuid.UUID | None
    actor: str = Field(description="Who caused it")
    message: str
    data: dict[str, Any]
    agent_timestamp: Moment | None = Field(description="What the agent's clock said")
    recorded_at: Moment


class EventPage(Answer):
    items: list[EventOut]
    next_after: int = Field(description="Ask for what comes after this number")
    last: int = Field(description="The number of the execution's last event")


class Wanted(Query):
    after: EventNumber = Field(default=0, description="Events with a greater number")
    limit: int = Field(default=100, ge=1, le=500)
    type: list[str] | None = Field(default=None, max_length=50, description="One or several")
    job: uuid.UUID | None = Field(default=None, description="Of one job")


@room.get("/api/executions/<uuid:execution_id>/events")
def read_events(caller: Caller, execution_id: uuid.UUID, query: Wanted) -> EventPage:
    """Read events by their numbers, which have no gaps.

    Asking again with `after` set to `next_after` misses nothing and brings nothing twice. Large
    events make a page shorter than its `limit`.
    """
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        page = queries.read_events(
            tx,
            execution_id,
            after=query.after,
            limit=query.limit,
            types=query.type,
            job=query.job,
        )
    return EventPage(
        items=[EventOut.model_validate(queries.told_event(row)) for row in page.events],
        next_after=page.next_after,
        last=page.last,
    )


@room.get("/api/executions/<uuid:execution_id>/export", answers={200: None})
def take_away(caller: Caller, execution_id: uuid.UUID) -> Response:
    """Take all of an execution away, as JSON Lines.

    Each line is `{kind, data}`, the kinds: execution, task, job, dependency, attempt, checkpoint,
    event. The last one, of kind `end`, counts the others: without it the file was cut off.
    """
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
    return Response(
        export(database(), execution_id),
        content_type="application/jsonl; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="execution-{execution_id}.jsonl"'},
    )
