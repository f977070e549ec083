"""Rate limits: per key and per address, shared through Redis, and never in the way without it."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.accounts import passwords
from app.api import limits
from app.api.limits import LOGINS, Limit, Limits
from app.api.room import Room
from app.errors import TooMany
from app.settings import Settings
from tests.fresh import People

PASSWORD = "correct horse battery"
TIGHT = limits.pair("tests", 4, 1000, 1)

test_room = Room("limit-tests", "Doors that only tests open.")


@test_room.get("/test/tight", limit=TIGHT)
def knock() -> None:
    return None


@pytest.fixture
def store(settings: Settings) -> redis.Redis:
    """Valkey, emptied: limits of another test would count here."""
    client = redis.Redis.from_url(settings.redis_url)
    client.flushall()
    client.close()
    return client


@pytest.fixture
def limited(migrated: Settings, store: redis.Redis, app: Flask) -> Any:
    built = create_app(migrated)
    built.register_blueprint(test_room.blueprint)
    yield built
    built.extensions["taskyard.db"].engine.dispose()
    built.extensions["taskyard.limits"].close()


def spend(purses: Limits, limit: Limit, who: str, most: int = 1000) -> int:
    """How many turns pass before one is refused."""
    for turn in range(most):
        try:
            purses.take(limit, who)
        except TooMany:
            return turn
    return most


def test_a_limit_is_kept_by_each_key_for_itself(settings: Settings, store: redis.Redis) -> None:
    purses = Limits(settings.limits_url)
    limit = Limit("a", 20, 60, 4)
    assert spend(purses, limit, "ann") == 20
    assert spend(purses, limit, "ben") == 20
    with pytest.raises(TooMany) as refusal:
        purses.take(limit, "ann")
    assert 1 <= refusal.value.facts["retry_after"] <= 60
    purses.close()


def test_processes_share_a_limit(settings: Settings, store: redis.Redis) -> None:
    several = [Limits(settings.limits_url) for _ in range(3)]
    limit = Limit("b", 60, 60, 5)
    passed = 0
    for _ in range(100):
        for purses in several:
            try:
                purses.take(limit, "ann")
                passed += 1
            except TooMany:
                continue
    assert passed == 60
    for purses in several:
        purses.close()


def test_most_turns_ask_nobody(settings: Settings, store: redis.Redis) -> None:
    purses = Limits(settings.limits_url)
    watcher = redis.Redis.from_url(settings.redis_url)
    purses.take(limits.EVENTS.key, "warm up")
    before = watcher.info("stats")["total_commands_processed"]
    for _ in range(1000):
        purses.take(limits.EVENTS.key, "ann")
    asked = watcher.info("stats")["total_commands_processed"] - before
    assert asked < 30, asked
    watcher.close()
    purses.close()


def test_a_refused_caller_does_not_cost_redis_either(
    settings: Settings, store: redis.Redis
) -> None:
    purses = Limits(settings.limits_url)
    limit = Limit("c", 2, 60, 1)
    assert spend(purses, limit, "ann") == 2
    watcher = redis.Redis.from_url(settings.redis_url)
    before = watcher.info("stats")["total_commands_processed"]
    assert spend(purses, limit, "ann") == 0
    assert spend(purses, limit, "ann") == 0
    assert watcher.info("stats")["total_commands_processed"] - before <= 1
    watcher.close()
    purses.close()


def test_turns_come_back_with_the_next_window(settings: Settings, store: redis.Redis) -> None:
    purses = Limits(settings.limits_url)
    limit = Limit("d", 3, 1, 1)
    assert spend(purses, limit, "ann") == 3
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            purses.take(limit, "ann")
            break
        except TooMany:
            time.sleep(0.05)
    else:
        pytest.fail("the window never ended")
    purses.close()


def test_without_redis_everybody_passes_and_nobody_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that takes connections and says nothing is the worst of the dead ones."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        purses = Limits(f"redis://127.0.0.1:{mute.getsockname()[1]}")
        limit = Limit("e", 2, 60, 1)
        began = time.monotonic()
        with caplog.at_level(logging.WARNING):
            assert spend(purses, limit, "ann", 500) == 500
        assert time.monotonic() - began < 1.0
        assert 1 <= len(caplog.records) <= 2
        assert "Redis does not answer" in caplog.text
        purses.close()


def test_it_rests_longer_each_time_and_comes_back(
    settings: Settings, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    purses = Limits("redis://127.0.0.1:1")
    limit = Limit("f", 2, 60, 1)
    rests = []
    for _ in range(7):
        purses.take(limit, "ann")
        rests.append(purses.resting_until - now[0])
        now[0] = purses.resting_until + 0.001
    assert rests == pytest.approx([1, 2, 4, 8, 16, 30, 30], abs=0.1)
    purses.close()
    purses.url = settings.limits_url
    assert spend(purses, limit, "ann", 50) == 2
    purses.close()


def test_purses_do_not_pile_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_PURSES", 50)
    purses = Limits("redis://127.0.0.1:1")
    for _ in range(500):
        purses.take(limits.OTHERS.key, uuid.uuid4().hex)
    assert purses.size <= 50
    purses.close()


def test_handfuls_divide_their_limits() -> None:
    """Else the last handful of a window would be lost."""
    for pair in (limits.POLLS, limits.EVENTS, limits.OTHERS, limits.LOGINS):
        for limit in (pair.key, pair.address):
            assert limit.turns % limit.handful == 0


def test_the_answer_says_how_long_to_wait(limited: Flask) -> None:
    client = limited.test_client()
    answers = [client.get("/test/tight") for _ in range(1001)]
    assert [answer.status_code for answer in answers[:1000]] == [204] * 1000
    last = answers[-1]
    assert last.status_code == 429
    assert last.mimetype == "application/problem+json"
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert last.headers["RateLimit"].startswith('"tests-address";r=0;t=')
    assert last.headers["RateLimit-Policy"] == '"tests-address";q=1000;w=60'
    assert client.get("/api/health").status_code == 200


def test_guessing_is_slowed_and_the_owner_is_not_locked_out(
    limited: Flask, app: Flask, client: FlaskClient
) -> None:
    database = app.extensions["taskyard.db"]
    People(client, database).user("member", "ann@example.org", passwords.hash_password(PASSWORD))
    visitor = limited.test_client()

    def sign_in(password: str, address: str) -> int:
        return visitor.post(
            "/api/auth/token",
            json={"email": "ann@example.org", "password": password},
            environ_overrides={"REMOTE_ADDR": address},
        ).status_code

    guesses = [sign_in(f"guess {n}", "192.0.2.66") for n in range(LOGINS.key.turns + 5)]
    assert guesses[: LOGINS.key.turns] == [401] * LOGINS.key.turns
    assert set(guesses[LOGINS.key.turns :]) == {429}
    assert sign_in(PASSWORD, "192.0.2.66") == 429  # even the right one tells nothing there
    assert sign_in(PASSWORD, "198.51.100.7") == 200


def test_guessing_many_accounts_from_one_address_is_slowed(limited: Flask) -> None:
    visitor = limited.test_client()
    answers = [
        visitor.post("/api/auth/token", json={"token": f"ty_u_{n}"}).status_code
        for n in range(LOGINS.address.turns + 3)
    ]
    assert answers[: LOGINS.address.turns] == [401] * LOGINS.address.turns
    assert answers[LOGINS.address.turns :] == [429] * 3


def test_an_address_is_believed_only_through_as_many_proxies_as_are_set(
    migrated: Settings,
) -> None:
    from flask import request

    for proxies, told in ((0, "127.0.0.1"), (1, "203.0.113.9"), (2, "198.51.100.1")):
        app = create_app(replace(migrated, trusted_proxies=proxies))
        seen: list[str | None] = []
        app.before_request(lambda seen=seen: seen.append(request.remote_addr))
        app.test_client().get(
            "/api/health", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
        )
        assert seen == [told]
