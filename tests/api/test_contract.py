"""Every answer is as the OpenAPI document says, whatever is sent, and none is a 500."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app import create_app
from app.api.document import document
from app.db import Database
from app.settings import load
from tests.api.test_health import beat
from tests.fresh import Key

# The document follows from the code alone, so it is there before any server is.
described = schemathesis.openapi.from_dict(
    document(
        create_app(
            load(
                {
                    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
                    "REDIS_URL": "redis://127.0.0.1:1",
                    "SECRET_KEY": "nothing is signed with this",
                }
            )
        )
    )
)
# NUL characters are refused everywhere; that has tests of its own.
described.config.generation.update(allow_x00=False)

# What these refuse no schema can say: which fields go together, what is past, and whole numbers
# of more than 64 bits somewhere inside free JSON.
JUDGED = {
    "POST /api/agents",
    "PATCH /api/agents/{agent_id}",
    "POST /api/auth/token",
    "POST /api/plans",
    "POST /api/admin/tokens",
    "POST /api/executions",
    "PATCH /api/executions/{execution_id}",
    "POST /api/executions/{execution_id}/events",
    "POST /api/executions/{execution_id}/shares",
    "DELETE /api/executions/{execution_id}/shares",
    "POST /api/checkpoints/{checkpoint_id}",
}

# Streams that no request and answer can describe; they have tests of their own.
ENDLESS = ["/api/events/stream", "/api/executions/{execution_id}/stream"]


@pytest.fixture
def running(database: Database) -> None:
    """A clock that has just beaten: without one, /api/ready rightly says 503."""
    beat(database)


@pytest.mark.slow
@pytest.mark.usefixtures("running")
@described.exclude(path=ENDLESS).parametrize()
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case: Any, app: Flask, admin: Key) -> None:
    case.operation.schema.app = app
    excluded = [positive_data_acceptance] if case.operation.label in JUDGED else []
    case.call_and_validate(headers=admin.headers, app=app, excluded_checks=excluded)
