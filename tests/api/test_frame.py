"""What every request passes through: whatever is sent, the answer is a problem that explains."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.api import room as rooms
from app.api.frame import MEBIBYTE
from app.api.room import Room
from app.api.wire import Answer, Body, Count, Flag, JsonObject, Moment, Query
from app.errors import Fault, Forbidden, Invalid, Missing, Refused, TooMany, Unavailable
from app.settings import Settings


class Inner(Body):
    size: int


class Everything(Body):
    text: str | None = None
    whole: int | None = None
    number: float | None = None
    sure: bool | None = None
    count: Count | None = None
    id: uuid.UUID | None = None
    at: Moment | None = None
    free: JsonObject | None = None
    inner: Inner | None = None
    many: list[Inner] | None = None
    either: int | str | None = None


class Asked(Query):
    limit: int = 5
    sure: Flag | None = None
    actions: list[str] | None = None
    text: str | None = None


class Echo(Answer):
    got: dict[str, Any]


class Needed(Body):
    name: str


SECRET = "postgresql://boss:hunter2@db.internal/prod"
test_room = Room("frame-tests", "Doors that only tests open.")


@test_room.post("/test/echo")
def echo(body: Everything) -> Echo:
    return Echo(got=body.model_dump(mode="json", exclude_unset=True))


@test_room.get("/test/ask")
def ask(query: Asked) -> Echo:
    return Echo(got=query.model_dump(mode="json", exclude_unset=True))


@test_room.post("/test/needed")
def need(body: Needed) -> None:
    return None


@test_room.post("/test/large", max_body=2 * MEBIBYTE)
def take_much(body: Everything) -> None:
    return None


@test_room.get("/test/fail/<kind>")
def fail(kind: str) -> None:
    raise {
        "missing": Missing("No such thing.", hint="Look elsewhere."),
        "refused": Refused("Not now.", prerequisites=["1.2"]),
        "forbidden": Forbidden("Not you."),
        "invalid": Invalid("Not so.", [Fault("/a/b", "is wrong")]),
        "many": TooMany("Not so often.", retry_after=7),
        "down": Unavailable("Not there."),
        "data": psycopg.errors.NumericValueOutOfRange("integer out of range"),
        "bug": RuntimeError(SECRET),
    }[kind]


@pytest.fixture(scope="module")
def framed(settings: Settings) -> Flask:
    """The app with doors of this file's own; none of them needs a database."""
    app = create_app(
        replace(
            settings,
            rate_limits=False,
            database_url="postgresql://nobody@127.0.0.1:1/none",
            redis_url="redis://127.0.0.1:1",
        )
    )
    app.register_blueprint(test_room.blueprint)
    return app


@pytest.fixture
def visitor(framed: Flask) -> Iterator[FlaskClient]:
    with framed.test_client() as client:
        yield client


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    said: dict[str, Any] = answer.json
    assert {"type", "title", "status", "detail", "request_id"} <= set(said)
    assert said["status"] == status
    assert said["request_id"] == answer.headers["X-Request-Id"]
    return said


def send(visitor: FlaskClient, raw: bytes, path: str = "/test/echo", **more: Any) -> Any:
    return visitor.post(path, data=raw, content_type="application/json", **more)


def test_a_sane_request_id_is_kept_and_any_other_replaced(visitor: FlaskClient) -> None:
    for told in ("abc", "0b9f1c5d-6e70", "a.b:c_d", "x" * 128):
        answer = visitor.get("/api/health", headers={"X-Request-Id": told})
        assert answer.headers["X-Request-Id"] == told
    for told in ("", " ", "a b", "<script>", "x" * 129, "a\x1b[31m", "é", "-leading"):
        answer = visitor.get("/api/health", headers={"X-Request-Id": told})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"])
    assert len({visitor.get("/api/health").headers["X-Request-Id"] for _ in range(20)}) == 20


def test_a_body_within_one_mebibyte_passes_and_a_larger_one_does_not(
    visitor: FlaskClient,
) -> None:
    room = MEBIBYTE - len(b'{"text":""}')
    assert send(visitor, b'{"text":"' + b"x" * room + b'"}').status_code == 200
    said = problem(send(visitor, b'{"text":"' + b"x" * (room + 1) + b'"}'), 413)
    assert said["title"] == "Too large"
    assert send(visitor, b'{"text":"' + b"x" * room + b'"}', "/test/large").status_code == 204
    two = b'{"text":"' + b"x" * (2 * MEBIBYTE) + b'"}'
    problem(send(visitor, two, "/test/large"), 413)


def test_a_larger_body_without_a_length_is_refused_too(visitor: FlaskClient) -> None:
    import io

    endless = io.BytesIO(b'{"text":"' + b"x" * (2 * MEBIBYTE) + b'"}')
    answer = visitor.post(
        "/test/echo",
        input_stream=endless,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    problem(answer, 413)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"text":',
        b"nonsense",
        b'{"text":"a"}}',
        b'{"number":NaN}',
        b'{"number":Infinity}',
        b'{"number":-Infinity}',
        b'{"number":1e999}',
        b'{"free":{"a":NaN}}',
        b'{"text":"\xff"}',
        b'{"text":"\\ud800"}',
        b'{"free":{"\\udfff":1}}',
        b'{"text":"a\x00b"}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"{'text':'a'}",
        b'{"whole":' + b"9" * 5000 + b"}",
        b'{"free":' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"free":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_is_a_bad_request(visitor: FlaskClient, raw: bytes) -> None:
    said = problem(send(visitor, raw), 400)
    assert said["hint"]


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b'{"text":1}', "/text"),
        (b'{"whole":"1"}', "/whole"),
        (b'{"whole":1.5}', "/whole"),
        (b'{"whole":true}', "/whole"),
        (b'{"number":"1"}', "/number"),
        (b'{"sure":1}', "/sure"),
        (b'{"sure":"true"}', "/sure"),
        (b'{"count":-1}', "/count"),
        (b'{"count":9223372036854775808}', "/count"),
        (b'{"id":"x"}', "/id"),
        (b'{"id":7}', "/id"),
        (b'{"at":"yesterday"}', "/at"),
        (b'{"at":"2026-11-20T09:30:00"}', "/at"),
        (b'{"at":"2026-13-20T09:30:00Z"}', "/at"),
        (b'{"at":"1700000000"}', "/at"),
        (b'{"at":1700000000}', "/at"),
        (b'{"free":[]}', "/free"),
        (b'{"free":{"a":99999999999999999999}}', "/free"),
        (b'{"inner":{"size":"a"}}', "/inner/size"),
        (b'{"inner":{}}', "/inner/size"),
        (b'{"many":[{"size":1},{"size":null}]}', "/many/1/size"),
        (b'{"many":[{"size":1,"a/b~c":2}]}', "/many/0/a~1b~0c"),
        (b'{"unknown":1}', "/unknown"),
        (b'{"text":"a\\u0000b"}', "/text"),
        (b'{"free":{"a":["x","\\u0000"]}}', "/free/a/1"),
        (b'{"free":{"a\\u0000":1}}', "/free"),
        (b"[]", ""),
        (b"null", ""),
        (b'"{}"', ""),
        (b"1", ""),
    ],
)
def test_what_does_not_fit_is_pointed_at(visitor: FlaskClient, raw: bytes, pointer: str) -> None:
    said = problem(send(visitor, raw), 422)
    assert pointer in [each["pointer"] for each in said["errors"]]
    assert all(each["detail"] for each in said["errors"])


@pytest.mark.parametrize(
    ("raw", "got"),
    [
        (b"", {}),
        (b"{}", {}),
        (b'{"whole":1.0}', {"whole": 1}),
        (b'{"inner":{"size":2.0}}', {"inner": {"size": 2}}),
        (b'{"many":[{"size":1},{"size":3e0}]}', {"many": [{"size": 1}, {"size": 3}]}),
        (b'{"number":1}', {"number": 1.0}),
        (b'{"text":"\\\\u0000"}', {"text": "\\u0000"}),
        (b'{"free":{"a":1.0,"b":[null,"\xc3\xa9"]}}', {"free": {"a": 1.0, "b": [None, "é"]}}),
        (b'{"at":"2026-11-20T10:30:00+01:00"}', {"at": "2026-11-20T09:30:00Z"}),
        (b'{"at":"2026-11-20t09:30:00.5z"}', {"at": "2026-11-20T09:30:00.500000Z"}),
        (b'{"count":9223372036854775807}', {"count": 9223372036854775807}),
        (b'{"text":"\xf0\x9f\x98\x80"}', {"text": "\U0001f600"}),
        (b'{"text":"a","text":"b"}', {"text": "b"}),
    ],
)
def test_what_fits_comes_in_as_meant(visitor: FlaskClient, raw: bytes, got: dict[str, Any]) -> None:
    answer = send(visitor, raw)
    assert answer.status_code == 200, answer.text
    assert answer.json == {"got": got}


def test_an_unknown_field_is_named_and_the_likely_one_suggested(visitor: FlaskClient) -> None:
    said = problem(send(visitor, b'{"txet":"a"}'), 422)
    assert said["errors"] == [
        {"pointer": "/txet", "detail": "is not known here; perhaps text is meant"}
    ]
    assert "/txet" in said["detail"]


def test_a_missing_field_is_named(visitor: FlaskClient) -> None:
    said = problem(send(visitor, b"", "/test/needed"), 422)
    assert said["errors"] == [{"pointer": "/name", "detail": "is required"}]


def test_control_characters_in_names_do_not_come_back(visitor: FlaskClient) -> None:
    answer = send(visitor, b'{"a\\r\\nSet-Cookie: x\\u001b[31m":1}')
    said = problem(answer, 422)
    told = said["errors"][0]["pointer"] + said["detail"]
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", told)


def test_faults_without_end_are_cut(visitor: FlaskClient) -> None:
    raw = b"{" + b",".join(b'"f%d":1' % n for n in range(5000)) + b"}"
    said = problem(send(visitor, raw), 422)
    assert len(said["errors"]) == 50


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
def test_a_body_that_is_not_called_json_is_refused(visitor: FlaskClient, kind: str) -> None:
    answer = visitor.post("/test/echo", data=b'{"text":"a"}', content_type=kind)
    said = problem(answer, 415)
    assert "Content-Type: application/json" in said["detail"]


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "application/vnd.x+json"]
)
def test_json_may_be_called_by_its_other_names(visitor: FlaskClient, kind: str) -> None:
    assert visitor.post("/test/echo", data=b"{}", content_type=kind).status_code == 200


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=x", "?limit"),
        ("limit=1&limit=2", "?limit"),
        ("limit=", "?limit"),
        ("unknown=1", "?unknown"),
        ("sure=yes", "?sure"),
        ("text=%00", "?text"),
        ("actions=a&actions=%00", "?actions"),
    ],
)
def test_a_query_that_does_not_fit_is_pointed_at(
    visitor: FlaskClient, query: str, pointer: str
) -> None:
    said = problem(visitor.get(f"/test/ask?{query}"), 422)
    assert [each["pointer"] for each in said["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("query", "got"),
    [
        ("", {}),
        ("limit=7&sure=1", {"limit": 7, "sure": True}),
        ("actions=a,b&actions=c", {"actions": ["a", "b", "c"]}),
        ("text=%FF", {"text": "%FF"}),
    ],
)
def test_a_query_that_fits_comes_in(visitor: FlaskClient, query: str, got: dict[str, Any]) -> None:
    assert visitor.get(f"/test/ask?{query}").json == {"got": got}


def test_an_unknown_address_and_a_wrong_method_are_problems(visitor: FlaskClient) -> None:
    problem(visitor.get("/api/nothing-here"), 404)
    problem(visitor.get("/nothing"), 404)
    problem(visitor.get("/test/fail/a%00b"), 404)
    answer = visitor.delete("/test/echo")
    problem(answer, 405)
    assert answer.headers["Allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(
    ("kind", "status", "member"),
    [
        ("missing", 404, ("hint", "Look elsewhere.")),
        ("refused", 409, ("prerequisites", ["1.2"])),
        ("forbidden", 403, ("title", "Not allowed")),
        ("invalid", 422, ("errors", [{"pointer": "/a/b", "detail": "is wrong"}])),
        ("many", 429, ("retry_after", 7)),
        ("down", 503, ("retry_after", 2)),
        ("data", 422, ("title", "Invalid input")),
    ],
)
def test_each_refusal_has_its_status_and_its_facts(
    visitor: FlaskClient, kind: str, status: int, member: tuple[str, Any]
) -> None:
    answer = visitor.get(f"/test/fail/{kind}")
    said = problem(answer, status)
    assert said[member[0]] == member[1]
    if status in (429, 503):
        assert answer.headers["Retry-After"] == str(said["retry_after"])


def test_a_bug_tells_nothing_but_the_request_id(
    visitor: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = visitor.get("/test/fail/bug")
    said = problem(answer, 500)
    for secret in ("hunter2", "RuntimeError", "Traceback", "frame"):
        assert secret not in answer.text
    assert said["request_id"] in caplog.text


def test_without_a_database_the_caller_is_asked_to_come_again(visitor: FlaskClient) -> None:
    answer = visitor.get("/api/auth/me", headers={"Authorization": "Bearer ty_u_x"})
    said = problem(answer, 503)
    assert answer.headers["Retry-After"] == "2"
    assert "127.0.0.1" not in answer.text
    assert said["title"] == "Temporarily unavailable"


def test_pages_carry_a_policy_that_runs_nothing_inline(visitor: FlaskClient) -> None:
    answer = visitor.get("/api/docs")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script|style=|\son\w+=|https?://", answer.text.split("<main>")[0])
    with visitor.get("/static/reference.css") as style:
        assert style.status_code == 200


def test_every_answer_forbids_guessing_its_type(visitor: FlaskClient) -> None:
    for path in ("/api/health", "/api/nothing", "/api/docs", "/api/openapi.json"):
        assert visitor.get(path).headers["X-Content-Type-Options"] == "nosniff"


def test_a_door_is_described_once_for_each_method() -> None:
    assert rooms.places("/a/<uuid:b>/<c>")["path"].model_fields.keys() == {"b", "c"}
