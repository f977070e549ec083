"""Liveness asks nobody; readiness names what is missing."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.api import probing
from app.db import Database, new_id
from app.settings import Settings


def beat(database: Database, seconds_ago: float = 0) -> None:
    with database.transaction() as tx:
        tx.execute(
            "INSERT INTO beats (id, kind, name, seen_at) "
            "VALUES (%s, 'clock', 'here', now() - make_interval(secs => %s))",
            (new_id(), seconds_ago),
        )


def test_liveness_needs_no_server(settings: Settings) -> None:
    app = create_app(
        replace(
            settings,
            database_url="postgresql://nobody@127.0.0.1:1/none",
            redis_url="redis://127.0.0.1:1",
        )
    )
    answer = app.test_client().get("/api/health")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok"}


def test_ready_when_everything_is_there(client: FlaskClient, database: Database) -> None:
    beat(database)
    answer = client.get("/api/ready")
    assert answer.status_code == 200, answer.json
    assert answer.json is not None
    assert answer.json["status"] == "ready"
    assert list(answer.json["checks"]) == ["clock", "migrations", "postgresql", "redis"] or list(
        answer.json["checks"]
    ) == ["postgresql", "redis", "migrations", "clock"]


@pytest.mark.parametrize("seconds_ago", [None, 61])
def test_a_silent_clock_is_named(
    client: FlaskClient, database: Database, seconds_ago: float | None
) -> None:
    if seconds_ago is not None:
        beat(database, seconds_ago)
    answer = client.get("/api/ready")
    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["Retry-After"]
    assert answer.json is not None
    assert answer.json["checks"]["clock"]["status"] == "missing"
    assert "taskyard clock" in answer.json["checks"]["clock"]["hint"]
    assert answer.json["checks"]["postgresql"]["status"] == "ok"


def test_missing_servers_are_named_at_once(settings: Settings) -> None:
    app = create_app(
        replace(
            settings,
            database_url="postgresql://nobody@127.0.0.1:1/none",
            redis_url="redis://127.0.0.1:1",
        )
    )
    began = time.monotonic()
    answer = app.test_client().get("/api/ready")
    assert time.monotonic() - began < 3
    assert answer.status_code == 503
    assert answer.json is not None
    missing = {name for name, each in answer.json["checks"].items() if each["status"] == "missing"}
    assert missing == {"postgresql", "redis", "migrations", "clock"}
    assert "nobody" not in answer.text  # no address, no name of a role


def test_a_database_that_hangs_hangs_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and says nothing, as one that was stopped does."""
    import socket

    monkeypatch.setattr(probing, "PATIENCE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        url = f"postgresql://nobody@127.0.0.1:{port}/none"
        app = create_app(replace(settings, database_url=url))
        for _ in range(3):
            began = time.monotonic()
            answer = app.test_client().get("/api/ready")
            assert time.monotonic() - began < 1
            assert answer.json is not None
            assert answer.json["checks"]["postgresql"]["status"] == "missing"
            assert answer.json["checks"]["redis"]["status"] == "ok"


def test_a_database_without_migrations_is_told_apart() -> None:
    assert probing.judge_revision(None).hint == "Run `taskyard migrate`."
    assert probing.judge_revision("0000").hint == "Run `taskyard migrate`."
    assert probing.judge_revision("9999").hint is None
