"""`taskyard user`, `taskyard token`, `taskyard openapi`, as typed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import orjson
import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from app.cli import main
from app.db import Database
from app.settings import Settings

PASSWORD = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, database: Database) -> Run:
    """Types a command against the database of the tests."""

    def type_in(*words: str, typed: str = "") -> Result:
        return CliRunner().invoke(
            main,
            words,
            input=typed,
            env={
                "DATABASE_URL": settings.database_url,
                "REDIS_URL": settings.redis_url,
                "SECRET_KEY": settings.secret_key,
                "TASKYARD_DATA": str(settings.data),
            },
        )

    return type_in


def test_a_user_is_created_with_a_password_and_signs_in(run: Run, client: FlaskClient) -> None:
    made = run(
        "user",
        "create",
        "ann@example.org",
        "--role",
        "admin",
        "--password-stdin",
        typed=PASSWORD + "\n",
    )
    assert made.exit_code == 0, made.output
    assert made.output == "Created admin ann@example.org, with a password.\n"
    credentials = {"email": "ann@example.org", "password": PASSWORD}
    assert client.post("/api/auth/token", json=credentials).status_code == 200


def test_without_a_terminal_or_a_password_one_signs_in_by_link(run: Run) -> None:
    made = run("user", "create", "ann@example.org", "--role", "operator")
    assert made.exit_code == 0, made.output
    assert made.output == "Created operator ann@example.org, without a password.\n"


def test_a_token_is_printed_alone_and_works(run: Run, client: FlaskClient) -> None:
    run("user", "create", "ann@example.org", "--no-password")
    made = run("token", "create", "ANN@example.org", "--name", "laptop")
    assert made.exit_code == 0, made.output
    token = made.output.strip()
    assert made.output == token + "\n"
    assert token.startswith("ty_u_")
    answer = client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.json is not None
    assert answer.json["role"] == "member"


@pytest.mark.parametrize(
    ("words", "typed", "sentence"),
    [
        (("user", "create", "ann"), "", "no e-mail address"),
        (("user", "create", "a@example.org", "--password-stdin"), "short\n", "at least 10"),
        (("token", "create", "nobody@example.org"), "", "no user nobody@example.org"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    run: Run, words: tuple[str, ...], typed: str, sentence: str
) -> None:
    told = run(*words, typed=typed)
    assert told.exit_code == 1
    assert sentence in told.output
    assert "Traceback" not in told.output


def test_an_unknown_role_lists_the_known_ones(run: Run) -> None:
    told = run("user", "create", "a@example.org", "--role", "boss")
    assert told.exit_code == 2
    assert "'member', 'operator', 'admin'" in told.output


def test_a_second_user_with_the_address_is_refused(run: Run) -> None:
    run("user", "create", "ann@example.org")
    told = run("user", "create", "Ann@Example.org")
    assert told.exit_code == 1
    assert "already" in told.output


def test_what_the_command_line_did_is_in_the_audit_log(run: Run, database: Database) -> None:
    run("user", "create", "ann@example.org", "--role", "admin")
    run("token", "create", "ann@example.org")
    with database.transaction() as tx:
        rows = tx.execute("SELECT actor, action, address FROM audit_entries ORDER BY id").fetchall()
    assert [row["action"] for row in rows] == ["user_created", "token_created"]
    for row in rows:
        assert row["actor"].startswith("system:")
        assert row["address"] == "local"


def test_a_token_is_made_by_a_process_that_does_nothing_else(run: Run, settings: Settings) -> None:
    """Here every table is known already; in a process of its own only what it imports is."""
    run("user", "create", "ann@example.org")
    told = subprocess.run(
        [sys.executable, "-m", "app.cli", "token", "create", "ann@example.org"],
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "SECRET_KEY": settings.secret_key,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("ty_u_")


def test_the_document_is_printed_without_any_server() -> None:
    told = CliRunner().invoke(main, ["openapi"], env={"DATABASE_URL": None})
    assert told.exit_code == 0, told.output
    assert orjson.loads(told.output)["info"]["title"] == "Taskyard"
