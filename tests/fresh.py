"""An app over a migrated database that every test finds empty, and people with keys to call it.

A room's conftest.py imports the fixtures that its tests want.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app, migrating
from app.accounts import tokens, users
from app.accounts.policy import Caller, on_the_machine
from app.agents.models import Agent
from app.db import Database
from app.records import METADATA
from app.settings import Settings

SYSTEM = on_the_machine("tests")


@dataclass(frozen=True)
class Key:
    """Somebody's key, and calls made with it."""

    client: FlaskClient
    text: str
    id: uuid.UUID
    token_id: uuid.UUID

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}

    def call(self, method: str, path: str, json: Any = None, **more: Any) -> TestResponse:
        headers = self.headers | more.pop("headers", {})
        return self.client.open(path, method=method, json=json, headers=headers, **more)

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.call("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> TestResponse:
        return self.call("POST", path, json, **more)

    def patch(self, path: str, json: Any = None, **more: Any) -> TestResponse:
        return self.call("PATCH", path, json, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.call("DELETE", path, **more)


@dataclass
class People:
    """Makes users and agents, each with a key of theirs."""

    client: FlaskClient
    database: Database

    def user(self, role: str, email: str | None = None, password_hash: str | None = None) -> Key:
        with self.database.transaction() as tx:
            email = email or f"{role}-{uuid.uuid4().hex[:8]}@example.org"
            user = users.create(
                tx, SYSTEM, email=email, role=role, name=role, password_hash=password_hash
            )
            token, text = tokens.issue(tx, "user", user.id, "tests")
            return Key(self.client, text, user.id, token.id)

    def agent(self, name: str | None = None, **more: Any) -> Key:
        with self.database.transaction() as tx:
            agent = Agent(
                name=name or f"agent-{uuid.uuid4().hex[:8]}",
                **{"capabilities": [{"action": "write"}], "kind": "external"} | more,
            )
            tx.session.add(agent)
            tx.session.flush()
            token, text = tokens.issue(tx, "agent", agent.id, "tests")
            return Key(self.client, text, agent.id, token.id)

    def caller(self, key: Key, role: str) -> Caller:
        return Caller("user", key.id, role, "somebody", "192.0.2.1")  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def migrated(settings: Settings) -> Settings:
    """The database of this pytest process, migrated once."""
    migrating.upgrade(create_app(settings))
    return settings


@pytest.fixture(scope="session")
def shared_app(migrated: Settings) -> Iterator[Flask]:
    """One app for all tests that change nothing of it; without rate limits."""
    app = create_app(replace(migrated, rate_limits=False))
    yield app
    app.extensions["taskyard.db"].engine.dispose()


@pytest.fixture
def app(shared_app: Flask) -> Flask:
    """The app over an empty database."""
    database: Database = shared_app.extensions["taskyard.db"]
    empty(database)
    return shared_app


@pytest.fixture
def database(app: Flask) -> Database:
    found: Database = app.extensions["taskyard.db"]
    return found


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def people(client: FlaskClient, database: Database) -> People:
    return People(client, database)


@pytest.fixture
def admin(people: People) -> Key:
    return people.user("admin")


@pytest.fixture
def operator(people: People) -> Key:
    return people.user("operator")


@pytest.fixture
def member(people: People) -> Key:
    return people.user("member")


def empty(database: Database) -> None:
    tables = ", ".join(table.name for table in METADATA.sorted_tables)
    with database.engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {tables}"))
