"""The two calls that an agent's author needs: ask for work, report on it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import Any, Final

import orjson
from flask import Request, Response, request
from pydantic import Field, RootModel

from app.api.callers import Key
from app.api.errors import problem_of
from app.api.frame import bell, counter, database, terms
from app.api.limits import EVENTS, POLLS
from app.api.reading import parse, read_json, read_raw
from app.api.room import Room, write
from app.api.wire import Answer, Body, Moment, Query
from app.db import Json
from app.errors import Fault, Forbidden, Invalid, TaskyardError
from app.green import READABLE, poll
from app.handoff.calls import Answers, Call, Held, Wish
from app.handoff.desk import holding
from app.handoff.reports import KINDS, AnyReport, Report, respelled
from app.handoff.terms import LEASE_SECONDS, Terms
from app.handoff.waiting import ask_for_work, look

room = Room("work", "The two calls of an agent: ask for work, report on it.")

MOST_REPORTS: Final = 100
HUMAN_STEP: Final = 0.2  # jitter of the interval that agents are told, so that they spread


class Poll(Query):
    wait: float = Field(default=0, ge=0, le=60, description="Seconds to wait for work")
    max: int = Field(default=1, ge=1, le=100, description="How many jobs at most")
    actions: list[str] | None = Field(default=None, description="Only jobs of these actions")
    lease_seconds: int = Field(
        default=LEASE_SECONDS, ge=5, le=86_400, description="How long without a heartbeat"
    )
    claim: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Your id for this poll: repeated after a lost answer, it brings the same work",
    )


class LeaseOut(Answer):
    id: uuid.UUID
    token: str = Field(description="Every report must show it")
    attempt: int
    expires_at: Moment


class JobOut(Answer):
    id: uuid.UUID
    code: str
    title: str
    action: str
    params: dict[str, Any]
    instructions: str
    role: str | None
    timeout_seconds: int
    retry_policy: dict[str, Any]
    acceptance: list[Any]
    inputs: dict[str, Any] = Field(description="What its prerequisites put out, by code")


class Context(Answer):
    goal: str
    path: list[Any] = Field(description="Titles from the phase down")
    previous: list[Any]
    upcoming: list[Any]
    answers: list[Any] = Field(description="What people decided about this job")


class Piece(Answer):
    lease: LeaseOut
    execution_id: uuid.UUID
    plan_id: uuid.UUID | None
    job: JobOut
    context: Context
    traceparent: str


class Work(Answer):
    work: list[Piece]
    control: list[dict[str, Any]] = Field(description="What to pause or to drop")
    poll_after_seconds: float


class Next(Query):
    next: bool = Field(default=False, description="Also hand out the next piece of work")
    lease_seconds: int = Field(default=LEASE_SECONDS, ge=5, le=86_400)
    actions: list[str] | None = None


class Event(RootModel[AnyReport]):
    """One report, of the type that its `type` says."""


class Events(Body):
    events: list[Event] = Field(min_length=1, max_length=MOST_REPORTS)


class OneOrMany(RootModel[Event | Events]):
    """One report, or up to a hundred under `events`, each judged by itself."""


class Reported(Answer):
    number: int | None = Field(description="Its number in the log; null for a heartbeat")
    type: str
    job_id: uuid.UUID
    status: str = Field(description="The job's")
    expires_at: Moment | None = Field(description="The lease's new deadline; null once it ended")
    control: str = Field(description="continue, pause or cancel")
    repeated: bool | None = Field(default=None, description="Reported before: the same answer")
    work: list[Piece] | None = Field(default=None, description="With next=1")
    poll_after_seconds: float | None = None


class ReportedMany(Answer):
    results: list[dict[str, Any]] = Field(description="An answer or a problem each, in order")
    control: str
    work: list[Piece] | None = None
    poll_after_seconds: float | None = None


@room.get(
    "/api/agents/<uuid:agent_id>/work", limit=POLLS, answers={200: Work, 204: None}, query=Poll
)
@room.post(
    "/api/agents/<uuid:agent_id>/work", limit=POLLS, answers={200: Work, 204: None}, query=Poll
)
def work(key: Key, agent_id: uuid.UUID, query: Poll) -> Response:
    """Ask for work.

    Answered at once where something fits, else when something does, within `wait` seconds; 204
    when there is nothing. GET and POST mean the same.
    """
    refuse_people(key)
    wish = Wish(
        most=query.max,
        seconds=query.lease_seconds,
        actions=None if query.actions is None else tuple(query.actions),
        claim=query.claim,
    )
    call = Call(key.digest, agent_id, wish=wish)
    answers = ask_for_work(counter(), bell(), call, query.wait, listening_on(request))
    again = poll_again(terms())
    if not answers.work and not answers.standing:
        return Response(status=204, headers={"Retry-After": str(max(1, round(again)))})
    return write(
        {
            "work": [piece(terms(), held) for held in answers.work],
            "control": answers.standing,
            "poll_after_seconds": 0 if answers.work else again,
        },
        200,
    )


@room.get("/api/agents/<uuid:agent_id>/leases", answers={200: Work})
def leases(key: Key, agent_id: uuid.UUID) -> Response:
    """What the agent holds, tokens included: for one that was restarted and forgot."""
    refuse_people(key)
    with database().transaction() as tx:
        held = holding(tx, agent_id, key.digest)
    pieces = [piece(terms(), one) for one in held]
    return write({"work": pieces, "control": [], "poll_after_seconds": poll_again(terms())}, 200)


@room.post(
    "/api/executions/<uuid:execution_id>/events",
    status=201,
    limit=EVENTS,
    body=OneOrMany,
    answers={201: Reported},
)
def events(key: Key, execution_id: uuid.UUID, query: Next) -> Response:
    """Report on a job: one event, or up to 100 under `events`, each judged by itself.

    With `next=1` the answer brings the next piece of work in the same round trip.
    """
    refuse_people(key)
    alone, said = read_events()
    reports: list[Report | TaskyardError] = [
        read_one(one) if alone else read_or_refuse(one) for one in said
    ]
    valid = tuple(one for one in reports if not isinstance(one, TaskyardError))
    wish = None
    if query.next:
        actions = None if query.actions is None else tuple(query.actions)
        wish = Wish(1, query.lease_seconds, actions)
    answers = serve_reports(key, execution_id, valid, wish)
    given = iter(answers.given if answers is not None else ())
    results = [one if isinstance(one, TaskyardError) else next(given) for one in reports]
    extra: Json = {}
    if wish is not None:
        held = answers.work if answers is not None else []
        extra["work"] = [piece(terms(), one) for one in held]
        extra["poll_after_seconds"] = 0 if held else poll_again(terms())
    if alone:
        only = results[0]
        if isinstance(only, TaskyardError):
            raise only
        return write({**only, **extra}, 201)
    told = [problem_of(one)[1] if isinstance(one, TaskyardError) else one for one in results]
    control = "continue" if answers is None else answers.control
    return write({"results": told, "control": control, **extra}, 201)


def serve_reports(
    key: Key, execution_id: uuid.UUID, reports: tuple[Report, ...], wish: Wish | None
) -> Answers | None:
    """Where the next work was in other hands, it is asked for once more, without the reports."""
    if not reports:
        return None
    answers = counter().serve(Call(key.digest, None, execution_id, reports, wish))
    if wish is not None and not answers.work and answers.missed is not None:
        wish = replace(wish, claim=answers.claim)
        again = Call(key.digest, answers.agent.id, wish=wish, missed=answers.missed)
        answers.work = look(counter(), again).work
    return answers


def read_events() -> tuple[bool, list[Any]]:
    """Whether one report came alone; and the one or the many, as JSON, unread."""
    data = parse(read_raw(request))
    if not isinstance(data, dict) or "events" not in data:
        return True, [data]
    unknown = [Fault(f"/{name}", "is unknown here") for name in data if name != "events"]
    many = data["events"]
    if unknown or not isinstance(many, list) or not 1 <= len(many) <= MOST_REPORTS:
        raise Invalid(
            f"`events` must be a list of 1 to {MOST_REPORTS} reports, and stand alone.",
            unknown or [Fault("/events", f"must hold 1 to {MOST_REPORTS} reports")],
        )
    return False, many


def read_one(said: Any) -> Report:
    """A report, read as the type that it says it is."""
    if not isinstance(said, dict):
        raise Invalid("A report is an object.", [Fault("", "must be an object")])
    said = respelled(said)
    kind = KINDS.get(said["type"]) if isinstance(said.get("type"), str) else None
    if kind is None:
        raise Invalid(
            "A report says its `type`.",
            [Fault("/type", f"must be one of {', '.join(KINDS)}")],
            hint="`started`, `completed` and `failed` are the ones that every agent needs.",
        )
    return read_json(orjson.dumps(said), kind)


def read_or_refuse(raw: Any) -> Report | TaskyardError:
    try:
        return read_one(raw)
    except TaskyardError as refusal:
        return refusal


def listening_on(request: Request) -> Callable[[], bool]:
    """Whether the caller has hung up, as far as its socket tells: an answer would reach nobody."""
    caller = request.environ.get("gunicorn.socket")

    def gone() -> bool:
        if caller is None:
            return False
        looking = poll()
        looking.register(caller.fileno(), READABLE)
        if not looking.poll(0):
            return False
        try:
            return bool(caller.recv(1, MSG_PEEK | MSG_DONTWAIT) == b"")
        except BlockingIOError:
            return False
        except OSError:
            return True

    return gone


def refuse_people(key: Key) -> None:
    if key.kind != "agent":
        raise Forbidden(
            "Work is for agents; this key is a person's.",
            hint="Register an agent with POST /api/agents and call with its api_key.",
        )


def poll_again(terms: Terms) -> float:
    """When an agent that does not wait may come again, give or take, so that they spread."""
    return round(terms.poll_seconds * random.uniform(1 - HUMAN_STEP, 1 + HUMAN_STEP), 1)


def piece(terms: Terms, held: Held) -> Json:
    """One item of `work`, as plain values: built for every hand-off, so without a detour."""
    execution, job, lease = held.execution, held.job, held.lease
    return {
        "lease": {
            "id": lease.id,
            "token": terms.token(lease.id),
            "attempt": lease.attempt,
            "expires_at": lease.expires_at,
        },
        "execution_id": execution.id,
        "plan_id": execution.plan_id,
        "job": {
            "id": job.id,
            "code": job.code,
            "title": job.title,
            "action": job.action,
            "params": job.params,
            "instructions": job.instructions,
            "role": job.role,
            "timeout_seconds": job.timeout_seconds,
            "retry_policy": job.retry_policy,
            "acceptance": job.acceptance,
            "inputs": {code: told["output"] for code, told in job.inputs.items()},
        },
        "context": {
            "goal": execution.goal,
            "path": job.path,
            "previous": [
                {"code": code, "title": told["title"]} for code, told in job.inputs.items()
            ],
            "upcoming": job.upcoming,
            "answers": job.answers,
        },
        "traceparent": f"00-{execution.id.hex}-{lease.id.hex[16:]}-01",
    }
