"""Server-sent events: one execution's log as it grows, and hints on what changed anywhere."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Final

import orjson
from flask import Response, current_app, request
from pydantic import Field

from app.accounts import policy
from app.accounts.policy import Caller, Standing
from app.api.callers import Proof, caller_of, find_holder, read_proof
from app.api.following import CHECK_EVERY, Follower
from app.api.frame import bell, database, settings
from app.api.history import LARGEST_NUMBER, EventNumber
from app.api.room import Room
from app.api.tails import Line, Tails
from app.api.wire import Query
from app.bell import LOOK_EVERY, Bell
from app.db import Database, Transaction
from app.errors import Fault, Invalid, Unavailable
from app.executions import standing
from app.executions.states import ENDED

room = Room("streams", "What happens, while it happens.")

NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
BEAT_EVERY: Final = 15.0  # a viewer that is gone shows only when something is sent
HINTS_EVERY: Final = 1.0
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that collects answers would hold the events back
}
BEGIN: Final = b"retry: 2000\n\n"
BEAT: Final = b": still here\n\n"
LOOK_AFRESH: Final = b"event: look\ndata: {}\n\n"


class Following(Query):
    after: EventNumber | None = Field(
        default=None, description="Events with a greater number; Last-Event-ID says the same"
    )


@room.get("/api/executions/<uuid:execution_id>/events/stream", answers={200: None, 204: None})
def follow(caller: Caller, execution_id: uuid.UUID, query: Following) -> Response:
    """Follow an execution's events by SSE.

    The `id` of each is its number, so that a client that comes back with `Last-Event-ID` misses
    nothing and sees nothing twice. Once the execution has ended and all was told, `event: end`
    closes the stream; whoever comes back after that gets 204, which tells browsers to stay away.
    """
    told = last_event_id()
    number = query.after or 0 if told is None else told
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
        if told is not None and nothing_left(tx, execution_id, number):
            return Response(status=204)
    follower = Follower(tails(), bell(), execution_id, number, watch_over(execution_id))
    return Response(frames(follower), content_type="text/event-stream", headers=HEADERS)


@room.get("/api/events/stream", answers={200: None})
def hint(caller: Caller) -> Response:
    """Hints by SSE on what changed among all that you may see: `event: changed`, `{execution_id}`.

    There is no cursor: on connecting, and at `event: look`, look afresh.
    """
    told = hints(database(), bell(), settings().secret_key, read_proof(), caller)
    return Response(told, content_type="text/event-stream", headers=HEADERS)


def frames(follower: Follower) -> Iterator[bytes]:
    yield BEGIN
    told_at = time.monotonic()
    for lines in follower:
        if lines:
            yield b"".join(map(frame, lines))
        elif time.monotonic() - told_at >= BEAT_EVERY:
            yield BEAT
        else:
            continue
        told_at = time.monotonic()
    if follower.ended:
        yield b"event: end\ndata: " + orjson.dumps({"status": follower.ended}) + b"\n\n"


def frame(line: Line) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (line.number, line.type.encode(), line.json)


def hints(
    database: Database, bell: Bell, secret_key: str, proof: Proof, caller: Caller
) -> Iterator[bytes]:
    """What changed, at most once a second: a busy house would ring ten times as often."""
    with bell.waiting.for_news(None) as waiter:
        yield BEGIN
        told_at = checked_at = time.monotonic()
        deaf = bell.deaf
        while not bell.closing.is_set():
            waiter.wait(LOOK_EVERY)
            news = waiter.take_news()
            now = time.monotonic()
            try:
                if now - checked_at >= CHECK_EVERY:
                    checked_at = now
                    found = look_again(database, secret_key, proof)
                    if found is None:
                        return
                    caller = found
                if news and not policy.may_see(caller, Standing()):
                    with database.transaction() as tx:
                        news = standing.seen_among(tx, caller, news)
            except Unavailable:
                news = set()
            was_deaf, deaf = deaf, bell.deaf
            if deaf or was_deaf:
                yield LOOK_AFRESH  # what changed meanwhile nobody could tell
            elif news:
                yield b"".join(map(changed, news))
            elif now - told_at >= BEAT_EVERY:
                yield BEAT
            else:
                continue
            told_at = time.monotonic()
            bell.closing.wait(HINTS_EVERY)


def changed(execution_id: uuid.UUID) -> bytes:
    return b'event: changed\ndata: {"execution_id":"%b"}\n\n' % str(execution_id).encode()


def last_event_id() -> int | None:
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    if not NUMBER.fullmatch(text) or int(text) > LARGEST_NUMBER:
        raise Invalid(
            "Last-Event-ID is no number of an event.",
            [Fault("Last-Event-ID", "must be the `id` of an event of this stream")],
            hint="Leave it out to begin at the first event.",
        )
    return int(text)


def nothing_left(tx: Transaction, execution_id: uuid.UUID, number: int) -> bool:
    row = tx.execute(STATE, [execution_id]).fetchone()
    return row is not None and row["status"] in ENDED and number >= row["last_event"]


def watch_over(execution_id: uuid.UUID) -> Callable[[], bool]:
    """Whether whoever calls now may still see this, asked again while the stream is open."""
    asked, secret_key, proof = database(), settings().secret_key, read_proof()

    def allowed() -> bool:
        caller = look_again(asked, secret_key, proof)
        if caller is None:
            return False
        with asked.transaction() as tx:
            return bool(standing.seen_among(tx, caller, [execution_id]))

    return allowed


def look_again(database: Database, secret_key: str, proof: Proof) -> Caller | None:
    with database.transaction() as tx:
        holder = find_holder(tx, secret_key, proof)
    return None if holder is None else caller_of(holder)


def tails() -> Tails:
    kept: Tails = current_app.extensions.setdefault("taskyard.tails", Tails(database()))
    return kept


STATE: Final = "SELECT status, last_event FROM executions WHERE id = %s"
