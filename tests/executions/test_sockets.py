"""The same by WebSocket, under the real server."""

from __future__ import annotations

import json
import random
import socket
import string
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import websocket
from flask import Flask

from app.api import following, sockets
from app.api.following import Follower
from app.api.tails import Tails
from app.db import Database
from app.executions.run import hold
from tests.executions.stages import run_in, work_off
from tests.fresh import Key, People
from tests.handoff.runs import MadeRun, make_run
from tests.served import Serve


def address(url: str, made: MadeRun, after: int | None = None) -> str:
    query = "" if after is None else f"?after={after}"
    return f"{url.replace('http', 'ws', 1)}/api/executions/{made.id}/stream{query}"


@contextmanager
def connected(url: str, key: Key) -> Iterator[websocket.WebSocket]:
    talk = websocket.create_connection(url, header=key.headers, timeout=20)
    try:
        yield talk
    finally:
        talk.shutdown()


def refusal(url: str, key: Key | None, **headers: str) -> int:
    """The status that a handshake gets: 101 where it is taken."""
    told = urlsplit(url)
    assert told.hostname is not None
    assert told.port is not None
    given = {
        "Host": told.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **({} if key is None else key.headers),
        **headers,
    }
    lines = [
        f"GET {told.path}?{told.query} HTTP/1.1",
        *(f"{name}: {given[name]}" for name in given),
    ]
    with socket.create_connection((told.hostname, told.port), timeout=20) as raw:
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(raw.recv(4096).split()[1])


def read(talk: websocket.WebSocket) -> list[dict[str, Any]]:
    """Until the server closes."""
    told = []
    while True:
        text = talk.recv()
        if not text:
            return told
        told.append(json.loads(text))


def test_it_tells_what_a_page_tells_and_closes_at_the_end(
    database: Database, people: People, member: Key, server: Serve
) -> None:
    url = server(workers=1)
    made = run_in(database, people, member.id, "completed")
    told = member.get(f"/api/executions/{made.id}/events").json["items"]
    with connected(address(url, made), member) as talk:
        assert read(talk) == [*told, {"type": "end", "status": "completed"}]
    with connected(address(url, made, after=4), member) as talk:
        assert read(talk)[0]["number"] == 5


def test_it_follows_while_others_write_and_resumes_without_a_gap(
    database: Database, people: People, member: Key, server: Serve
) -> None:
    url = server(workers=2)
    made = make_run(database, member.id, {str(number): [] for number in range(40)})
    worker = threading.Thread(target=work_off, args=(people.agent(), made))
    worker.start()
    numbers: list[int] = []
    ended = False
    while not ended:
        with connected(address(url, made, numbers[-1] if numbers else 0), member) as talk:
            for _ in range(25):
                one = json.loads(talk.recv())
                if one["type"] == "end":
                    ended = True
                    break
                numbers.append(one["number"])
    worker.join()
    last = member.get(f"/api/executions/{made.id}").json["last_event"]
    assert numbers == list(range(1, last + 1))


def test_a_slow_reader_gets_large_messages_whole(
    database: Database, member: Key, server: Serve
) -> None:
    """The library sends once and does not look how much has gone: here all of it must."""
    url = server(workers=1)
    made = make_run(database, member.id, {"a": []})
    dice = random.Random(3)
    texts = ["".join(dice.choices(string.ascii_letters, k=800_000)) for _ in range(12)]
    with database.transaction() as tx:
        run = hold(tx, made.id)
        for text in texts:
            run.log("log", actor="test", data={"text": text})
        run.write(tx)
    with connected(address(url, made, after=2), member) as talk:
        found = []
        for _ in texts:
            time.sleep(0.1)  # its buffers fill meanwhile
            talk.ping("are you there?")
            found.append(json.loads(talk.recv())["data"]["text"])
    assert found == texts


def closes(talk: websocket.WebSocket) -> bool:
    """Whether the other side ends it, politely or not."""
    try:
        return talk.recv_data()[0] == websocket.ABNF.OPCODE_CLOSE
    except (OSError, websocket.WebSocketConnectionClosedException):
        return True


def test_what_the_reader_says_is_not_listened_to_and_a_flood_ends_it(
    database: Database, member: Key, server: Serve
) -> None:
    url = server(workers=1)
    made = make_run(database, member.id, {"a": []})
    with connected(address(url, made), member) as talk:
        for _ in range(50):
            talk.send("hello")
        assert [json.loads(talk.recv())["number"] for _ in range(2)] == [1, 2]
        member.patch(f"/api/executions/{made.id}", {"action": "pause"})
        assert json.loads(talk.recv())["type"] == "execution_paused"
    with connected(address(url, made, after=3), member) as talk:
        talk.send("x" * 10_000)
        assert closes(talk)


def test_it_opens_to_whom_the_execution_opens(
    database: Database, people: People, member: Key, admin: Key, server: Serve
) -> None:
    url = server(workers=1)
    made = run_in(database, people, member.id, "cancelled")
    holder, other = people.agent(), people.agent()
    held = make_run(database, member.id, {"a": []})
    work_off(holder, held)
    assert refusal(address(url, made), member) == 101
    assert refusal(address(url, made), admin) == 101
    assert refusal(address(url, made), people.user("member")) == 404
    assert refusal(address(url, held), holder) == 101
    assert refusal(address(url, held), other) == 404
    assert refusal(address(url, made), None) == 401
    assert refusal(f"{address(url, made)}?token={member.text}", None) == 401


def test_a_page_of_another_site_cannot_use_a_session(
    database: Database, people: People, server: Serve
) -> None:
    from app.accounts.passwords import hash_password

    url = server(workers=1)
    person = people.user("member", "ann@example.org", hash_password("correct horse battery"))
    made = make_run(database, person.id, {"a": []})
    cookie = session_cookie(database, person)
    assert refusal(address(url, made), None, Cookie=cookie, Origin=url) == 101
    for origin in ("https://evil.example", "null", f"{url}.evil.example"):
        assert refusal(address(url, made), None, Cookie=cookie, Origin=origin) == 403
    assert refusal(address(url, made), None, Cookie=cookie) == 403


def session_cookie(database: Database, person: Key) -> str:
    """A signed-in browser's cookie, as the app itself writes it."""
    from flask.testing import FlaskClient

    from app.accounts import tokens
    from app.api.callers import SESSION_KEY

    client: FlaskClient = person.client.application.test_client()
    with database.transaction() as tx:
        _, key = tokens.issue(tx, "session", person.id, "session")
    with client.session_transaction() as kept:
        kept[SESSION_KEY] = key
    cookie = client.get_cookie("taskyard")
    assert cookie is not None
    return f"taskyard={cookie.value}"


def test_what_is_no_handshake_is_refused_in_words(
    database: Database, member: Key, server: Serve
) -> None:
    url = server(workers=1)
    made = make_run(database, member.id, {"a": []})
    path = f"{url}/api/executions/{made.id}/stream"
    plain = httpx.get(path, headers=member.headers)
    assert plain.status_code == 426
    assert plain.headers["Upgrade"] == "websocket"
    assert plain.json()["hint"]
    upgrade = member.headers | {"Upgrade": "websocket", "Connection": "Upgrade"}
    for more in ({}, {"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Version": "13"}):
        assert httpx.get(path, headers=upgrade | more).status_code == 400
    bad_key = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"}
    assert httpx.get(path, headers=upgrade | bad_key).status_code == 400


def test_it_can_be_switched_off(database: Database, member: Key, server: Serve) -> None:
    url = server(workers=1, PLANEXE_WEBSOCKET_ENABLED="false")
    made = make_run(database, member.id, {"a": []})
    assert refusal(address(url, made), member) == 404


def test_a_reader_that_answers_no_ping_is_let_go(
    app: Flask, database: Database, member: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PING_EVERY", 0.1)
    monkeypatch.setattr(following, "LOOK_EVERY", 0.05)
    made = make_run(database, member.id, {"a": []})
    follower = Follower(Tails(database), app.extensions["taskyard.bell"], made.id, 0, lambda: True)
    mute, ours = socket.socketpair()
    handshake = {
        "gunicorn.socket": ours,
        "HTTP_HOST": "here",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    talk = threading.Thread(target=converse, args=(sockets.Conversation(handshake, follower),))
    with mute, ours:
        talk.start()
        talk.join(10)
        assert not talk.is_alive(), "a reader that answers no ping is kept"


def converse(talk: sockets.Conversation) -> None:
    with pytest.raises(StopIteration):
        iter(talk)
