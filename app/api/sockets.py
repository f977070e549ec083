"""The same log by WebSocket: for clients that have no server-sent events."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from flask import Response, request
from simple_websocket import ConnectionClosed, Server
from werkzeug.exceptions import BadRequest

from app.accounts.policy import Caller
from app.api.callers import read_proof
from app.api.errors import problem
from app.api.following import Follower
from app.api.frame import bell, database, settings
from app.api.room import Room
from app.api.streams import Following, tails, watch_over
from app.errors import Forbidden, Missing
from app.executions import standing

room = Room("sockets", "An execution's events by WebSocket.")

RULE: Final = "/api/executions/<uuid:execution_id>/stream"
PING_EVERY: Final = 25.0
LARGEST_MESSAGE: Final = 4096
NORMAL, GOING_AWAY = 1000, 1001
KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==", re.ASCII)


@room.get(RULE, answers={101: None, 426: None}, websocket=True)
def follow(caller: Caller, execution_id: uuid.UUID, query: Following) -> Response:
    """Follow an execution's events by WebSocket: a message each, as GET …/events shows them.

    `?after=` resumes behind a number. Once the execution has ended and all was told, the last
    message is `{"type": "end", "status": …}`. What the client says is not listened to.
    """
    if not settings().websocket_enabled:
        raise Missing(
            "WebSockets are switched off here.",
            hint="GET …/events/stream tells the same by server-sent events.",
        )
    with database().transaction() as tx:
        standing.see(tx, caller, execution_id)
    if read_proof().by_cookie and not from_here():
        raise Forbidden(
            "A page of another site may not use this session.",
            hint="Connect from this site's own pages, or with a token.",
        )
    check_handshake()
    after = query.after or 0
    return Upgrade(Follower(tails(), bell(), execution_id, after, watch_over(execution_id)))


def from_here() -> bool:
    """Browsers name the page's site in `Origin` and let nobody change it."""
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc == request.host


def ask_for_upgrade(execution_id: uuid.UUID) -> Response:  # noqa: ARG001 - part of the address
    return problem(
        426,
        "Upgrade required",
        "This address speaks WebSocket only.",
        hint="Connect with ws:// or wss://, or follow …/events/stream instead.",
        headers={"Upgrade": "websocket"},
    )


room.blueprint.add_url_rule(RULE, view_func=ask_for_upgrade)


def check_handshake() -> None:
    """What the library would fall over is refused in words."""
    told = request.headers
    fits = told.get("Sec-WebSocket-Version") == "13" and KEY.fullmatch(
        told.get("Sec-WebSocket-Key", "")
    )
    if not fits or "gunicorn.socket" not in request.environ:
        raise BadRequest("This is no WebSocket handshake of version 13.")


class Upgrade(Response):
    """Takes the connection over once Flask has let go of the request: a viewer keeps nothing of it
    in memory."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(status=101)
        self.follower = follower

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return Conversation(environ, self.follower)


class Conversation:
    """What gunicorn iterates in place of a body. Nothing comes out: the frames leave by the socket
    itself, and StopIteration says that the connection is not HTTP any more."""

    def __init__(self, environ: dict[str, Any], follower: Follower) -> None:
        self._follower = follower
        # Compression would cost each viewer a quarter of a mebibyte: it is not offered.
        self._environ = {
            name: value
            for name, value in environ.items()
            if name.startswith("HTTP_") and name != "HTTP_SEC_WEBSOCKET_EXTENSIONS"
        }
        self._environ["gunicorn.socket"] = Whole(environ["gunicorn.socket"])

    def __iter__(self) -> Iterator[bytes]:
        with contextlib.suppress(ConnectionClosed, OSError):
            self._talk()
        raise StopIteration

    def _talk(self) -> None:
        follower = self._follower
        viewer = Server.accept(
            self._environ,
            ping_interval=PING_EVERY,
            max_message_size=LARGEST_MESSAGE,
            event_class=lambda: Knock(follower),
        )
        for lines in follower:
            viewer.input_buffer.clear()
            if not viewer.connected:
                return
            for line in lines:
                viewer.send(line.json.decode())
        if follower.ended:
            viewer.send(orjson.dumps({"type": "end", "status": follower.ended}).decode())
        viewer.close(NORMAL if follower.ended else GOING_AWAY)


class Knock:
    """The viewer said something, or is gone: the one who tells wakes and looks."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def set(self) -> None:
        self._follower.wake()

    def clear(self) -> None:
        """Nobody waits for it."""


class Whole:
    """A socket that sends all or fails. The library calls `send` once and does not look how much
    has gone; and a pong must not get into the middle of a message."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._lock = threading.Lock()

    def send(self, data: bytes) -> int:
        with self._lock:
            self._inner.sendall(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        return self._inner.recv(size)

    def fileno(self) -> int:
        return self._inner.fileno()

    def close(self) -> None:
        self._inner.close()
