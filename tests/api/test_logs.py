"""What the API writes into the log: no secret, no line that a caller made up."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from app import logs
from app.accounts import passwords
from tests.fresh import Key, People

CANARY = "canary-5f2b8e"
FORGED = "x\r\n2026-11-20 error forged\x1b[31m\u2028"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that is logged, down to the smallest word, as production writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Line("tests", "json"))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)
    yield stream
    root.setLevel(before)
    root.removeHandler(handler)


def test_no_secret_is_written(
    written: io.StringIO, client: FlaskClient, people: People, admin: Key, operator: Key
) -> None:
    password = f"{CANARY}-password"
    hashed = passwords.hash_password(password)
    people.user("member", "ann@example.org", hashed)
    right = client.post("/api/auth/token", json={"email": "ann@example.org", "password": password})
    for credentials in (
        {"email": "ann@example.org", "password": f"{CANARY}-wrong"},
        {"email": f"{CANARY}@example.org", "password": password},
        {"token": f"ty_u_{CANARY}"},
        {"password": f"{CANARY}-alone"},
    ):
        client.post("/api/auth/token", json=credentials)
    client.get("/api/auth/me", headers={"Authorization": f"Bearer ty_a_{CANARY}"})
    client.get(f"/api/auth/me?key={CANARY}")
    admin.post("/api/admin/users", {"email": "b@example.org", "password": f"{CANARY}-b"})
    admin.post("/api/admin/users", {"email": "b@example.org", "password": f"{CANARY}-b"})
    made = operator.post(
        "/api/agents",
        {
            "name": "Ann",
            "capabilities": [{"action": "a"}],
            "webhook_url": f"https://u:{CANARY}@agent.example",
        },
    ).json
    assert made is not None
    assert right.json is not None
    told = written.getvalue()
    assert "a sign-in failed" in told
    for secret in (CANARY, made["api_key"], right.json["access_token"], admin.text, operator.text):
        assert secret not in told


def test_no_caller_begins_a_line(
    written: io.StringIO, client: FlaskClient, admin: Key, operator: Key
) -> None:
    client.get("/api/health", headers={"X-Request-Id": "a\x1b[31mb"})
    client.post("/api/auth/token", json={"email": FORGED, "password": "correct horse"})
    client.post("/api/auth/token", json={FORGED: 1})
    operator.post("/api/agents", {"name": FORGED, "capabilities": [{"action": FORGED}]})
    admin.post("/api/admin/users", {"email": FORGED})
    admin.patch(f"/api/admin/users/{operator.id}", {"name": FORGED})
    client.get("/api/ready")
    lines = written.getvalue().splitlines()
    assert lines
    for line in lines:
        assert line.startswith('{"time":'), line
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line), line


def test_each_line_names_its_request(written: io.StringIO, client: FlaskClient) -> None:
    client.get("/api/ready", headers={"X-Request-Id": "asked-1"})
    client.get("/api/ready", headers={"X-Request-Id": "asked-2"})
    lines = [line for line in written.getvalue().splitlines() if "Not ready" in line]
    assert ['"request_id":"asked-1"' in lines[0], '"request_id":"asked-2"' in lines[1]] == [
        True,
        True,
    ]
